"""data: float32[n, 3, 112, 112], RGB, 0..255 -> EMBEDDING: float32[n, d], length 1."""

from preprocess.engines import load_embedder, unit
from preprocess.serving import BatchModel, Config


class TritonPythonModel(BatchModel):
    def load(self, config: Config) -> None:
        precision = config.parameters.get("PRECISION", "float32")
        network = load_embedder(config.parameters["ENGINE"], config.directory, config.threads, config.gpu, precision)
        self.run = lambda faces: unit(network(faces))

"""input: float32[n, 160, 160, 3], RGB, whitened -> embeddings: float32[n, 512], length 1."""

from preprocess.engines import load_embedder
from preprocess.serving import BatchModel, Config


class TritonPythonModel(BatchModel):
    def load(self, config: Config) -> None:
        precision = config.parameters.get("PRECISION", "float32")
        self.run = load_embedder(config.parameters["ENGINE"], config.directory, config.threads, config.gpu, precision)

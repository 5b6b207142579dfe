"""IMAGE: bytes[n, 1], one encoded face each -> FACE: float32[n, 160, 160, 3], RGB, whitened."""

import numpy as np

from preprocess import facenet, image
from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        pass

    def infer(self, request: Request) -> Arrays:
        return {"FACE": np.stack([facenet.to_input(image.decode(data)) for data in request.inputs["IMAGE"][:, 0]])}

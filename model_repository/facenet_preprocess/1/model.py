"""IMAGE: bytes[n, 1], one encoded face each -> FACE: float32[n, 160, 160, 3], RGB, normalised."""

import numpy as np

from preprocess import facenet, image
from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        self.form = facenet.Form.read(config.parameters)

    def infer(self, request: Request) -> Arrays:
        pictures = image.decode_all(request.inputs["IMAGE"][:, 0])
        return {"FACE": np.stack([facenet.to_input(picture, self.form) for picture in pictures])}

"""IMAGE: bytes[n, 1], one encoded face each -> FACE: float32[n, 160, 160, 3], RGB, normalised."""

import numpy as np
from numpy.typing import NDArray

from preprocess import facenet, image
from preprocess.serving import Arrays, Config, PythonModel, Request
from preprocess.workers import Workers


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        self.form = facenet.Form.read(config.parameters)
        self.workers = Workers(config.threads)

    def infer(self, request: Request) -> Arrays:
        pictures = request.inputs["IMAGE"][:, 0]
        image.check_together(pictures)
        return {"FACE": np.stack(self.workers.map(self.prepare, pictures))}

    def prepare(self, picture: bytes) -> NDArray[np.float32]:
        return facenet.to_input(image.decode(picture), self.form)

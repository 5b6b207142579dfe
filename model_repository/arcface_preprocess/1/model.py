"""IMAGE: bytes[n, 1], one face crop each -> FACE: float32[n, 3, 112, 112], RGB, 0..255, FOUND: bool[n, 1]."""

import numpy as np

from preprocess import arcface, image, networks
from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        self.networks = networks.load(config.directory, config.threads)
        self.lnet = networks.load_landmark_network(config.directory, config.threads)

    def infer(self, request: Request) -> Arrays:
        pictures = [image.decode(data) for data in request.inputs["IMAGE"][:, 0]]
        faces = [arcface.from_crop(picture, self.networks, self.lnet) for picture in pictures]
        return {
            "FACE": np.stack([arcface.NO_FACE if face is None else face for face in faces]),
            "FOUND": np.array([[face is not None] for face in faces]),
        }

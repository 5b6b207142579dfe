"""IMAGE: bytes[n, 1], one face crop each -> FACE: float32[n, 3, 112, 112], RGB, 0..255, FOUND: bool[n, 1]."""

import numpy as np

from preprocess import arcface, image, insightface, networks
from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        self.find = insightface.finder(config.parameters.get("DETECTION", "crop"))
        self.networks = networks.load(config.directory, config.threads)
        self.lnet = networks.load_landmark_network(config.directory)

    def infer(self, request: Request) -> Arrays:
        image.check_together(request.inputs["IMAGE"][:, 0])
        pictures = [image.decode(picture) for picture in request.inputs["IMAGE"][:, 0]]
        faces = [self.find(picture, self.networks, self.lnet) for picture in pictures]
        return {
            "FACE": np.stack([arcface.of_face(*pair) for pair in zip(pictures, faces, strict=True)]),
            "FOUND": np.array([[face is not None] for face in faces]),
        }

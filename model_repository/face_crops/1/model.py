"""IMAGE: bytes[1], any photo -> its 32 best faces: BOXES, LANDMARKS and the crops that were asked for.

FACE_COUNT: int32[1], faces found before the cut; FACENET_FACES: float32[n, 160, 160, 3];
ARCFACE_FACES: float32[n, 3, 112, 112]; without a face these are one black one: a batch of none is an error.
FACENET_CROPS, ARCFACE_CROPS: bytes[n], the same faces as PNG files for people to see.
"""

import numpy as np

from preprocess import image, mtcnn, photo
from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        self.defaults = config.parameters
        self.detector = mtcnn.load(config.directory, config.threads)

    def infer(self, request: Request) -> Arrays:
        options = photo.Options.read(self.defaults, request.parameters)
        picture = image.decode(request.inputs["IMAGE"][0], options.apply_exif)
        faces = mtcnn.detect(picture, self.detector, options.mtcnn)
        best = photo.best(faces)
        outputs = {
            "BOXES": best.boxes,
            "LANDMARKS": best.landmarks,
            "FACE_COUNT": np.array([len(faces.boxes)], np.int32),
        }
        if "FACENET_FACES" in request.wanted:
            outputs["FACENET_FACES"] = photo.facenet_faces(picture, best, options)
        if "ARCFACE_FACES" in request.wanted:
            outputs["ARCFACE_FACES"] = photo.arcface_faces(picture, best)
        if "FACENET_CROPS" in request.wanted:
            outputs["FACENET_CROPS"] = photo.facenet_crops(picture, best, options)
        if "ARCFACE_CROPS" in request.wanted:
            outputs["ARCFACE_CROPS"] = photo.arcface_crops(picture, best)
        return outputs

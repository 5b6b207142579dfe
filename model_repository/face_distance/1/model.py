"""EMBEDDING: float32[2, 512] -> DISTANCE: float32[1], Euclidean."""

import numpy as np

from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        pass

    def infer(self, request: Request) -> Arrays:
        first, second = request.inputs["EMBEDDING"]
        return {"DISTANCE": np.sqrt(np.sum(np.square(first - second)))[None]}

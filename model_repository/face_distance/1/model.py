"""EMBEDDING: float32[2, 512] -> DISTANCE: float32[1], Euclidean, and the same EMBEDDING."""

import numpy as np

from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        pass

    def infer(self, request: Request) -> Arrays:
        pair = request.inputs["EMBEDDING"]
        distance = np.sqrt(np.sum(np.square(pair[0] - pair[1])))
        outputs = {"DISTANCE": distance[None], "EMBEDDING": pair}
        return {name: outputs[name] for name in request.wanted}

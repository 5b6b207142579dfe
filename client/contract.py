"""The Triton models that the gateway calls: their outputs as architecture.md fixes them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tensor:
    """Dtype and shape of one output; -1 is any length, the batch dimension of a batching model left out."""

    dtype: type[np.generic]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """Whether a model takes a batch, and its outputs by name."""

    batches: bool
    outputs: dict[str, Tensor]


EMBEDDING = Tensor(np.float32, (512,))
BOXES = Tensor(np.float32, (-1, 5))
LANDMARKS = Tensor(np.float32, (-1, 5, 2))
FACE_COUNT = Tensor(np.int32, (1,))
FILES = Tensor(np.object_, (-1,))

MODELS = {
    "facenet_embed": Model(True, {"EMBEDDING": EMBEDDING}),
    "facenet_compare": Model(False, {"DISTANCE": Tensor(np.float32, (1,)), "EMBEDDING": Tensor(np.float32, (2, 512))}),
    "face_distance": Model(False, {"DISTANCE": Tensor(np.float32, (1,))}),
    "face_detect": Model(False, {"BOXES": BOXES, "LANDMARKS": LANDMARKS}),
    "face_crops": Model(
        False,
        {
            "BOXES": BOXES,
            "LANDMARKS": LANDMARKS,
            "FACE_COUNT": FACE_COUNT,
            "FACENET_CROPS": FILES,
            "ARCFACE_CROPS": FILES,
        },
    ),
    "facenet_photo": Model(
        False,
        {
            "BOXES": BOXES,
            "LANDMARKS": LANDMARKS,
            "EMBEDDING": Tensor(np.float32, (-1, 512)),
            "FACE_COUNT": FACE_COUNT,
        },
    ),
    "arcface_embed": Model(True, {"EMBEDDING": Tensor(np.float32, (-1,)), "FOUND": Tensor(np.bool_, (1,))}),
    "arcface_photo": Model(
        False,
        {
            "BOXES": BOXES,
            "LANDMARKS": LANDMARKS,
            "EMBEDDING": Tensor(np.float32, (-1, -1)),
            "FACE_COUNT": FACE_COUNT,
        },
    ),
}

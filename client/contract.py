"""The Triton models that the gateway calls: their outputs as architecture.md fixes them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Network = Literal["facenet", "arcface"]


@dataclass(frozen=True)
class Tensor:
    """Dtype and shape of one output, the batch dimension of a batching model left out.

    A dimension is a length, -1 for any, or the network whose checkpoint decides how many numbers its embeddings have.
    """

    dtype: type[np.generic]
    dims: tuple[int | Network, ...]


@dataclass(frozen=True)
class Model:
    """Whether a model takes a batch, and its outputs by name."""

    batches: bool
    outputs: dict[str, Tensor]


BOXES = Tensor(np.float32, (-1, 5))
LANDMARKS = Tensor(np.float32, (-1, 5, 2))
FACE_COUNT = Tensor(np.int32, (1,))
FILES = Tensor(np.object_, (-1,))

MODELS = {
    "facenet_embed": Model(True, {"EMBEDDING": Tensor(np.float32, ("facenet",))}),
    "facenet_compare": Model(
        False, {"DISTANCE": Tensor(np.float32, (1,)), "EMBEDDING": Tensor(np.float32, (2, "facenet"))}
    ),
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
            "EMBEDDING": Tensor(np.float32, (-1, "facenet")),
            "FACE_COUNT": FACE_COUNT,
        },
    ),
    "arcface_embed": Model(True, {"EMBEDDING": Tensor(np.float32, ("arcface",)), "FOUND": Tensor(np.bool_, (1,))}),
    "arcface_photo": Model(
        False,
        {
            "BOXES": BOXES,
            "LANDMARKS": LANDMARKS,
            "EMBEDDING": Tensor(np.float32, (-1, "arcface")),
            "FACE_COUNT": FACE_COUNT,
        },
    ),
}

"""What both uses of MTCNN's networks share: the original's, `mtcnn`, and InsightFace's, `insightface`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from preprocess import boxes as box
from preprocess.errors import InputError
from preprocess.pyramid import Array, Scanner
from preprocess.workers import Workers

PatchNetwork = Callable[[Array], Array]
Cutter = Callable[[box.Boxes], Array]

MEAN, SCALE = 127.5, 0.0078125  # the networks were trained on (x - 127.5) / 128
MAX_CANDIDATES = 20_000  # of all levels together: bounds time and memory on hostile pictures
PIXELS_AT_ONCE = 12 * 1024  # of patches in one run of a network: its layers stay in the processor's cache


@dataclass(frozen=True)
class Networks:
    """The cascade's networks, each for one thread, and the threads that run them. All take RGB, 0..255.

    pnet: uint8[h, w, 3] -> float32[5, h', w'], see `preprocess.pyramid`
    rnet: float32[n, 3, 24, 24] -> float32[n, 5]
    onet: float32[n, 3, 48, 48] -> float32[n, 15]

    The first number is the log-odds of a face; four offsets follow, in parts of the box; then onet's landmarks,
    five x and five y, in parts of the box.
    """

    pnet: Scanner
    rnet: PatchNetwork
    onet: PatchNetwork
    workers: Workers


@dataclass(frozen=True)
class Options:
    """What counts as a face."""

    min_face_size: float = 20.0  # pixels, shorter side
    threshold_pnet: float = 0.6  # probabilities, one a network
    threshold_rnet: float = 0.7
    threshold_onet: float = 0.7
    factor: float = 0.709  # between two levels of the pyramid

    def __post_init__(self) -> None:
        if not 12 <= self.min_face_size <= 5000:
            raise InputError("parameter_invalid", "min_face_size must lie in 12..5000 pixels")
        for name in ("threshold_pnet", "threshold_rnet", "threshold_onet"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError("parameter_invalid", f"{name} must lie in 0..1")
        if not 0.1 <= self.factor <= 0.9:
            raise InputError("parameter_invalid", "factor must lie in 0.1..0.9")


def view(candidates: box.Boxes, network: PatchNetwork, size: int, cut: Cutter, networks: Networks) -> Array:
    """What rnet or onet says of each candidate, float32[n, 5 or 15]; `cut` makes the patches that it sees."""
    parts = batches(candidates, size, networks.workers.threads)
    answers = networks.workers.map(lambda part: network(cut(candidates[part])), parts)
    return np.concatenate(answers)[np.argsort(np.concatenate(parts))]


def best(found: box.Boxes, scores: Array, offsets: Array) -> tuple[box.Boxes, Array, Array]:
    """At most MAX_CANDIDATES, those of best score, in the order they come."""
    if len(scores) <= MAX_CANDIDATES:
        return found, scores, offsets
    kept = np.sort(np.argsort(-scores, kind="stable")[:MAX_CANDIDATES])
    return found[kept], scores[kept], offsets[kept]


def probability(log_odds: Array) -> Array:
    """The logistic function, rounded as the original's softmax: near 1, boxes of equal score are not rare."""
    return np.asarray(1 / (1 + np.exp(-np.maximum(log_odds, -80))), np.float32)


def batches(boxes: box.Boxes, size: int, workers: int) -> list[box.Indices]:
    """Shares boxes out in batches of like sides, as many for each worker; the largest, which take longest, first."""
    order = np.argsort(boxes[:, 0] - boxes[:, 2], kind="stable")
    rounds = -(-len(order) * size**2 // (PIXELS_AT_ONCE * workers))
    return np.array_split(order, min(rounds * workers, len(order)))

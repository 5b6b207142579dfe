"""The routes of /v1 that take pictures: one row each, which answers requests and describes itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..triton import Triton
from .answers import Compared, Detected, Embedded
from .body import Asked
from .options import Compare, Detect, Embed
from .work import compare, detect, embed


@dataclass(frozen=True)
class Operation:
    """A route that takes pictures: its options, its answer, and how the one leads to the other."""

    options: type
    answer: type
    work: Callable[[Triton, Asked[Any], float], Awaitable[Any]]
    summary: str
    pictures: int | None = None  # exactly so many; None for as many as the settings let pass


OPERATIONS = {
    "/v1/detect": Operation(Detect, Detected, detect, "Find the faces in photos"),
    "/v1/embed": Operation(Embed, Embedded, embed, "Find the faces in photos and embed them"),
    "/v1/compare": Operation(Compare, Compared, compare, "Tell whether two photos show one person", pictures=2),
}

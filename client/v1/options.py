"""What a caller may ask of /v1 beside sending pictures. The fields are the options: they read requests and describe
themselves in the OpenAPI document."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from ..errors import BadRequest
from ..faces import Network
from ..triton import Parameters
from .schema import About, without_none

Choice = Literal["all", "largest"]
FACES = About("Every face of a picture, or only the one with the largest box.")
MODEL = About("Which network embeds the faces.")


@dataclass(frozen=True)
class Finding:
    """How faces are found in a picture."""

    faces: Annotated[Choice, FACES] = "all"
    apply_exif: Annotated[bool, About("Turn a picture upright first, as its EXIF orientation says.")] = True
    min_face_size: Annotated[
        float | None,
        About("The smallest face that is looked for, in pixels of its shorter side. Larger is faster.", 12, 5000),
    ] = None
    min_score: Annotated[float | None, About("The lowest score of a face that is answered.", 0, 1)] = None

    def parameters(self) -> Parameters:
        """The same in the words of the models."""
        given = {"min_face_size": self.min_face_size, "threshold_onet": self.min_score}
        return {"apply_exif": self.apply_exif} | {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Detect(Finding):
    """Options of /v1/detect."""

    crops: Annotated[
        Literal["none", "facenet", "arcface"],
        About(
            "Add each face cut out of its picture: with a margin, 160x160, as FaceNet takes it, or upright, 112x112, "
            "as ArcFace does. Of more than 32 faces only the best 32 are answered then."
        ),
    ] = "none"


@dataclass(frozen=True)
class Embed(Finding):
    """Options of /v1/embed."""

    model: Annotated[Network, MODEL] = "facenet"
    encoding: Annotated[
        Literal["list", "base64"],
        About("Embeddings as lists of numbers or, four times shorter, as base64 of little-endian float32."),
    ] = "list"


@dataclass(frozen=True)
class Compare(Finding):
    """Options of /v1/compare."""

    faces: Annotated[Choice, FACES] = "largest"
    model: Annotated[Network, MODEL] = "facenet"
    threshold: Annotated[
        float | None,
        About("Take two faces for one person below this distance, rather than below the one measured.", 0, 2),
    ] = None


Options = TypeVar("Options", Detect, Embed, Compare)


def read_options(kind: type[Options], given: Mapping[str, object]) -> Options:
    """Options from JSON values, or from the texts of a form; raises BadRequest naming the option at fault."""
    hints = get_type_hints(kind, include_extras=True)
    if not given.keys() <= hints.keys():
        raise BadRequest("option_unknown", f"there is no such option; known are {', '.join(hints)}")
    return kind(**{name: _read(name, without_none(hints[name]), value) for name, value in given.items()})


def from_text(kind: type[Options], name: str, text: str) -> object:
    """The text of a form's field as JSON would have it; a text that fits no type stays one, to be refused."""
    hint = get_type_hints(kind).get(name)
    if hint is bool:
        return {"true": True, "false": False}.get(text, text)
    if float in get_args(hint):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _read(name: str, hint: Any, value: object) -> Any:
    kind, about = get_args(hint)
    if kind is bool:
        if not isinstance(value, bool):
            raise BadRequest("option_invalid", f"{name} must be true or false")
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not about.low <= value <= about.high:
            raise BadRequest("option_invalid", f"{name} must be a number from {about.low} to {about.high}")
        return float(value)
    elif value not in (choices := get_args(kind)):
        raise BadRequest("option_invalid", f"{name} must be one of {', '.join(choices)}")
    return value

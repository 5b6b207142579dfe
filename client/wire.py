"""The UAI wire format without IO: request bodies to encoded pictures, arrays to the bytes of an answer.

No picture is opened here. Sizes are checked before anything is decoded, and what a caller sent never becomes part
of a message.
"""

import base64
import binascii
import json
import math
import re
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from .errors import BadRequest, TooLarge
from .settings import Settings

Floats = npt.NDArray[np.float32]

MAX_BRACKETS = 10_000
MAX_INTEGER_DIGITS = 32
PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8|BM|RIFF....WEBP|II\*\x00|MM\x00\*", re.DOTALL)
DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,32};base64,", re.IGNORECASE)
LONE_SURROGATE_MAYBE = re.compile(r"\\u[dD][89a-fA-F]")

# The original's decoder skips what is not base64. The rest of its kindness is kept except for what tells that the text
# is something else: - and _ (the URL-safe alphabet) and : ; , (a prefix) would only decode to rubbish.
BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
SKIPPED = bytes(sorted(set(range(128)) - set(BASE64_ALPHABET) - set(b"-_:;,")))


def looks_like_a_picture(body: bytes) -> bool:
    """Whether the body starts as a JPEG, PNG, GIF, BMP, WebP or TIFF file does."""
    return PICTURE.match(body) is not None


def parse_picture(body: bytes, settings: Settings) -> tuple[bytes, ...]:
    """A body that is one encoded picture."""
    if not body:
        raise BadRequest("body_empty", "the body is empty; send the bytes of one picture")
    check_size(body, settings)
    return (body,)


def parse_images(body: bytes, settings: Settings) -> tuple[bytes, ...]:
    """The pictures under `images` of a JSON object, decoded from base64, at least one."""
    return _decode_images(parse_object(body, settings).get("images"), settings)


def parse_images_of_any_key(body: bytes, settings: Settings, least: int = 1) -> tuple[bytes, ...]:
    """The pictures of the one list of texts in a JSON object, whatever its key, decoded from base64."""
    return _decode_images(_only_list(parse_object(body, settings)), settings, least)


def parse_images_of_likely_key(body: bytes, settings: Settings) -> tuple[bytes, ...]:
    """The pictures under `images` or, where there is no such key, those of the one list of texts."""
    document = parse_object(body, settings)
    return _decode_images(document["images"] if "images" in document else _only_list(document), settings)


def parse_object(body: bytes, settings: Settings) -> dict[str, Any]:
    """One JSON object with unique keys, finite numbers and whole characters; raises BadRequest."""
    if not body:
        raise BadRequest("body_empty", 'the body is empty; send JSON such as {"images": ["<base64>", "<base64>"]}')
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        if looks_like_a_picture(body):
            message = "this address takes JSON with pictures in base64, not a picture itself"
        else:
            message = "the body is neither a picture nor JSON in UTF-8"
        raise BadRequest("json_encoding", message) from None
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise BadRequest("json_too_deep", f"the JSON has more than {MAX_BRACKETS} brackets")
    if text.count(",") > settings.max_json_values:
        raise TooLarge("json_too_many_values", f"the JSON has more than {settings.max_json_values} values")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
            parse_float=_parse_float,
        )
        if LONE_SURROGATE_MAYBE.search(text):
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise BadRequest("json_too_deep", "the JSON is nested too deeply") from None
    except UnicodeEncodeError:
        raise BadRequest("json_surrogate", "a text in the JSON holds half of a surrogate pair") from None
    except ValueError:
        raise BadRequest("json_invalid", "the body is neither a picture nor valid JSON") from None
    if not isinstance(document, dict):
        raise BadRequest("json_not_object", 'the JSON must be an object such as {"images": ["<base64>"]}')
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise BadRequest("json_duplicate_key", "a key stands twice in the same JSON object")
    return document


def _refuse_constant(_: str) -> NoReturn:
    raise BadRequest("json_number", "the JSON holds NaN or Infinity")


def _parse_int(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise BadRequest("json_number", f"a number in the JSON has more than {MAX_INTEGER_DIGITS} digits")
    return int(text)


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadRequest("json_number", "a number in the JSON is too large")
    return value


def _only_list(document: dict[str, Any]) -> object:
    """The one list of texts; without one, the first list, so that the error can name what is wrong in it."""
    lists = [value for value in document.values() if isinstance(value, list)]
    of_texts = [value for value in lists if value and all(isinstance(item, str) for item in value)]
    if len(of_texts) > 1:
        raise BadRequest("images_ambiguous", "more than one key holds a list of texts; send one list of pictures")
    return next(iter(of_texts or lists), None)


def _decode_images(images: object, settings: Settings, least: int = 1) -> tuple[bytes, ...]:
    return tuple(
        decode_image(index, image, settings) for index, image in enumerate(check_list(images, settings, least))
    )


def check_list(images: object, settings: Settings, least: int = 1) -> list[object]:
    """The list of pictures, not decoded yet, if there are neither too few nor too many; raises ServiceError."""
    if not isinstance(images, list):
        raise BadRequest("images_missing", 'the JSON needs a list of base64 texts, as in {"images": ["<base64>"]}')
    if len(images) < least:
        raise BadRequest("images_empty", "the list of pictures is empty; send at least one")
    if len(images) > settings.max_images:
        raise TooLarge("images_too_many", f"more than {settings.max_images} pictures; send them in parts")
    return images


def decode_image(index: int, text: object, settings: Settings) -> bytes:
    """One encoded picture from its base64; errors name its index."""
    if not isinstance(text, str):
        raise BadRequest("image_not_text", f"images[{index}] is not a text; send base64")
    if not text:
        raise BadRequest("image_empty", f"images[{index}] is empty")
    prefix = DATA_URL.match(text)
    try:
        encoded = text[prefix.end() if prefix else 0 :].encode("ascii").translate(None, SKIPPED)
        image = base64.b64decode(encoded, validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise BadRequest("image_base64", f"images[{index}] is not base64 with its padding") from None
    if not image:
        raise BadRequest("image_empty", f"images[{index}] is empty")
    check_size(image, settings, f"images[{index}]")
    return image


def check_size(image: bytes, settings: Settings, name: str = "the picture") -> None:
    if len(image) > settings.max_image_bytes:
        raise TooLarge("image_too_large", f"{name} has more than {settings.max_image_bytes} bytes")


def embeddings_json(embeddings: Floats) -> str:
    """float32[N,D] to `[[f, f], [f, f]]`: each number is the repr of its double, as Python 2's json wrote it."""
    return json.dumps(embeddings.tolist())


def embedding_json(embeddings: Floats) -> str:
    """float32[1,D] to the flat `[f, f]`."""
    return json.dumps(embeddings[0].tolist())


def boxes_json(boxes: Floats) -> str:
    """float32[N,5], x1 y1 x2 y2 in pixels and score, to `[[x1, y1, x2, y2, score]]`; no face is `[]`."""
    return json.dumps(boxes.tolist())


def bounds_json(boxes: Floats) -> str:
    """float32[N,5] as `{"bounds": [[x1, y1, x2, y2, score]]}`."""
    return json.dumps({"bounds": boxes.tolist()})


def distance_text(distance: float | np.float32) -> str:
    """A distance as the original's `astype('S10')`: the shortest digits of a float32, cut to 10 bytes.

    Where that cut off an exponent (`1.7011632e` for 1.7e-07), this prints the plain decimal: `0.00000017`.
    """
    return np.format_float_positional(np.float32(distance), unique=True, trim="0")[:10]


def arcface_text(embedding: Floats) -> str:
    """float32[D] as numbers joined by single spaces, each as Python 2's `str(float)`: 12 significant digits."""
    return " ".join(_python2_str(number) for number in embedding.tolist())


def _python2_str(number: float) -> str:
    text = format(number, ".12g")
    return text if any(mark in text for mark in ".en") else f"{text}.0"

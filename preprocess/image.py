"""Encoded pictures to pixels: the only place that opens an untrusted picture."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from preprocess import container
from preprocess.errors import InputError

MAX_BYTES = 8 * 1024 * 1024
MAX_PIXELS = 25_000_000
MAX_PIXELS_TOGETHER = 50_000_000  # of the pictures of one request: a second or two of decoding
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "BMP",
)  # Pillow tries no other parser: some start programs or unpack archives

DECODERS = ("jpeg", "zip", "raw")  # of Pillow, in C; that of compressed BMP is Python and takes seconds
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation

Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked below, before any pixel is decoded


def decode(data: bytes, apply_exif: bool = False) -> NDArray[np.uint8]:
    """Decode one picture to uint8[height, width, 3], RGB, 0..255.

    Grey, palette and CMYK pictures become RGB; alpha is dropped, not blended; 16-bit samples keep their
    high byte; of an animation the first frame is taken. The EXIF orientation is applied on request only.

    Raises:
        InputError: the picture is empty, of another format, too large, cut short or damaged.
    """
    try:
        _check_size(data)
        picture = container.unwrap(data)
        with _open(picture.pixels) as image:
            image.load()
            if apply_exif:
                image = _upright(image, picture.exif or image.info.get("exif", b""))
            return np.asarray(_to_rgb(image))
    except InputError:
        raise
    except MemoryError:
        raise InputError("image_too_large", "not enough memory to decode the picture") from None
    except Exception as error:  # Pillow's parsers raise a dozen types on damaged files
        if "truncated" in str(error):
            raise InputError("image_truncated", "the picture ends early; send the whole file") from None
        raise InputError("image_unreadable", "the picture is damaged; send a valid JPEG, PNG, WebP or BMP") from None


def check_together(pictures: Sequence[bytes]) -> None:
    """Before the pictures of one request are decoded; raises InputError where they are too large together."""
    if sum(_pixels(data) for data in pictures) > MAX_PIXELS_TOGETHER:
        most = f"at most {MAX_PIXELS_TOGETHER} pixels are taken in one request"
        raise InputError("image_too_large", f"the pictures are too large together; {most}")


def _pixels(data: bytes) -> int:
    """How many pixels a picture says that it has; 0 where it cannot be read, which `decode` will tell."""
    try:
        _check_size(data)
        with _open(container.unwrap(data).pixels) as image:
            return image.width * image.height
    except Exception:
        return 0


def _check_size(data: bytes) -> None:
    if not data:
        raise InputError("image_empty", "the picture has no bytes")
    if len(data) > MAX_BYTES:
        raise InputError("image_too_large", f"the picture has {len(data)} bytes; at most {MAX_BYTES} are taken")


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise InputError("image_format", "not a picture; send JPEG, PNG, WebP or BMP") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError("image_too_large", f"the picture is {width}x{height}; at most {MAX_PIXELS} pixels are taken")
    if any(tile[0] not in DECODERS for tile in getattr(image, "tile", ())):
        raise InputError("image_format", "a compressed BMP; send it as PNG")
    return image


def _upright(image: Image.Image, exif: bytes) -> Image.Image:
    turn = TURNS.get(container.orientation(exif))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip 16-bit grey to 255 instead of scaling it
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    return image if image.mode == "RGB" else image.convert("RGB")

"""Encoded pictures to pixels: the only place that opens an untrusted picture."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from preprocess.errors import InputError

MAX_BYTES = 8 * 1024 * 1024
MAX_PIXELS = 25_000_000
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "BMP",
)  # Pillow tries no other parser: some start programs or unpack archives

Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked below, before any pixel is decoded


def decode(data: bytes, apply_exif: bool = False) -> NDArray[np.uint8]:
    """Decode one picture to uint8[height, width, 3], RGB, 0..255.

    Grey, palette and CMYK pictures become RGB; alpha is dropped, not blended; 16-bit samples keep their
    high byte; of an animation the first frame is taken. The EXIF orientation is applied on request only.

    Raises:
        InputError: the picture is empty, of another format, too large, cut short or damaged.
    """
    try:
        with _open(data) as image:
            image.load()
            if apply_exif:
                image = _upright(image)
            return np.asarray(_to_rgb(image))
    except InputError:
        raise
    except MemoryError:
        raise InputError("image_too_large", "not enough memory to decode the picture") from None
    except Exception as error:  # Pillow's parsers raise a dozen types on damaged files
        if "truncated" in str(error):
            raise InputError("image_truncated", "the picture ends early; send the whole file") from None
        raise InputError("image_unreadable", "the picture is damaged; send a valid JPEG, PNG, WebP or BMP") from None


def _open(data: bytes) -> Image.Image:
    if not data:
        raise InputError("image_empty", "the picture has no bytes")
    if len(data) > MAX_BYTES:
        raise InputError("image_too_large", f"the picture has {len(data)} bytes; at most {MAX_BYTES} are taken")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise InputError("image_format", "not a picture; send JPEG, PNG, WebP or BMP") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError("image_too_large", f"the picture is {width}x{height}; at most {MAX_PIXELS} pixels are taken")
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the pixels
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip 16-bit grey to 255 instead of scaling it
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    return image if image.mode == "RGB" else image.convert("RGB")

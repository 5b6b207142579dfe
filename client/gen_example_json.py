"""Pack pictures of aligned faces into test.json, the body that /service takes. Nothing is detected or cut.

Example: python -m client gen_example_json --image_files a.png b.png
         curl -X POST http://127.0.0.1:8080/service -T test.json
"""

import argparse
import base64
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess import facenet, image
from preprocess.errors import InputError

OUTPUT = Path("test.json")  # in the current folder, as the original


def add_arguments(parser: argparse.ArgumentParser, what: str = "pictures, one face each") -> None:
    """The original's options; `what` the files are."""
    parser.add_argument("--image_files", type=Path, nargs="+", required=True, help=what)
    parser.add_argument(
        "--image_size", type=pixels, default=facenet.SIZE, help="sides of the packed faces, in pixels (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write test.json; 1 where a picture cannot be read or test.json not be written."""
    try:
        write([facenet.resize(read(path), args.image_size) for path in args.image_files])
    except Unusable as error:
        print(f"gen_example_json: {error}", file=sys.stderr)
        return 1
    return 0


def pixels(text: str) -> int:
    """A length for argparse: a whole number of pixels, at least one."""
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give a whole number of pixels from 1 to 4096")
    return int(text)


class Unusable(Exception):
    """Why test.json cannot be written; the message names the file at fault."""


def read(path: Path) -> NDArray[np.uint8]:
    """A picture file as uint8[height, width, 3], RGB, not turned by its EXIF orientation, as the original read it."""
    try:
        return image.decode(path.expanduser().read_bytes())
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    except InputError as error:
        raise Unusable(f"{path}: {error}") from None


def write(faces: Sequence[NDArray[np.uint8]]) -> None:
    """Write test.json; raises Unusable where that cannot be."""
    try:
        OUTPUT.write_text(body(faces))
    except OSError as error:
        raise Unusable(f"{OUTPUT}: {error.strerror}") from None


def body(faces: Sequence[NDArray[np.uint8]]) -> str:
    """The JSON text, its keys in the original's order: faces uint8[height, width, 3] as PNG in base64, their count."""
    return json.dumps({"images": [base64.b64encode(_png(face)).decode() for face in faces], "cnt": len(faces)})


def _png(face: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(face).save(file, "PNG")
    return file.getvalue()

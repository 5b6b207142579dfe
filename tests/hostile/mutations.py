"""Good requests and pictures, and ways to spoil them."""

import base64
import io
import json

from hypothesis import strategies as st
from PIL import Image
from skimage.data import astronaut

WORDS = [
    b"\xff\xd8",
    b"\xff\xda",
    b"\xff\xff",
    b"IDAT",
    b"VP8 ",
    b"\0" * 8,
    b"\xff" * 8,
    b"[[",
    b'"',
    b"\\u0000",
    b"1e999",
]


def pictures() -> list[bytes]:
    """A small face in every format that is taken, in several forms of each."""
    face = Image.fromarray(astronaut()).crop((150, 50, 300, 210)).resize((48, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    forms = [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, "exif": exif}),
        ("JPEG", "L", {"restart_marker_blocks": 2}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {"exif": exif}),
        ("PNG", "P", {"transparency": 0}),
        ("PNG", "LA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True, "exif": exif}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
    ]
    found = []
    for format, mode, save in forms:
        file = io.BytesIO()
        face.convert(mode).save(file, format, **save)
        found.append(file.getvalue())
    return found


def bodies() -> list[bytes]:
    """JSON bodies of one and two pictures, and bodies that are pictures."""
    texts = [base64.b64encode(picture).decode() for picture in pictures()[::3]]
    return [
        json.dumps({"cnt": 2, "images": texts[:2]}).encode(),
        json.dumps({"images": [f"data:image/png;base64,{texts[1]}"]}).encode(),
        json.dumps({"cnt": 1, "images": texts, "more": [1.5, None, {"a": "\u00e9"}]}).encode(),
        *pictures()[:5],
    ]


def _edits() -> st.SearchStrategy[tuple[float, float, bytes]]:
    """Where to cut, how much to cut out, and what to put there."""
    place = st.floats(0, 1)
    length = st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.3, 1.0])
    return st.tuples(place, length, st.one_of(st.binary(max_size=4), st.sampled_from(WORDS)))


def mutated(originals: list[bytes]) -> st.SearchStrategy[bytes]:
    def apply(original: bytes, edits: list[tuple[float, float, bytes]]) -> bytes:
        for place, length, put in edits:
            at = int(place * len(original))
            original = original[:at] + put + original[at + max(int(length * len(original)), len(put)) :]
        return original

    return st.builds(apply, st.sampled_from(originals), st.lists(_edits(), min_size=1, max_size=6))

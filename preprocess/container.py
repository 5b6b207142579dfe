"""Takes an encoded picture apart as far as needed to hand the decoder its pixels and nothing else.

Decoders loop over whatever a file holds: comments of four bytes by the million, a thousand passes over 25 million
pixels, EXIF entries that each claim the whole file, texts that unpack to a gigabyte. None of it changes a pixel.
JPEG: ITU T.81, annex B. PNG: W3C, Portable Network Graphics, 5. EXIF: CIPA DC-008, 4.6.
"""

import re
import struct
from dataclasses import dataclass

from preprocess.errors import InputError

MAX_PARTS = 20_000  # segments or chunks; encoders write one for each few KiB
MAX_SCANS = 16  # passes over the pixels of a progressive JPEG; encoders write about ten

MARKER = re.compile(rb"\xff+([\x01-\xfe])")
NEXT_MARKER = re.compile(rb"\xff[\x01-\xfe]")
# In a scan, 0 follows each FF, and restart markers are part of it. Of several FF the last is found: a pattern that
# took them all would try each run of them anew from each of its bytes.
SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
EOI, SOS, APP1 = 0xD9, 0xDA, 0xE1
TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
KEPT_SEGMENTS = (
    TABLES | FRAMES | {SOS, 0xE0, 0xEE}
)  # of the application's own: JFIF's, and Adobe's, which names colours
LEFT_OUT_SEGMENTS = set(range(0xE1, 0xF0)) - {0xEE} | {0xFE}

PNG = b"\x89PNG\r\n\x1a\n"
KEPT_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}

ORIENTATION, SHORT = 0x0112, 3


@dataclass(frozen=True)
class Container:
    """`pixels`: the file without what is beside its pixels; `exif`: what it said of itself, unread."""

    pixels: bytes
    exif: bytes = b""


def unwrap(data: bytes) -> Container:
    """An encoded picture of any format; those that hold nothing to fear come back as they are.

    Raises:
        InputError: a part ends where none can, or there are too many.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    return _png(data) if data.startswith(PNG) else Container(data)


def orientation(exif: bytes) -> int:
    """How EXIF says that the picture stands: 1 to 8; 1 where it says nothing or is damaged."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == ORIENTATION:
                return value if kind == SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _jpeg(data: bytes) -> Container:
    kept, exif = [data[:2]], b""
    start, scans = 2, 0
    for _ in range(MAX_PARTS):
        marker = MARKER.match(data, start)
        if marker is None and (found := NEXT_MARKER.search(data, start)):  # stray bytes, which decoders skip
            start = found.start()
            continue
        if marker is None or marker.end() + 2 > len(data):
            return Container(_cut(data, start, kept), exif)
        kind, body = marker[1][0], marker.end()
        if kind == EOI and scans:
            return Container(b"".join((*kept, data[start:body])), exif)
        end = body + int.from_bytes(data[body : body + 2], "big")
        if kind in KEPT_SEGMENTS:
            if kind == SOS:
                scans += 1
                ending = SCAN_END.search(data, end)
                end = ending.start() if ending else len(data)
            kept.append(data[start:end])
        elif kind not in LEFT_OUT_SEGMENTS:
            raise _damaged()
        elif kind == APP1 and not exif and data.startswith(b"Exif\0\0", body + 2):
            exif = data[body + 2 : end]
        if scans > MAX_SCANS or end < body + 2:
            raise _damaged()
        start = end
    raise _damaged()


def _cut(data: bytes, start: int, kept: list[bytes]) -> bytes:
    """A JPEG without its end: the decoder judges whether enough is there."""
    if data[start : start + 1] not in (b"", b"\xff"):
        raise _damaged()
    return b"".join((*kept, data[start:]))


def _png(data: bytes) -> Container:
    kept, exif = [PNG], b""
    start = len(PNG)
    for _ in range(MAX_PARTS):
        kind = data[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if kind in KEPT_CHUNKS:
            kept.append(data[start:end])
        elif kind == b"eXIf" and not exif:
            exif = data[start + 8 : end - 4]
        if kind == b"IEND" or end >= len(data):
            return Container(b"".join(kept), exif)
        start = end
    raise _damaged()


def _damaged() -> InputError:
    return InputError("image_unreadable", "the picture is damaged; send a valid JPEG, PNG, WebP or BMP")

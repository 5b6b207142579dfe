"""Pictures that nobody honest sends, made by code."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image
from skimage.data import astronaut

Pixels = np.ndarray


def encode(pixels: Pixels | Image.Image, format: str = "PNG", **save: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format, **save)
    return file.getvalue()


def photo() -> Image.Image:
    """A photo with one face, 512x512."""
    return Image.fromarray(astronaut())


def face(width: int = 150, height: int = 160) -> Image.Image:
    return photo().crop((150, 50, 300, 210)).resize((width, height))


def noise(width: int, height: int, block: int = 1) -> Pixels:
    small = np.random.default_rng(0).integers(0, 256, (height // block, width // block, 3), np.uint8)
    return small.repeat(block, 0).repeat(block, 1)


def checkerboard(side: int) -> Pixels:
    return (np.indices((side, side)).sum(axis=0) // 8 % 2 * 255).astype(np.uint8)


def collage(columns: int, rows: int, width: int = 100, height: int = 110) -> Pixels:
    return np.tile(np.asarray(face(width, height)), (rows, columns, 1))


def chunk(kind: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG of these filtered rows, for what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def segment(kind: int, body: bytes) -> bytes:
    """Of a JPEG."""
    return b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with more segments after its start."""
    return data[:2] + b"".join(segments) + data[2:]


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header says so."""
    at = next(data.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in data) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def with_scan(data: bytes, scan: bytes) -> bytes:
    """A JPEG whose entropy-coded part is this."""
    at = data.index(b"\xff\xda")
    return data[: at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")] + scan + b"\xff\xd9"


def patched(data: bytes, at: int, *values: int) -> bytes:
    return data[:at] + bytes(values) + data[at + len(values) :]


def one_bit_png_bomb(side: int) -> bytes:
    compressor = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    body = b"".join(compressor.compress(row * 1000) for _ in range(side // 1000)) + compressor.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def webp_bomb() -> bytes:
    """A lossless WebP whose header says 16383x16383."""
    data = encode(face(32, 32), "WEBP", lossless=True)
    at = data.index(b"VP8L") + 9
    bits = int.from_bytes(data[at : at + 4], "little") >> 28 << 28
    return data[:at] + (bits | 16382 | 16382 << 14).to_bytes(4, "little") + data[at + 4 :]


def exif_bomb(entries: int) -> bytes:
    """EXIF whose every entry claims all of it."""
    entry = b"".join(struct.pack(">HHII", tag, 7, 12 * entries, 8) for tag in range(1, entries + 1))
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", entries) + entry + bytes(4)


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as folder:
        folder.writestr("payload.txt", "echo-me")
    return file.getvalue()


def compressed_bmp(side: int) -> bytes:
    rows = b"\1\1" * 4_000_000
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    return struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start) + header + bytes(1024) + rows


def of_scans(scans: int, side: int = 5000) -> bytes:
    """A progressive JPEG that passes over its pixels so often, which takes its decoder longer than any other we know.

    Its first scan and its last again and again: a decoder that was told so little of the pixels smooths them as well.
    """
    data = encode(Image.new("RGB", (side, side), (90, 80, 70)), "JPEG", progressive=True)
    second, last = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2), data.rindex(b"\xff\xda")
    return data[:second] + data[last:-2] * (scans - 1) + data[-2:]

"""Reads and writes MXNet's `.params` files without MXNet and without executing anything.

The format, little-endian, as MXNet's `NDArray::Save` writes it:

    uint64 0x112, uint64 0, uint64 count, then `count` arrays, then uint64 count and `count` names
    (uint64 length, bytes). An array is
    uint32 magic (V1 or V2), V2 only: int32 storage type (0, dense), uint32 ndim, ndim x int64,
    int32 device type, int32 device id, int32 type flag, the numbers.
    Files older than MXNet 0.11 have no magic: the word in its place is ndim and the dimensions are uint32.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from preprocess.engines import Array
from preprocess.prepare.errors import PreparationError

MAX_ARRAYS = 100_000
MAX_NAME = 1024
MAX_DIMENSIONS = 8

_LIST_MAGIC = 0x112
_V1, _V2 = 0xF993FAC8, 0xF993FAC9
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f8"), 2: np.dtype("<f2")}

Arrays = dict[str, Array]


class _Reader:
    """Takes fields off the front of a file; every one is checked against what is left."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.offset = 0

    def take(self, size: int) -> memoryview:
        if size > len(self.data) - self.offset:
            raise PreparationError(f"the file is truncated: {size} bytes expected at byte {self.offset}")
        self.offset += size
        return self.data[self.offset - size : self.offset]

    def number(self, kind: str) -> int:
        value: int = struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]
        return value


def read(data: bytes) -> Arrays:
    """Gives the arrays of a `.params` file by name (`arg:conv0_weight`, `aux:bn0_moving_mean`) as float32.

    Raises PreparationError with the reason when the file is not a `.params` file, is truncated or lies
    about its sizes, or holds anything but finite floating-point numbers.
    """
    reader = _Reader(data)
    if reader.number("Q") != _LIST_MAGIC or reader.number("Q") != 0:
        raise PreparationError("this is no MXNet .params file: its first 16 bytes are wrong")
    count = reader.number("Q")
    if count > MAX_ARRAYS:
        raise PreparationError(f"the file claims {count} arrays; {MAX_ARRAYS} at most are read")
    arrays = [_array(reader) for _ in range(count)]
    named = reader.number("Q")
    if named != count:
        raise PreparationError(f"the file holds {count} arrays and {named} names")
    names = [_name(reader) for _ in range(count)]
    if reader.offset != len(data):
        raise PreparationError(f"{len(data) - reader.offset} bytes follow the end of the .params data")
    if len(set(names)) != count:
        raise PreparationError("two arrays of the file have the same name")
    for name, array in zip(names, arrays, strict=True):
        if not np.isfinite(array).all():
            raise PreparationError(f"array {name!r} holds numbers that are not finite")
    return dict(zip(names, arrays, strict=True))


def _array(reader: _Reader) -> Array:
    magic = reader.number("I")
    if magic == _V2 and (storage := reader.number("i")) != 0:
        raise PreparationError(f"an array has storage type {storage}; only dense arrays (0) are read")
    legacy = magic not in (_V1, _V2)
    ndim = magic if legacy else reader.number("I")
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise PreparationError(f"an array has {ndim} dimensions; 1 to {MAX_DIMENSIONS} are read")
    shape = [reader.number("I" if legacy else "q") for _ in range(ndim)]
    if min(shape) < 1:
        raise PreparationError(f"an array has the shape {shape}; every dimension must be at least 1")
    reader.take(8)  # device type and id: where the array lived when it was saved
    flag = reader.number("i")
    if flag not in _TYPES:
        raise PreparationError(f"an array has type flag {flag}; only float32, float64 and float16 are read")
    dtype = _TYPES[flag]
    numbers = reader.take(math.prod(shape) * dtype.itemsize)
    with np.errstate(over="ignore"):  # a float64 too large becomes infinite and is refused by the caller
        return np.frombuffer(numbers, dtype).reshape(shape).astype(np.float32)


def _name(reader: _Reader) -> str:
    length = reader.number("Q")
    if length > MAX_NAME:
        raise PreparationError(f"an array's name claims {length} bytes; {MAX_NAME} at most are read")
    try:
        return bytes(reader.take(length)).decode()
    except UnicodeDecodeError:
        raise PreparationError("an array's name is not UTF-8 text") from None


def write(arrays: Mapping[str, Array]) -> bytes:
    """Gives the bytes of a `.params` file (V2, dense, CPU, float32) that MXNet 1.x loads."""
    parts = [struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))]
    for array in arrays.values():
        parts.append(struct.pack("<IiI", _V2, 0, array.ndim))
        parts.append(struct.pack(f"<{array.ndim}q", *array.shape))
        parts.append(struct.pack("<iii", 1, 0, 0))
        parts.append(np.ascontiguousarray(array, "<f4").tobytes())
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        parts.append(struct.pack("<Q", len(name.encode())) + name.encode())
    return b"".join(parts)

"""The loops of `preprocess.area`, and Numba, which compiles them when a detector is prepared.

What is written is LLVM's text for x86-64 processors: a server makes machine code of it in a fifth of a second, without
Numba, whose compiler takes two seconds and 70 MB of each process. The loops take all memory they need from their
caller, since Numba's own library, which gives and counts it, is not there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm
import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.prepare.errors import PreparationError
from preprocess.pyramid import Array, Image

Indices = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

SLIVER = 1e-3  # of a pixel: OpenCV leaves thinner parts of a larger picture out
ONE, TWO, THREE = np.uintp(1), np.uintp(2), np.uintp(3)  # no sign: nobody asks whether they count from the end

_PLAIN: dict[str, Any] = {"error_model": "numpy", "_nrt": False}  # no error can come up, nothing of Numba's library


def _inlined(part: Function) -> Function:
    """A part of the loops, which becomes one with them."""
    return cast(Function, njit(forceinline=True, **_PLAIN)(part))


@_inlined
def _most(cell: float, length: int) -> int:
    """How many pixels a cell covers at most."""
    return int(min(cell, float(length))) + 2


@_inlined
def _shares(
    begin: float, cell: float, length: int, sliver: float, first: Indices, last: Indices, weights: Array
) -> None:
    """Of each cell in a row: the first pixel it covers, the one after the last, and how much of the cell lies in each.
    What lies outside 0..length is left out."""
    most = _most(cell, length)
    for place in range(len(first)):
        start = begin + place * cell
        stop = start + cell
        if np.ceil(start) - start <= sliver:
            start = np.ceil(start)
        if stop - np.floor(stop) <= sliver:
            stop = np.floor(stop)
        first[place] = min(max(int(np.floor(start)), 0), length)
        last[place] = max(min(int(np.ceil(stop)), length), first[place])
        for pixel in range(first[place], last[place]):
            weights[place * most + pixel - first[place]] = (min(stop, pixel + 1) - max(start, pixel)) / cell


@_inlined
def _add_up(rows: Image, weights: Array, total: Array) -> None:
    """total float32[w] becomes the sum of rows uint8[n, w], weighted by float32[n]."""
    total[:] = 0
    for row in range(len(rows)):
        pixels, weight = rows[row], weights[row]
        for at in range(len(total)):
            total[at] += weight * np.float32(pixels[at])


@_inlined
def _means(line: Array, first: Indices, last: Indices, weights: Array, most: int, found: Array) -> None:
    """found float32[n * 3] becomes the weighted sums of pixels first..last of a line float32[w * 3], by colour."""
    for cell in range(len(first)):
        red = green = blue = np.float32(0)
        share, value = np.uintp(cell * most), np.uintp(3 * first[cell])
        for _ in range(first[cell], last[cell]):
            weight = weights[share]
            red += weight * line[value]
            green += weight * line[value + ONE]
            blue += weight * line[value + TWO]
            share += ONE
            value += THREE
        found[3 * cell] = red
        found[3 * cell + 1] = green
        found[3 * cell + 2] = blue


@_inlined
def _shrink(
    image: Image,
    height: int,
    width: int,
    found: Image,
    begin: int,
    end: int,
    covered: Indices,
    weights: Array,
    line: Array,
) -> None:
    """Rows begin..end of uint8[height * width * 3]."""
    top, bottom = covered[0, :height], covered[1, :height]
    left, right = covered[0, height : height + width], covered[1, height : height + width]
    deep, wide = len(image) / height, image.shape[1] / (3 * width)
    most_down, most_across = _most(deep, len(image)), _most(wide, image.shape[1] // 3)
    down, across = weights[: height * most_down], weights[height * most_down :]
    total, means = line[: image.shape[1]], line[image.shape[1] : image.shape[1] + 3 * width]
    _shares(0.0, deep, len(image), SLIVER, top, bottom, down)
    _shares(0.0, wide, image.shape[1] // 3, SLIVER, left, right, across)
    for row in range(begin, end):
        _add_up(image[top[row] : bottom[row]], down[row * most_down :], total)
        _means(total, left, right, across, most_across, means)
        values = found[row * len(means) : (row + 1) * len(means)]
        for at in range(len(means)):
            values[at] = np.rint(means[at])


def shrink(
    image: Image, sizes: Indices, found: Image, strip: int, strips: int, covered: Indices, weights: Array, line: Array
) -> None:
    """One strip of so many of an image uint8[h, w * 3] made as small as each size, int64[n, 2], none of them larger.

    found uint8[sum of height * width * 3] holds the results one after the other. Those of a whole number of pixels a
    cell are left out. covered int64[2, h + w], weights float32[3 * (h + w)], line float32[6 * w] are written over.
    """
    begin_of_result = 0
    for number in range(len(sizes)):
        height, width = sizes[number, 0], sizes[number, 1]
        result = found[begin_of_result : begin_of_result + height * width * 3]
        begin_of_result += len(result)
        begin, end = height * strip // strips, height * (strip + 1) // strips
        if begin < end and (len(image) % height or image.shape[1] // 3 % width):
            _shrink(image, height, width, result, begin, end, covered, weights, line)


def cut(image: Image, boxes: NDArray[np.float64], found: Array, covered: Indices, weights: Array, line: Array) -> None:
    """Boxes float64[n, 4] of an image uint8[h, w * 3] as float32[n, 3, size, size].

    covered int64[2, 2 * size], weights float32[2 * size * most], where `most` is how many pixels of the image a cell
    covers at most, and line float32[3 * (w + size)] are written over.
    """
    size = found.shape[2]
    top, bottom, left, right = covered[0, :size], covered[1, :size], covered[0, size:], covered[1, size:]
    means = line[image.shape[1] :]
    for number in range(len(boxes)):
        x1, y1, x2, y2 = boxes[number, 0], boxes[number, 1], boxes[number, 2], boxes[number, 3]
        deep, wide = max(y2 - y1 + 1, 1.0) / size, max(x2 - x1 + 1, 1.0) / size
        most_down, most_across = _most(deep, len(image)), _most(wide, image.shape[1] // 3)
        down, across = weights[: size * most_down], weights[size * most_down :]
        _shares(y1 - 1, deep, len(image), 0.0, top, bottom, down)
        _shares(x1 - 1, wide, image.shape[1] // 3, 0.0, left, right, across)
        begin, end = left[0], right[-1]
        for cell in range(size):
            left[cell] -= begin
            right[cell] -= begin
        total = line[: 3 * (end - begin)]
        for row in range(size):
            _add_up(image[top[row] : bottom[row], 3 * begin : 3 * end], down[row * most_down :], total)
            _means(total, left, right, across, most_across, means)
            for colour in range(3):
                for column in range(size):
                    found[number, colour, row, column] = means[3 * column + colour]


_IMAGE = "Array(uint8, 2, 'C', readonly=True)"
_SCRATCH = "int64[:, ::1], float32[::1], float32[::1]"
_LOOPS: dict[Callable[..., None], str] = {
    shrink: f"void({_IMAGE}, int64[:, ::1], uint8[::1], int64, int64, {_SCRATCH})",
    cut: f"void({_IMAGE}, float64[:, ::1], float32[:, :, :, ::1], {_SCRATCH})",
}


def _compiled(loop: Callable[..., None], signature: str) -> llvm.ModuleRef:
    """A loop as a module with a function of its name; it may be called at once and without Python."""
    options = {**_PLAIN, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    (result,) = cast(Any, njit(signature, **options)(loop)).overloads.values()
    module = llvm.parse_assembly(result.library.get_llvm_str())
    module.get_function(result.fndesc.llvm_func_name).name = loop.__name__
    return module


def write(path: Path) -> None:
    """Writes the compiled loops, as `preprocess.compiled` reads them."""
    first, *others = (_compiled(loop, signature) for loop, signature in _LOOPS.items())
    for other in others:
        first.link_in(other)
    called = [function.name for function in first.functions if function.is_declaration]
    outside = [name for name in called if not name.startswith("llvm.") or name.startswith("llvm.x86.")]
    if outside:
        raise PreparationError(f"the compiled loops call {', '.join(outside)}, which a server may not have")
    path.write_text(str(first))

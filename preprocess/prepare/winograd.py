"""Convolutions of 3x3 with fewer multiplications: Winograd's minimal filtering (Lavin and Gray, arXiv:1509.09308).

ONNX Runtime's CPU kernels multiply 9 times for an output and channel. Here an output of m x m pixels is computed from a
tile of (m + 2) x (m + 2): tile and filter become values of their polynomials at m + 1 points and infinity, are
multiplied there, and the products brought back:

    Y = A' [(G g G') * (B' d B)] A

which takes (m + 2)^2 / m^2 multiplications, 4 for m = 2 and 2.25 for m = 4. It is the same function, to a few
millionths of its largest value.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from preprocess.engines import Array
from preprocess.onnx_graph import Graph
from preprocess.prepare import native
from preprocess.prepare.errors import PreparationError

Matrix = NDArray[np.float64]

KERNEL = 3
PLAIN = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "auto_pad": b"NOTSET"}
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # the first m + 1 of them; with these m = 4 rounds best
TILES = (2, 4)
# What else it costs, in multiplications: to transform a number of a tile (from measurements), and to hold a weight
# (half of it the time to fetch it, half a price, as memory has one: tiles of 4 have four times the weights).
TRANSFORM, HOLD = 60, 16
WORTH = 0.8  # of the direct convolution's cost
TOLERANCE = 1e-5
FIRST_OPSET = 11  # of ONNX that has the operators in the form they are written in here


@dataclass(frozen=True)
class Convolution:
    """One of 3x3, stride 1: channels, the padding at the top and at the left, height and width before and after."""

    inputs: int
    outputs: int
    pads: tuple[int, int]
    size: tuple[int, int]
    output: tuple[int, int]

    @property
    def best_tile(self) -> int:
        """The tile that costs least; 0 where none costs much less than the direct convolution."""
        pairs = self.inputs * self.outputs

        def cost(tile: int) -> int:
            down, across = self.tiles(tile)
            multiplied = pairs + TRANSFORM * (self.inputs + self.outputs)
            return (tile + KERNEL - 1) ** 2 * (down * across * multiplied + HOLD * pairs)

        best = min(TILES, key=cost)
        direct = KERNEL**2 * (self.output[0] * self.output[1] + HOLD) * pairs
        return best if cost(best) < WORTH * direct else 0

    def tiles(self, tile: int) -> tuple[int, int]:
        """How many lie below and beside each other."""
        return -(-self.output[0] // tile), -(-self.output[1] // tile)

    def pixels(self, tile: int) -> NDArray[np.int64]:
        """The pixel at each place of each tile, counted row by row; outside, the one behind the last."""
        (down, across), (height, width), (top, left) = self.tiles(tile), self.size, self.pads
        places = np.arange(tile + KERNEL - 1)
        rows = np.arange(down)[:, None, None, None] * tile + places[:, None] - top
        columns = np.arange(across)[:, None, None] * tile + places - left
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return np.where(inside, rows * width + columns, height * width).reshape(-1)


def write(source: Path, target: Path, faces: Array) -> float:
    """Writes the network of `source` so that CPUs compute it fastest; gives the largest difference on these faces.

    Raises PreparationError if it is too large. A GPU's libraries have such forms of their own.
    """
    target.write_bytes(rewritten(onnx.load(source)).SerializeToString())
    before, after = (native.onnxruntime(path, faces)[0] for path in (source, target))
    difference = native.largest_difference(before, after)
    if not difference <= TOLERANCE:
        raise PreparationError(f"the form for CPUs differs from the network by {difference:.1e}")
    return difference


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network: `model` itself, each convolution changed that costs much less in Winograd's form."""
    if max(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")) < FIRST_OPSET:
        return model
    graph, sizes = model.graph, _sizes(model)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if convolution := _worthwhile(node, constants, sizes):
            made = Graph(f"winograd/{node.output[0]}/")
            _emit(made, convolution, node.input[0], node.output[0], *_numbers(node, constants))
            nodes += made.nodes
            graph.initializer.extend(made.constants)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return model


def transforms(tile: int) -> tuple[Matrix, Matrix, Matrix]:
    """B' [t, t], G [t, 3] and A' [tile, t] for outputs of `tile` x `tile`, t = tile + 2 (Cook and Toom's algorithm)."""
    points = np.array(POINTS[: tile + 1])
    side = tile + KERNEL - 1
    data, kernel, output = np.zeros((side, side)), np.zeros((side, KERNEL)), np.zeros((tile, side))
    for place, point in enumerate(points):
        others = np.delete(points, place)
        data[place, :-1] = np.poly(others)[::-1]
        kernel[place] = point ** np.arange(KERNEL) / np.prod(point - others)
        output[:, place] = point ** np.arange(tile)
    data[-1] = np.poly(points)[::-1]  # and infinity
    kernel[-1, -1] = output[-1, -1] = 1
    return data, kernel, output


def _emit(
    graph: Graph,
    convolution: Convolution,
    source: str,
    target: str,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> None:
    """Tiles cut out and transformed, a product of matrices for each place of a tile, and back.

    Numbers move by whole pixels of all channels, so the tensors have channels last; the products are a convolution of
    1x1 in groups, ONNX Runtime's best kernel, which turns the axes on its way.
    """
    tile, inputs, outputs = convolution.best_tile, convolution.inputs, convolution.outputs
    data, kernel, output = transforms(tile)
    down, across = convolution.tiles(tile)
    places = len(data) ** 2
    pixels = graph.reshape(graph.add("Transpose", source, perm=[0, 2, 3, 1]), 0, -1, inputs)
    framed = graph.add("Pad", pixels, np.array([0, 0, 0, 0, 1, 0]))  # a pixel of zeros behind the last
    cut = graph.add("Gather", framed, convolution.pixels(tile), axis=1)
    transformed = graph.add("MatMul", np.kron(data, data), graph.reshape(cut, -1, places, inputs))
    at_one = np.zeros((places, 1))
    at_one[len(data) + 1] = 1  # what is added to the value at the points 1 and 1 comes out in every pixel of the tile
    products = graph.convolution(
        graph.add("Transpose", graph.reshape(transformed, -1, down, across, places * inputs), perm=[0, 3, 1, 2]),
        (np.kron(kernel, kernel).astype(np.float32) @ weight.reshape(-1, KERNEL**2).T).reshape(-1, inputs, 1, 1),
        (at_one * bias).reshape(-1),
        group=places,
    )
    by_tile = graph.reshape(graph.add("Transpose", products, perm=[0, 2, 3, 1]), -1, places, outputs)
    back = graph.add("MatMul", np.kron(output, output), by_tile)
    rows = graph.add("Transpose", graph.reshape(back, -1, down, across, tile, tile * outputs), perm=[0, 1, 3, 2, 4])
    picture = graph.reshape(rows, -1, down * tile, across * tile, outputs)
    if (down * tile, across * tile) != convolution.output:
        picture = graph.add("Slice", picture, np.array([0, 0]), np.array(convolution.output), np.array([1, 2]))
    graph.add("Transpose", picture, perm=[0, 3, 1, 2], name=target)


def _worthwhile(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], sizes: dict[str, list[int]]
) -> Convolution | None:
    """The node's convolution, if Winograd's form is right for it and costs less."""
    if node.op_type != "Conv" or any(name not in constants for name in node.input[1:]):
        return None
    weight = constants[node.input[1]]
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    size, output = (sizes.get(name, [0]) for name in (node.input[0], node.output[0]))
    if weight.data_type != TensorProto.FLOAT or list(weight.dims[2:]) != [KERNEL, KERNEL] or not all([*size, *output]):
        return None
    if any(given.get(name, usual) != usual for name, usual in PLAIN.items()):
        return None
    top, left = given.get("pads", [0] * 4)[:2]
    outputs, inputs = weight.dims[:2]
    convolution = Convolution(inputs, outputs, (top, left), (size[0], size[1]), (output[0], output[1]))
    return convolution if convolution.best_tile else None


def _numbers(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight [outputs, inputs, 3, 3] and bias [outputs]."""
    weight, *bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
    return weight, bias[0] if bias else np.zeros(len(weight), np.float32)


def _sizes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Height and width of each picture-like tensor; 0 where they are free."""
    known = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: value.type.tensor_type.shape.dim for value in [*known.input, *known.value_info, *known.output]
    }
    return {name: [side.dim_value for side in shape[2:]] for name, shape in shapes.items() if len(shape) == 4}


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in used:
            del graph.initializer[place]

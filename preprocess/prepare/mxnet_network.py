"""An MXNet network as it is written or read: the symbol and its weights together."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from preprocess.engines import Array
from preprocess.prepare import mxnet_params, mxnet_symbol
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.mxnet_symbol import Node, Output, Symbol

_PREFIXES = ("arg:", "aux:")


@dataclass(frozen=True)
class Network:
    """`weights` goes by the names in the symbol, without `arg:` and `aux:`; arrays are float32."""

    symbol: Symbol
    weights: dict[str, Array]

    def pruned(self, outputs: Sequence[str]) -> "Network":
        """Gives the part that the named layers need, with no weights beside theirs."""
        symbol = self.symbol.pruned(outputs)
        names = {node.name for node in symbol.nodes if node.op == "null"}
        return replace(
            self, symbol=symbol, weights={name: array for name, array in self.weights.items() if name in names}
        )

    def files(self) -> tuple[bytes, bytes]:
        """Gives the bytes of `-symbol.json` and of `.params`, as InsightFace keeps a checkpoint."""
        # The moving averages of a batch normalisation are "auxiliary states" to MXNet, all else arguments.
        auxiliary = {
            self.symbol.nodes[source].name
            for node in self.symbol.nodes
            if node.op == "BatchNorm"
            for source, _ in node.inputs[3:]
        }
        arrays = {("aux:" if name in auxiliary else "arg:") + name: a for name, a in self.weights.items()}
        return mxnet_symbol.write(self.symbol), mxnet_params.write(arrays)


def read(symbol_path: Path, params_path: Path) -> Network:
    """Reads a checkpoint; raises PreparationError naming the file and what is wrong with it."""
    try:
        symbol = mxnet_symbol.read(_bytes(symbol_path))
    except PreparationError as error:
        raise PreparationError(f"{symbol_path}: {error}") from None
    try:
        arrays = mxnet_params.read(_bytes(params_path))
        weights = {name[4:]: array for name, array in arrays.items() if name.startswith(_PREFIXES)}
        if len(weights) != len(arrays):
            raise PreparationError("its arrays are not named arg:... and aux:..., each once")
    except PreparationError as error:
        raise PreparationError(f"{params_path}: {error}") from None
    return Network(symbol, weights)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PreparationError(f"cannot be read: {error.strerror}") from None


@dataclass
class Builder:
    """Writes a network layer by layer; each method gives the layer's output for the next one to take."""

    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def input(self, name: str = "data") -> Output:
        return self._append("null", name, (), {})

    def layer(
        self,
        op: str,
        name: str,
        inputs: Sequence[Output],
        weights: dict[str, Array] | None = None,
        **attrs: object,
    ) -> Output:
        """Adds the operator `op`; `weights` are its further inputs, in order, named `<name>_<key>`."""
        sources = list(inputs)
        for key, array in (weights or {}).items():
            self.weights[f"{name}_{key}"] = array
            sources.append(self._append("null", f"{name}_{key}", (), {}))
        return self._append(op, name, tuple(sources), {key: str(value) for key, value in attrs.items()})

    def convolution(
        self,
        name: str,
        data: Output,
        weight: Array,
        bias: Array | None = None,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
    ) -> Output:
        """Adds a convolution; `weight` is float32[filters, channels per group, kernel height, kernel width]."""
        return self.layer(
            "Convolution",
            name,
            [data],
            {"weight": weight} if bias is None else {"weight": weight, "bias": bias},
            kernel=weight.shape[2:],
            num_filter=len(weight),
            num_group=groups,
            stride=(stride, stride),
            pad=(pad, pad),
            no_bias=bias is None,
        )

    def prelu(self, name: str, data: Output, gamma: Array) -> Output:
        return self.layer("LeakyReLU", name, [data], {"gamma": gamma}, act_type="prelu")

    def dense(self, name: str, data: Output, weight: Array, bias: Array) -> Output:
        """Adds a fully connected layer; `weight` is float32[numbers out, numbers in], channels first."""
        return self.layer("FullyConnected", name, [data], {"weight": weight, "bias": bias}, num_hidden=len(weight))

    def network(self, *heads: Output) -> Network:
        return Network(Symbol(tuple(self.nodes), heads), self.weights)

    def _append(self, op: str, name: str, inputs: tuple[Output, ...], attrs: dict[str, str]) -> Output:
        self.nodes.append(Node(op, name, attrs, inputs))
        return len(self.nodes) - 1, 0

"""InsightFace's residual networks at their real size, with random weights: for tests of size and speed.

`python -m tests.preprocess.prepare.resnet PREFIX` writes ResNet-100 (65 million numbers, 261 MB) as
PREFIX-symbol.json and PREFIX-0000.params. Layers and names follow InsightFace's fresnet.py (version_unit 3,
version_input 1, output E, PReLU).
"""

import sys
from pathlib import Path

import numpy as np

from preprocess.prepare.mxnet_network import Builder, Network
from preprocess.prepare.mxnet_symbol import Output

RESNET_100 = (3, 13, 30, 3)
FILTERS = (64, 64, 128, 256, 512)


class _Residual(Builder):
    """Layers with random weights, scaled so that a hundred of them neither vanish nor overflow."""

    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng(100)

    def normal(self, *shape: int, scale: float) -> np.ndarray:
        return scale * self.random.standard_normal(shape, np.float32)

    def conv(self, name: str, data: Output, filters: tuple[int, int], kernel: int, stride: int, gain: float) -> Output:
        made, taken = filters
        weight = self.normal(made, taken, kernel, kernel, scale=gain / (taken * kernel * kernel) ** 0.5)
        return self.convolution(name, data, weight, stride=stride, pad=kernel // 2)

    def batch_norm(self, name: str, data: Output, count: int, fix_gamma: bool = False) -> Output:
        weights = {
            "gamma": np.ones(count, np.float32) + self.normal(count, scale=0.05),
            "beta": self.normal(count, scale=0.05),
            "moving_mean": self.normal(count, scale=0.05),
            "moving_var": np.ones(count, np.float32) + self.normal(count, scale=0.05) ** 2,
        }
        return self.layer("BatchNorm", name, [data], weights, fix_gamma=fix_gamma, eps=2e-5, momentum=0.9)

    def activation(self, name: str, data: Output, count: int) -> Output:
        return self.prelu(name, data, 0.25 + self.normal(count, scale=0.05))

    def unit(self, name: str, data: Output, filters: tuple[int, int], stride: int) -> Output:
        made, taken = filters
        body = self.batch_norm(f"{name}_bn1", data, taken)
        body = self.batch_norm(f"{name}_bn2", self.conv(f"{name}_conv1", body, filters, 3, 1, 1.4), made)
        body = self.conv(f"{name}_conv2", self.activation(f"{name}_relu1", body, made), (made, made), 3, stride, 0.3)
        body = self.batch_norm(f"{name}_bn3", body, made)
        if stride > 1:
            data = self.batch_norm(f"{name}_sc", self.conv(f"{name}_conv1sc", data, filters, 1, stride, 1), made)
        return self.layer("elemwise_add", f"{name}_plus", [body, data])


def network(units: tuple[int, ...] = RESNET_100, embedding: int = 512) -> Network:
    """Gives a network of four stages with `units` units each; `fc1` has `embedding` numbers."""
    builder = _Residual()
    net = builder.layer("_copy", "id", [builder.input()])
    net = builder.layer("_minus_scalar", "_minusscalar0", [net], scalar=127.5)
    net = builder.layer("_mul_scalar", "_mulscalar0", [net], scalar=0.0078125)
    net = builder.batch_norm("bn0", builder.conv("conv0", net, (FILTERS[0], 3), 3, 1, 1.4), FILTERS[0])
    net = builder.activation("relu0", net, FILTERS[0])
    for stage, count in enumerate(units, 1):
        for place in range(1, count + 1):
            filters = FILTERS[stage], FILTERS[stage - 1] if place == 1 else FILTERS[stage]
            net = builder.unit(f"stage{stage}_unit{place}", net, filters, 2 if place == 1 else 1)
    net = builder.layer("Dropout", "dropout0", [builder.batch_norm("bn1", net, FILTERS[-1])], p=0.4)
    weight = builder.normal(embedding, FILTERS[-1] * 7 * 7, scale=0.01)
    net = builder.dense("pre_fc1", net, weight, builder.normal(embedding, scale=0.01))
    return builder.network(builder.batch_norm("fc1", net, embedding, fix_gamma=True))


def write(made: Network, prefix: Path) -> int:
    """Writes the network as epoch 0 of `prefix`; gives how many numbers it holds."""
    symbol, params = made.files()
    prefix.with_name(f"{prefix.name}-symbol.json").write_bytes(symbol)
    prefix.with_name(f"{prefix.name}-0000.params").write_bytes(params)
    return sum(array.size for array in made.weights.values())


if __name__ == "__main__":
    print(f"{write(network(), Path(sys.argv[1])):,} numbers")

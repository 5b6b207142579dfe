"""The part of triton_python_backend_utils that preprocess.serving touches, for tests without a server."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class TritonError:
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self.message, self.code = message, code


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor]
    error: TritonError | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        assert self.error is None, self.error.message
        return {tensor.name(): tensor.as_numpy() for tensor in self.output_tensors}


@dataclass
class InferenceRequest:
    tensors: dict[str, np.ndarray]
    options: dict[str, Any] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    cancelled: bool = False

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self.tensors.items()]

    def parameters(self) -> str:
        return json.dumps(self.options) if self.options else ""

    def requested_output_names(self) -> list[str]:
        return list(self.wanted)

    def is_cancelled(self) -> bool:
        return self.cancelled


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor:
    return Tensor(name, request.tensors[name])

"""Loops over arrays that `preprocess.prepare.loops` compiled: LLVM makes machine code of their text, without Numba."""

import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numpy.typing import NDArray

Loop = Callable[..., None]
"""A compiled function of contiguous arrays and whole numbers. It holds no lock of Python's while it runs."""

_TYPES = {"ptr": ctypes.c_void_p, "i64": ctypes.c_int64}


class Library:
    """The functions of one file."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError where the file was not prepared."""
        if not path.is_file():
            raise FileNotFoundError(f"{path.name} is missing; run scripts/prepare-models")
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features().flatten()
        machine = llvm.Target.from_default_triple().create_target_machine(llvm.get_host_cpu_name(), features, opt=3)
        self._module = llvm.parse_assembly(path.read_text())
        self._engine = llvm.create_mcjit_compiler(self._module, machine)
        self._engine.finalize_object()

    def function(self, name: str) -> Loop:
        """The function of that name, which expects arrays of the types and dimensions that it was compiled for."""
        types = [_TYPES[str(argument.type)] for argument in self._module.get_function(name).arguments]
        return partial(self._run, ctypes.CFUNCTYPE(ctypes.c_int32, *types)(self._engine.get_function_address(name)))

    def _run(self, code: Callable[..., int], *arguments: NDArray[Any] | int) -> None:
        """Being a method, it keeps the library, and so the code, as long as it may be called."""
        result, error = ctypes.c_void_p(), ctypes.c_void_p()
        if code(ctypes.addressof(result), ctypes.addressof(error), *_unfolded(arguments)):
            raise RuntimeError("a compiled loop failed")


def _unfolded(arguments: tuple[NDArray[Any] | int, ...]) -> Iterator[int | None]:
    """Arguments as Numba passes them: of an array its owner twice, elements, their size, address, shape, strides."""
    for argument in arguments:
        if isinstance(argument, int):
            yield argument
        else:
            yield from (None, None, argument.size, argument.itemsize, argument.__array_interface__["data"][0])
            yield from argument.shape
            yield from argument.strides

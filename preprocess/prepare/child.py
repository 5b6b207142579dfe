"""Runs a function in a process of its own, so that TensorFlow and MXNet never meet and their memory is freed."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from preprocess.prepare.errors import PreparationError

P = ParamSpec("P")
T = TypeVar("T")


def in_child(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Gives `function(*args, **kwargs)`, computed in a fresh process whose own chatter is not shown.

    Raises what the function raises, and PreparationError when the process is killed (out of memory, a crash
    inside a framework).
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_quieten) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            raise PreparationError(
                f"{function.__name__} was killed: the machine is out of memory, or the framework crashed on this file"
            ) from None


def _quieten() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # The frameworks write to the descriptors themselves, past Python's sys.stderr.
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)

"""Runs a function in a process of its own, so that TensorFlow and MXNet never meet and their memory is freed."""

import contextlib
import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from preprocess.prepare.errors import PreparationError
from preprocess.prepare.places import LOG

P = ParamSpec("P")
T = TypeVar("T")

MEMORY = 16 * 2**30
"""Bytes a child may take: ResNet-100 needs 2 GB; a hostile file that asks for all of them ends the child."""

SECONDS = 30 * 60
"""Time a step may take: ResNet-100 needs half a minute, a hostile file could ask for for ever."""


def in_child(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Gives `function(*args, **kwargs)`, computed in a fresh process whose own chatter goes to LOG.

    PreparationError and OSError come through as they are. Whatever else the frameworks raise about a file
    becomes a PreparationError of one line, and so does a process that is killed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, args, kwargs), daemon=True)
    resource_tracker.ensure_running()  # which would otherwise undo the next line on the first start
    # Ctrl-C goes to the whole group; the parent decides, and the child is never told (it inherits this).
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    sender.close()
    try:
        if not receiver.poll(SECONDS):
            raise PreparationError(f"'{_step(function)}' took longer than {SECONDS // 60} minutes")
        result: T | Exception = receiver.recv()
    except EOFError:
        raise PreparationError(
            f"'{_step(function)}' was killed: the machine is out of memory, or the framework crashed on this file"
        ) from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(result, Exception):
        raise result
    return result


def _step(function: Callable[..., object]) -> str:
    return function.__name__.replace("_", " ")


def _run(sender: Connection, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)  # the frameworks write to the descriptors themselves, past Python's sys.stderr
    os.dup2(log, 2)
    sender.send(attempt(function, *args, **kwargs))
    sender.close()


def attempt(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Gives what the function gives, or the exception that `in_child` is to raise in its place."""
    try:
        return function(*args, **kwargs)
    except (PreparationError, OSError) as error:
        return error
    except Exception as error:
        traceback.print_exc()  # into the log
        lines = str(error).strip().splitlines() or [""]
        return PreparationError(f"{type(error).__name__}: {lines[0][:300]}")

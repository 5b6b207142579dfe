"""Files that are either whole or absent: hashes, placing by rename, and one preparation at a time."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

_PART = ".part"


def sha256(path: Path) -> str:
    """Gives the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def place(files: Mapping[Path, Path | str], gone: Collection[Path] = ()) -> None:
    """Puts staged files or texts (values) where they belong (keys); leaves texts that are there already alone.

    All are written and synced first. Then the files `gone` go, and all are renamed in their order, which Ctrl-C and
    SIGTERM wait for. Hard-links where the file system allows it. Whatever fails, no destination is half written.
    """
    wrong = {target: content for target, content in files.items() if not _says(target, content)}
    parts = {target: target.with_name(target.name + _PART) for target in wrong}
    try:
        for target, content in wrong.items():
            _stage(content, parts[target])
        with _undisturbed():
            for path in gone:
                path.unlink(missing_ok=True)
            for target, part in parts.items():
                part.replace(target)
            for folder in dict.fromkeys(target.parent for target in parts):
                _sync(folder)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def write(target: Path, content: str) -> None:
    """Writes a text file, whole or not at all; leaves one that already says this alone."""
    place({target: content})


def _says(target: Path, content: Path | str) -> bool:
    return isinstance(content, str) and target.is_file() and target.read_bytes() == content.encode()


def _stage(content: Path | str, part: Path) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    if isinstance(content, str):
        part.write_bytes(content.encode())
    else:
        try:
            os.link(content, part)
        except OSError:  # another file system, or one without links
            shutil.copyfile(content, part)
    _sync(part)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets SIGINT and SIGTERM take effect after the block. A mask would not do: another thread may receive them."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock file `path`; calls `waiting` once if somebody else holds it, and waits for them."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

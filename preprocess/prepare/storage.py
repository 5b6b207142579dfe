"""Files that are either whole or absent: hashes, placing by rename, and one preparation at a time."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_PART = ".part"


def sha256(path: Path) -> str:
    """Gives the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def place(files: Mapping[Path, Path]) -> None:
    """Puts staged files (values) where they belong (keys): all are written and synced first, then all renamed.

    Hard-links where the file system allows it. Whatever fails, no destination is half written.
    """
    parts = {target: target.with_name(target.name + _PART) for target in files}
    try:
        for target, source in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            parts[target].unlink(missing_ok=True)
            try:
                os.link(source, parts[target])
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, parts[target])
            _sync(parts[target])
        for target, part in parts.items():
            part.replace(target)
        for folder in {target.parent for target in files}:
            _sync(folder)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def write(target: Path, content: str) -> None:
    """Writes a text file, whole or not at all; leaves one that already says this alone."""
    if target.is_file() and target.read_text() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + _PART)
    try:
        part.write_text(content)
        _sync(part)
        part.replace(target)
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


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

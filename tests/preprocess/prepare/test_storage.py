"""Files are whole or absent."""

import errno
import fcntl
import os
import shutil
import signal
from pathlib import Path

import pytest

from preprocess.prepare import storage


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def staged(tmp_path: Path) -> dict[Path, Path]:
    """Two new files, and the places of the old ones that they replace."""
    files = {}
    for name in ("a", "b"):
        (tmp_path / "work").mkdir(exist_ok=True)
        (tmp_path / "work" / name).write_text(f"new {name}")
        (tmp_path / "repository" / name).mkdir(parents=True)
        (tmp_path / "repository" / name / "file").write_text(f"old {name}")
        files[tmp_path / "repository" / name / "file"] = tmp_path / "work" / name
    return files


def test_staged_files_replace_the_old_ones(staged: dict[Path, Path], tmp_path: Path) -> None:
    storage.place(staged)
    assert tree(tmp_path / "repository") == {"a/file": b"new a", "b/file": b"new b"}


def test_texts_take_their_places_with_the_files_and_what_is_gone_goes(staged: dict[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    (folder / "old").touch()
    storage.place({folder / "text": "new text", **staged}, [folder / "old", folder / "never there"])
    assert tree(folder) == {"a/file": b"new a", "b/file": b"new b", "text": b"new text"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_all_is_in_place(
    number: signal.Signals, staged: dict[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def signalled(self: Path, target: Path) -> Path:
        signal.raise_signal(number)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", signalled)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line has it
    try:
        with pytest.raises(KeyboardInterrupt):
            storage.place(staged)
        assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert tree(tmp_path / "repository") == {"a/file": b"new a", "b/file": b"new b"}


def test_a_full_disk_replaces_nothing_and_leaves_nothing(
    staged: dict[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another file system")

    def full(source: Path, target: Path) -> None:
        Path(target).write_text("hal")
        if Path(source).name == "b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        storage.place(staged)
    assert tree(tmp_path / "repository") == {"a/file": b"old a", "b/file": b"old b"}


def test_an_interrupted_text_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "manifest.json"
    storage.write(target, "old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write(target, "new")
    assert tree(tmp_path) == {"manifest.json": b"old"}


def test_a_text_that_is_right_is_not_written_again(tmp_path: Path) -> None:
    target = tmp_path / "config.pbtxt"
    storage.write(target, "the same")
    before = target.stat()
    storage.write(target, "the same")
    assert target.stat() == before


def test_a_text_that_was_damaged_is_written_again(tmp_path: Path) -> None:
    target = tmp_path / "config.pbtxt"
    target.write_bytes(b"\xff\xfe")
    storage.write(target, "the same")
    assert tree(tmp_path) == {"config.pbtxt": b"the same"}


def test_a_lock_that_is_held_is_announced_and_waited_for(tmp_path: Path) -> None:
    holder = (tmp_path / "lock").open("w")
    fcntl.flock(holder, fcntl.LOCK_EX)
    said = []

    def waiting() -> None:
        said.append("waiting")
        holder.close()  # closing gives the lock up

    with storage.locked(tmp_path / "lock", waiting):
        assert said == ["waiting"]
    with storage.locked(tmp_path / "lock", waiting):
        assert said == ["waiting"]

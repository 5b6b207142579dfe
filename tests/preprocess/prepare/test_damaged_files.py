"""Twenty damaged files of every form: one line each, a status that is not zero, nothing replaced.

The command runs inside one process for each framework, so that the framework is imported once; what a step in
a process of its own adds is in test_child.py, and the last test here runs the command as people do.
"""

import contextlib
import gzip
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocess.prepare.child import in_child
from tests.conftest import PROJECT
from tests.preprocess.prepare.conftest import Native

TRUNCATIONS = 12


@dataclass(frozen=True)
class Outcome:
    """What one run of the command did."""

    status: int
    errors: str
    changed: bool


def damages(data: bytes) -> dict[str, bytes]:
    """Gives twenty ways in which a file can be wrong."""
    random = np.random.default_rng(8)
    found = {f"cut off after {k}/{TRUNCATIONS}": data[: len(data) * k // TRUNCATIONS] for k in range(TRUNCATIONS)}
    return {
        **found,
        "zeros": bytes(len(data)),
        "ones": b"\xff" * len(data),
        "noise": random.bytes(len(data)),
        "backwards": data[::-1],
        "compressed": gzip.compress(data, 1),
        "a page of a login": b"<!DOCTYPE html><html>Please sign in</html>",
        "a picture": b"\x89PNG\r\n\x1a\n" + random.bytes(200),
        "a large file's pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 94022009\n",
    }


def run_on_damaged(path: Path, files: list[Path], argv: list[str], work: Path) -> dict[str, Outcome]:
    """Runs the command on copies of a checkpoint with one of its `files` damaged in turn. For a child process."""
    from preprocess.prepare import __main__ as command
    from preprocess.prepare import child, networks

    def here(function: Callable[..., Any], *args: Any) -> Any:
        result = child.attempt(function, *args)
        if isinstance(result, Exception):
            raise result
        return result

    networks.in_child = here  # type: ignore[assignment]
    repository = work / "repository"
    with contextlib.redirect_stdout(io.StringIO()):
        assert command.main(["--repository", str(repository)]) == 0
    before = _state(repository)
    outcomes = {}
    for place, name in enumerate(damages(b"")):
        target = files[place % len(files)]
        copy = work / f"{place}" / path.name
        copy.parent.mkdir()
        parts = [path] if path.exists() else sorted(path.parent.glob(f"{path.name}*"))
        for part in parts:
            (shutil.copytree if part.is_dir() else shutil.copy)(part, copy.with_name(part.name))
        damaged = copy.parent / target.relative_to(path.parent)
        damaged.write_bytes(damages(target.read_bytes())[name])
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            status = command.main([word.replace("PATH", str(copy)) for word in argv] + [f"--repository={repository}"])
        outcomes[f"{target.name}: {name}"] = Outcome(status, errors.getvalue(), _state(repository) != before)
        shutil.rmtree(copy.parent)
    return outcomes


def _state(repository: Path) -> dict[str, tuple[int, int, int]]:
    found = {path: path.stat() for path in repository.rglob("*") if path.is_file()}
    return {str(path): (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def check(outcomes: dict[str, Outcome]) -> None:
    assert len(outcomes) == 20
    for name, outcome in outcomes.items():
        assert outcome.status != 0, name
        assert not outcome.changed, name
        assert outcome.errors.startswith("prepare-models: "), name
        assert outcome.errors.count("\n") == 1, name
        assert 20 < len(outcome.errors) < 600, (name, outcome.errors)


FACENETS = ("frozen", "metagraph", "savedmodel", "exported", "keras", "h5", "channels-first")


@pytest.mark.parametrize("form", FACENETS)
def test_a_damaged_facenet_is_refused(form: str, repository: Path, facenets: Native, tmp_path: Path) -> None:
    path, _ = facenets[form]
    files = [path]
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix in (".meta", ".index", ".pb") or ".data" in file.name
        ]
        files = [file for file in files if file.name != "fingerprint.pb"]
    argv = ["facenet", "--from=PATH"]
    check(in_child(run_on_damaged, path, files, argv, tmp_path))


@pytest.mark.parametrize("name", ["resnet-se-symbol.json", "resnet-se-0003.params", "scaled-outside.onnx"])
def test_a_damaged_arcface_is_refused(name: str, repository: Path, arcfaces: Native, tmp_path: Path) -> None:
    onnx = name.endswith(".onnx")
    path, _ = arcfaces["scaled-outside" if onnx else "resnet-se"]
    argv = ["arcface", "--from=PATH", "--epoch=3"]
    check(in_child(run_on_damaged, path, [path.parent / name], argv, tmp_path))


def test_a_damaged_mtcnn_folder_is_refused(repository: Path, shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mtcnn-model"
    shutil.copytree(shared / "models" / "mtcnn-mxnet", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    check(in_child(run_on_damaged, folder, sorted(folder.iterdir()), ["--mtcnn=PATH"], tmp_path))


@pytest.mark.parametrize("form", ["frozen", "channels-first"])
def test_the_command_itself_answers_in_one_line(form: str, repository: Path, facenets: Native, tmp_path: Path) -> None:
    path, _ = facenets[form]
    damaged = tmp_path / path.name
    damaged.write_bytes(path.read_bytes()[:1000])
    command = [sys.executable, "-m", "preprocess.prepare", "facenet", f"--from={damaged}"]
    command.append(f"--repository={tmp_path / 'repository'}")
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("prepare-models: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "repository" / "manifest.json").exists()

"""What cannot work does not start, says why in a line, and leaves nothing behind."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT, free_ports, serving


def refusal(repository: Path, *options: str, **environment: str) -> tuple[str, float]:
    """What `serve` says when it does not start, and after how many seconds."""
    gateway, http, grpc, metrics = free_ports(4)
    command = [sys.executable, "-m", "client", "serve", f"--repository={repository}", f"--port={gateway}"]
    command += [f"--triton-http-port={http}", f"--triton-grpc-port={grpc}", f"--triton-metrics-port={metrics}"]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, *options],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode not in (0, -9)
    assert "Ready" not in done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr, time.monotonic() - begun


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Iterator[Path]:
    """A repository whose files may be spoilt."""
    yield Path(shutil.copytree(repository, tmp_path / "repository"))


def test_a_port_in_use_is_named_within_five_seconds(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said, seconds = refusal(repository, f"--port={port}")
    assert str(port) in said
    assert seconds < 5


@pytest.mark.parametrize("option", ["--triton-http-port", "--triton-grpc-port", "--triton-metrics-port"])
def test_a_port_that_is_asked_for_twice_is_named_within_five_seconds(option: str, repository: Path) -> None:
    (port,) = free_ports(1)
    said, seconds = refusal(repository, f"--port={port}", f"{option}={port}")
    assert said == f"serve: port {port} is asked for twice; choose another (--help)\n"
    assert seconds < 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FACE_MAX_IMAGE", "5"),
        ("FACE_MAX_IMAGES", "33"),
        ("FACE_HOST", "here"),
        ("FACE_GPU", "true"),
        ("FACE_API_KEYS_FILE", "/nowhere"),
        ("UAI_SERVICE_CONFIG", "/nowhere"),
    ],
)
def test_a_setting_that_is_unknown_or_wrong_is_named_within_five_seconds(
    key: str, value: str, repository: Path
) -> None:
    said, seconds = refusal(repository, **{key: value})
    assert key in said
    assert seconds < 5


def test_it_runs_from_any_folder(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(repository)
    with serving(Path("mine"), folder=tmp_path, PYTHONPATH=str(PROJECT)) as server:
        with urllib.request.urlopen(f"{server.url}/health/ready") as answer:
            assert answer.status == 200


def test_a_relative_repository_lies_in_the_folder_that_it_is_started_from(repository: Path, tmp_path: Path) -> None:
    for name in ("mine", "client", "preprocess"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()  # packages of others, which are not taken for ours
    (tmp_path / "mine" / "manifest.json").write_text("{")  # which ends it before anything is served
    command = [PROJECT / "scripts" / "serve", "--repository", "mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"{tmp_path / 'mine' / 'manifest.json'} cannot be read" in done.stderr


@pytest.mark.parametrize("file", ["facenet/1/model.onnx", "arcface/1/model.onnx", "face_detect/1/pnet.onnx"])
@pytest.mark.parametrize("how", ["missing", "cut short", "one wrong bit"])
def test_a_weight_that_is_not_what_was_prepared_is_named_within_five_seconds(file: str, how: str, copy: Path) -> None:
    weight = copy / file
    data = bytearray(weight.read_bytes())
    weight.unlink()
    if how == "cut short":
        weight.write_bytes(data[: len(data) // 2])
    if how == "one wrong bit":
        data[len(data) // 2] ^= 1
        weight.write_bytes(data)
    said, seconds = refusal(copy)
    assert str(weight) in said
    assert "scripts/prepare-models" in said
    assert said.count("\n") == 1
    assert seconds < 5

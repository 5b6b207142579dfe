"""What a Triton is not started with, and what its start passes over."""

import os
import tempfile
from pathlib import Path

import pytest

from client import embedded
from client.embedded import EmbeddedTriton, Ports
from client.installation import Installation, LaunchError

WHERE = "Triton starts models only from a path of ASCII letters, digits and @%+=:,./~#^!_-"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is started, which must be nothing."""
    commands: list[object] = []

    def start(command: object, **how: object) -> None:
        commands.append(command)
        raise AssertionError("something was started")

    monkeypatch.setattr(embedded.subprocess, "Popen", start)
    return commands


@pytest.mark.parametrize("name", ["a b", "a$b", "it's", "a;b", "a&b", "a*b", "(a)", "a\nb", "é"])
def test_a_repository_that_a_shell_would_take_apart_is_named(name: str, tmp_path: Path, started: list[object]) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(LaunchError) as refused:
        EmbeddedTriton(tmp_path / name, Ports()).start()
    assert str(refused.value) == f"{tmp_path / name}: {WHERE}; move it to such a path"
    assert started == []


def test_a_link_is_followed_before_a_path_is_judged(tmp_path: Path, started: list[object]) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    with pytest.raises(LaunchError, match="a b: Triton starts"):
        EmbeddedTriton(tmp_path / "link", Ports()).start()
    assert started == []


def test_a_folder_for_temporary_files_that_a_shell_would_take_apart_is_named(
    tmp_path: Path, started: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wheel(runtime: Path) -> Installation:
        return Installation(tmp_path / "tritonserver", tmp_path, runtime / "backends")

    (tmp_path / "a b").mkdir()
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a b"))
    monkeypatch.setattr(embedded.installation, "find", wheel)
    with pytest.raises(LaunchError) as refused:
        EmbeddedTriton(tmp_path / "models", Ports()).start()
    assert str(refused.value).startswith(f"{tmp_path / 'a b'}/face-triton-")
    assert str(refused.value).endswith(f": {WHERE}; set TMPDIR to such a path")
    assert started == []
    assert list((tmp_path / "a b").iterdir()) == []


def test_a_server_without_a_guard_is_ended_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory for another process: what is half started must neither go on nor be stopped a second time."""

    def refuse(group: int, shm_prefix: str, runtime: Path) -> None:
        servers.append(group)
        raise OSError("no memory")

    servers: list[int] = []
    server = tmp_path / "tritonserver"
    server.write_text("#!/bin/sh\nexec sleep 60\n")
    server.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(embedded.installation, "find", lambda runtime: Installation(server, tmp_path, tmp_path))
    monkeypatch.setattr(embedded, "_guard", refuse)
    triton = EmbeddedTriton(tmp_path, Ports())
    with pytest.raises(OSError, match="no memory"):
        triton.start()
    triton.stop()
    (pid,) = servers
    assert not Path("/proc", str(pid)).exists()
    assert list(tmp_path.glob("face-triton-*")) == []


def test_regions_that_may_not_be_removed_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    region = Path(f"/dev/shm/face_{os.getpid()}_of_another_user")  # our own id: no other server sweeps it
    region.touch()
    remove = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    try:
        embedded._sweep_regions()
    finally:
        remove(region)


@pytest.mark.parametrize(
    ("binary", "demand", "seen"),
    [
        pytest.param("/venv/pytriton/tritonserver/bin/tritonserver", None, "", id="wheel"),
        pytest.param("/venv/pytriton/tritonserver/bin/tritonserver", "no", "", id="wheel-no"),
        pytest.param("/venv/pytriton/tritonserver/bin/tritonserver", "yes", "0", id="wheel-yes"),
        pytest.param("/opt/tritonserver/bin/tritonserver", None, "0", id="image"),
        pytest.param("/opt/tritonserver/bin/tritonserver", "yes", "0", id="image-yes"),
    ],
)
def test_the_wheels_server_sees_a_gpu_only_where_one_is_demanded(
    binary: str, demand: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("FACE_GPU", raising=False)
    if demand:
        monkeypatch.setenv("FACE_GPU", demand)
    server = Installation(Path(binary), Path("/lib"), Path("/backends"))
    assert embedded._environment(server)["CUDA_VISIBLE_DEVICES"] == seen

"""Containers for tests, run as docs/deploying.md says: not as root, nothing writable but /tmp, no capability left."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

HARDENED = (
    *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=10001:10001"),
    *("--tmpfs=/tmp:rw,noexec,nosuid,nodev,size=64m", "--shm-size=512m", "--memory=3g", "--pids-limit=2048"),
)
READY_SECONDS = 120.0
KILL_A_MODEL = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    command = (process / "cmdline").read_bytes().split(b"\\0")
    if command[0].endswith(b"triton_python_backend_stub") and b"/facenet/" in command[1]:
        os.kill(int(process.name), signal.SIGKILL)
"""


def podman(*arguments: str) -> str:
    """What a podman command prints; its failure fails the test."""
    environment = {**os.environ, "BUILDAH_FORMAT": "docker"}  # podman's own format has no health checks
    done = subprocess.run(["podman", *arguments], env=environment, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def require_images(*names: str) -> None:
    """Skip the test where podman or an image is not here."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    for name in names:
        if subprocess.run(["podman", "image", "exists", name]).returncode:
            pytest.skip(f"the image {name} is not built; run scripts/images")


@contextlib.contextmanager
def running(image: str, *options: str, command: tuple[str, ...] = ()) -> Iterator[str]:
    """Run an image until the block ends; its container's id."""
    container = podman("run", "--detach", *HARDENED, *options, image, *command)
    try:
        yield container
    finally:
        podman("rm", "--force", "--time=0", container)


@contextlib.contextmanager
def network(name: str) -> Iterator[str]:
    """A network of its own, on which containers find each other by name."""
    podman("network", "create", name)
    try:
        yield name
    finally:
        podman("network", "rm", "--force", name)


def address(container: str, network: str) -> str:
    """The container's IP address on a network."""
    found = json.loads(podman("inspect", container))[0]["NetworkSettings"]["Networks"]
    return str(found[network]["IPAddress"])


def ask(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of the answer to a GET, or to a POST of `body`; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def seconds_until(url: str, status: int = 200) -> float:
    """Wait until a GET is answered with `status`; the seconds that took."""
    start = time.monotonic()
    while time.monotonic() - start < READY_SECONDS:
        if ask(url)[0] == status:
            return time.monotonic() - start
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer {status} in {READY_SECONDS:.0f} s")

"""What tests share: the recordings, pictures made on the spot, and real servers on free loopback ports."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared"

# The same examples each time, however slow the machine is at one of them.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")

# A proxy of the environment is not asked for this machine: not by us, nor by gRPC or a program that is started.
others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"127.0.0.1,localhost,::1,{others}".rstrip(",")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background is born ignoring it


@dataclass(frozen=True)
class Server:
    """A running server: the gateway's address, Triton's addresses, and the process that started them."""

    url: str
    grpc: str
    triton_http: str
    metrics: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and models beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with the recordings is not here")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """The recorded exchanges of the original services."""
    return shared / "golden" / "uai"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The prepared model repository of this checkout."""
    path = PROJECT / "model_repository"
    if not (path / "manifest.json").is_file():
        pytest.fail("the models are not prepared; run scripts/test, or scripts/prepare-models first")
    return path


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[Server]:
    """The whole system on the default models, as scripts/serve starts it."""
    with serving(repository) as running:
        yield running


@contextlib.contextmanager
def serving(
    repository: Path, within: Sequence[str] = (), folder: Path = PROJECT, log: TextIO | None = None, **environment: str
) -> Iterator[Server]:
    """Run the whole system on free ports until the block ends; it must then stop by itself and say 0."""
    server = launch(repository, within, folder, log, **environment)
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate()
    assert server.process.returncode == 0


def launch(
    repository: Path, within: Sequence[str] = (), folder: Path = PROJECT, log: TextIO | None = None, **environment: str
) -> Server:
    """Start the whole system on free ports; the caller ends its process.

    within: a command line that becomes the one it is given, in other surroundings
    folder: the working directory
    log: takes its standard error in place of ours
    """
    gateway, http, grpc, metrics = free_ports(4)
    command = [sys.executable, "-m", "client", "serve", f"--repository={repository}", f"--port={gateway}"]
    command += [f"--triton-http-port={http}", f"--triton-grpc-port={grpc}", f"--triton-metrics-port={metrics}"]
    surroundings = {**os.environ, **environment}
    process = subprocess.Popen(
        [*within, *command], cwd=folder, env=surroundings, stdout=subprocess.PIPE, stderr=log, text=True
    )
    assert process.stdout is not None
    if not any(line.startswith("Ready") for line in process.stdout):
        process.communicate()
        pytest.fail(f"the server did not start; its log is {log.name if log else 'above'}")
    addresses = [f"127.0.0.1:{port}" for port in (grpc, http, metrics)]
    return Server(f"http://127.0.0.1:{gateway}", *addresses, process)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    """Encoded pictures of smooth noise, from a seed: format, mode, size (width, height) and Pillow's save options."""

    def make(
        format: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (64, 48), seed: int = 0, **save: object
    ) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR).convert(mode)
        file = io.BytesIO()
        image.save(file, format, **save)
        return file.getvalue()

    return make

"""Where a tritonserver is installed: in an image under /opt/tritonserver, or in the nvidia-pytriton wheel.

The wheel's Python API is not used; only its server, Python backend and libraries are.
"""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

IMAGE = Path("/opt/tritonserver")  # in NVIDIA's images, and in ours


class LaunchError(RuntimeError):
    """The server cannot start; the message is one line that says what to do."""


@dataclass(frozen=True)
class Installation:
    """The server's binary, the folder of its libraries and the folder of its backends."""

    binary: Path
    libraries: Path
    backends: Path


def find(runtime: Path) -> Installation:
    """The server of this machine; what the wheel needs beside it is laid out in `runtime`. Raises LaunchError."""
    if (IMAGE / "bin" / "tritonserver").is_file():
        return Installation(IMAGE / "bin" / "tritonserver", IMAGE / "lib", IMAGE / "backends")
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise LaunchError("the package nvidia-pytriton is not installed; run scripts/setup")
    wheel = Path(found.origin).parent
    _assemble_backend(wheel / "tritonserver", runtime / "backends" / "python")
    binary = wheel / "tritonserver" / "bin" / "tritonserver"
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)  # a wheel may come unpacked without the run bits
    return Installation(binary, wheel.parent / "nvidia_pytriton.libs", runtime / "backends")


def _assemble_backend(server: Path, directory: Path) -> None:
    """The Python backend wants its library, its utilities and this interpreter's stub side by side."""
    directory.mkdir(parents=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise LaunchError(f"nvidia-pytriton has no stub for Python {version}; use Python 3.10 to 3.12")
    for file in (*(server / "backends" / "python").glob("*.*"), stub):
        shutil.copy(file, directory)
    (directory / stub.name).chmod(0o755)

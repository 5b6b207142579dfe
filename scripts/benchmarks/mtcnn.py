"""Face detection: ours beside the original algorithm on TensorFlow and two packages, by size of photo and by faces.

Each detector runs in a process of its own, on all cores. They take turns on each photo, round after round, so that a
noisy minute hits all; the first round is not counted. All have the same parameters. Decoding is not part of the times.
Then face_detect on Triton is measured beside the same work in this process, decoding included, and memory.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from client.embedded import EmbeddedTriton, Ports
from preprocess import cascade, image, mtcnn
from preprocess.engines import cores
from scripts.benchmarks import photos
from scripts.benchmarks.detection_report import report
from scripts.benchmarks.load import over_grpc
from scripts.benchmarks.serving import LOG, answer_of, processor
from tests.conftest import PROJECT, free_ports

PACKAGES = PROJECT / ".cache" / "detectors"
DETECTORS = ("ours", "reference", "mtcnn_package", "facenet_pytorch")
CALLERS = (1, 4, 8)


class Detector:
    """A detector in a process of its own; see detectors/run.py."""

    def __init__(self, name: str, weights: Path) -> None:
        path = os.pathsep.join([str(PROJECT), str(PACKAGES)])
        with LOG.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scripts.benchmarks.detectors.run", name, str(weights), str(cores())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "passive"},
            )
        self.loaded = answer_of(self.process)

    def detect(self, file: Path, times: int) -> dict[str, float]:
        assert self.process.stdin
        print(times, file, file=self.process.stdin, flush=True)
        return answer_of(self.process)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds and no soak")
    parser.add_argument("--weights", type=Path, default=PROJECT / "model_repository" / "face_detect" / "1")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench-out")
    parser.add_argument("--docs", action="store_true", help="put tables and plots into docs/detection.md too")
    options = parser.parse_args()
    load = [os.getloadavg()[0]]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        detectors = {name: stack.enter_context(started(name, options.weights)) for name in DETECTORS}
        sizes = [race(detectors, photo, folder, options.quick) for photo in photos.by_size()]
        crowds = [race(detectors, photo, folder, options.quick) for photo in photos.by_faces()]
    load.append(os.getloadavg()[0])
    served = triton(options.weights.parents[1], 1 if options.quick else 2)
    held = memory(options.weights)
    grown = None if options.quick else soak(options.weights)
    load.append(os.getloadavg()[0])
    figures = {
        "machine": f"{processor()}, load before, between and after {', '.join(f'{value:.1f}' for value in load)}",
        "sizes": sizes,
        "crowds": crowds,
        "triton": served,
        "memory": held,
        "soak": grown,
    }
    report(options.out, figures, PROJECT / "docs" if options.docs else None)


@contextmanager
def started(name: str, weights: Path) -> Iterator[Detector]:
    detector = Detector(name, weights)
    try:
        yield detector
    finally:
        detector.close()


def race(detectors: dict[str, Detector], photo: photos.Photo, folder: Path, quick: bool) -> dict[str, Any]:
    """Milliseconds and faces of every detector on one photo."""
    file = folder / "photo.npy"
    np.save(file, photo.pixels)
    rounds = 2 if quick else 9 if photo.megapixels < 1 else 5
    turn = 3 if photo.megapixels < 1 else 1  # detections: the first of a turn finds the caches filled by others
    times: dict[str, list[float]] = {name: [] for name in detectors}
    faces: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, detector in detectors.items():
            answer = detector.detect(file, turn)
            faces[name] = int(answer["faces"])
            if number:
                times[name].append(answer["milliseconds"])
    height, width = photo.pixels.shape[:2]
    print(photo.name, f"{height}x{width}", {name: round(min(each), 1) for name, each in times.items()}, file=sys.stderr)
    return {"name": photo.name, "height": height, "width": width, "times": times, "faces": faces}


def triton(repository: Path, rounds: int) -> list[dict[str, Any]]:
    """Photos a second of face_detect on Triton, and of decoding and detecting in this process, in turns."""
    loaded = mtcnn.load(repository / "face_detect" / "1", cores())
    rows = []
    with served(repository) as address:
        for photo in photos.by_size():
            data = jpeg(photo)
            seconds = max(2.0, 16 / in_process(data, loaded, 0.5))
            rates: dict[str, list[float]] = {"in process": [], **{f"{callers} callers": [] for callers in CALLERS}}
            for _ in range(rounds):
                rates["in process"].append(in_process(data, loaded, seconds))
                for callers in CALLERS:
                    rates[f"{callers} callers"].append(over_grpc(address, "face_detect", data, callers, seconds).rate)
            height, width = photo.pixels.shape[:2]
            told = {key: round(max(values), 1) for key, values in rates.items()}
            print(photo.name, f"{height}x{width}", told, file=sys.stderr)
            rows.append({"name": photo.name, "height": height, "width": width, "rates": rates})
    return rows


def in_process(data: bytes, loaded: mtcnn.Detector, seconds: float) -> float:
    count, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        mtcnn.detect(image.decode(data, apply_exif=True), loaded, cascade.Options())
        count += 1
    return count / (time.perf_counter() - begun)


@contextmanager
def served(repository: Path) -> Iterator[str]:
    """A Triton that serves face_detect alone; gives its address."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(repository / "face_detect", Path(folder) / "face_detect")
        ports = Ports(*free_ports(3))
        server = EmbeddedTriton(Path(folder), ports)
        server.start()
        try:
            server.wait_ready(60)
            yield f"127.0.0.1:{ports.grpc}"
        finally:
            server.stop()


def memory(weights: Path) -> list[dict[str, Any]]:
    """Peak megabytes of a process that has detected faces in one large photo."""
    rows = []
    noise = photos.Photo("noise", np.random.default_rng(0).integers(0, 256, (5000, 5000, 3), np.uint8))
    wall = photos.Photo("wall", photos.wall(5000, 5000))
    for photo in (*photos.by_size()[-3:], noise, wall):
        with tempfile.TemporaryDirectory() as folder, started("ours", weights) as detector:
            file = Path(folder) / "photo.npy"
            np.save(file, photo.pixels)
            answer = detector.detect(file, 1)
            rows.append(
                {"name": photo.name, "megapixels": photo.megapixels, "loaded": detector.loaded["peak"], **answer}
            )
    return rows


def soak(weights: Path) -> list[dict[str, float]]:
    """Resident megabytes while one process sees photos of 2,000 sizes."""
    command = [sys.executable, "-m", "scripts.benchmarks.detectors.soak", str(weights), "2000"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment).stdout
    return [dict(json.loads(line)) for line in lines.splitlines()]


def jpeg(photo: photos.Photo) -> bytes:
    file = BytesIO()
    Image.fromarray(photo.pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


if __name__ == "__main__":
    main()

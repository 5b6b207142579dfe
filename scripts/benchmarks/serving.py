"""What a server on this machine gives: engines, Triton, /service, and a peer that serves as the original did.

Everything is measured in rounds, one after the other, so that a noisy minute hits all; figures are medians over the
rounds with the lowest and highest beside them. Clients share the cores with the servers, as they would in no real use.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, cast

from PIL import Image

from client.embedded import DIRECT
from preprocess import engines
from preprocess.prepare import manifest
from scripts.benchmarks.load import Load, open_http, over_grpc, over_http
from scripts.benchmarks.processes import memory, processor_seconds
from scripts.benchmarks.tables import report
from tests.conftest import PROJECT, free_ports

LOG = PROJECT / ".cache" / "bench.log"
NETWORKS = ("facenet", "arcface")
CALLERS = 8  # beside whom the processor's time is counted
FACES = {"facenet_embed": 1, "arcface_embed": 1, "facenet_compare": 2}  # of a request
Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer rounds, batches and callers")
    parser.add_argument("--repository", type=Path, default=PROJECT / "model_repository")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench-out")
    options = parser.parse_args()
    rounds, seconds = (2, 1.5) if options.quick else (5, 4.0)
    batches = (1, 8) if options.quick else (1, 2, 4, 8, 16, 32)
    callers = (1, 8) if options.quick else (1, 2, 4, 8, 16, 32, 64)
    figures: Figures = defaultdict(list)
    with ExitStack() as stack:
        server = stack.enter_context(serve(options.repository, figures))
        entries = manifest.read(options.repository)
        # The peer runs on TensorFlow, which not all weights do.
        native = "tensorflow" in entries["facenet"].engines
        peer = stack.enter_context(serve_peer(options.repository)) if native else None
        runners = {
            (model, name): stack.enter_context(engine(model, name, options.repository, figures, precision=precision))
            for model in NETWORKS
            for name, precision in measured(entries[model]).items()
        }
        pairs, crop, photo = requests()
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for (model, name), runner in runners.items():
                for batch in batches:
                    ran = run_engine(runner, batch, seconds / 4)
                    figures[f"engine/{model}/{name}/batch {batch}"].append(ran.rate)
                    if name == "onnxruntime" and batch == CALLERS:
                        figures[f"processor/{model}/alone"].append(ran.processor)
            for many in callers:
                for model, picture in (
                    ("facenet_embed", crop),
                    ("arcface_embed", crop),
                    ("face_detect", photo),
                    ("facenet_photo", photo),
                ):
                    with spending(server, model, many, figures):
                        answered = over_grpc(server["grpc"], model, picture, many, seconds)
                    keep(figures, f"grpc/{model}/callers {many}", answered, 1)
                url = f"{server['url']}/service/FaceCompareModel"
                with spending(server, "facenet_compare", many, figures):
                    answered = over_http(url, pairs, many, seconds)
                keep(figures, f"http/service compare/callers {many}", answered, 2)
                if peer and many <= 16:  # the original's queue
                    answered = over_http(f"{peer}/service", pairs, many, seconds)
                    keep(figures, f"http/peer compare/callers {many}", answered, 2)
            a_second = 0.7 * figures["http/service compare/callers 8/faces per second"][-1] / 2
            answered = open_http(server["gateway"], "/service/FaceCompareModel", pairs, a_second, 2 * seconds)
            keep(figures, "http/service compare/open load of 0.7", answered, 2)
        figures |= {f"memory/{name}": [size] for name, size in memory(server["pid"]).items()}
        steps = statistics(server["http"])
    precisions = ", ".join(f"{model} in {entries[model].precision}" for model in NETWORKS)
    report(options.out, f"{machine()}; {precisions}", figures, steps)


def measured(entry: manifest.Entry) -> dict[str, str]:
    """The engines that can run a network, each with its precision: the one that is served, or float32 on the native."""
    return {name: entry.precision if name == "onnxruntime" else "float32" for name in entry.engines}


def requests() -> tuple[bytes, bytes, bytes]:
    """A pair of 160x160 PNG faces as /service takes it, one PNG crop, and one JPEG photo of 500x500."""
    import base64
    import io

    from skimage.data import astronaut

    def encode(image: Image.Image, format: str) -> bytes:
        file = io.BytesIO()
        image.save(file, format)
        return file.getvalue()

    photo = Image.fromarray(astronaut())
    faces = [encode(photo.crop(box).resize((160, 160)), "PNG") for box in ((150, 50, 300, 210), (160, 60, 290, 200))]
    images = [base64.b64encode(face).decode() for face in faces]
    return json.dumps({"images": images, "cnt": 2}).encode(), faces[0], encode(photo.resize((500, 500)), "JPEG")


def keep(figures: Figures, name: str, load: Load, faces: int) -> None:
    figures[f"{name}/faces per second"].append(load.rate * faces)
    figures[f"{name}/p50 ms"].append(load.p50)
    figures[f"{name}/p99 ms"].append(load.p99)
    figures[f"{name}/errors"].append(load.errors)


@contextmanager
def serve(repository: Path, figures: Figures) -> Iterator[dict[str, Any]]:
    """The whole system, and the seconds it took to be ready."""
    gateway, http, grpc, metrics = free_ports(4)
    command = [sys.executable, "-m", "client", "serve", f"--repository={repository}", f"--port={gateway}"]
    command += [f"--triton-http-port={http}", f"--triton-grpc-port={grpc}", f"--triton-metrics-port={metrics}"]
    begun = time.perf_counter()
    with LOG.open("a") as log:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    if not any(line.startswith("Ready") for line in process.stdout):
        sys.exit(f"bench: the server did not start; {LOG} says why")
    figures["start/seconds to ready"] = [time.perf_counter() - begun]
    figures |= {f"memory idle/{name}": [size] for name, size in memory(process.pid).items()}
    try:
        yield {
            "gateway": gateway,
            "url": f"http://127.0.0.1:{gateway}",
            "grpc": f"127.0.0.1:{grpc}",
            "http": http,
            "pid": process.pid,
        }
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def serve_peer(repository: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    graph = repository / "facenet" / "1" / "model.graphdef"
    command = [sys.executable, "-m", "scripts.benchmarks.peer", str(graph), str(port)]
    with LOG.open("a") as log:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=log)
    try:
        while not listening(port):
            if process.poll() is not None:
                sys.exit(f"bench: the peer did not start; {LOG} says why")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def engine(
    model: str, name: str, repository: Path, figures: Figures, gpu: str | None = None, precision: str = "float32"
) -> Iterator[subprocess.Popen[str]]:
    asked = [model, name, precision, str(repository), *([gpu] if gpu else [])]
    command = [sys.executable, "-m", "scripts.benchmarks.engine", *asked]
    with LOG.open("a") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    figures[f"engine/{model}/{name}/load seconds"] = [answer_of(process)["load_seconds"]]
    try:
        yield process
    finally:
        process.communicate()


@dataclass(frozen=True)
class Run:
    """Faces a second, and milliseconds of processor a face."""

    rate: float
    processor: float


def run_engine(process: subprocess.Popen[str], batch: int, seconds: float) -> Run:
    """Over all of the time, as the servers' answers are counted: slow moments count on both sides."""
    assert process.stdin is not None
    print(batch, seconds, file=process.stdin, flush=True)
    ran = answer_of(process)
    return Run(batch / mean(ran["times"]), 1e3 * ran["processor_seconds"] / (batch * len(ran["times"])))


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON that a program of ours writes; without one the benchmark ends."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"bench: {' '.join(map(str, cast(list[str], process.args)))} ended; {LOG} says why")
    return dict(json.loads(line))


@contextmanager
def spending(server: dict[str, Any], model: str, callers: int, figures: Figures) -> Iterator[None]:
    """Milliseconds of processor that each process spends a face meanwhile, where so many callers of a model count."""
    if callers != CALLERS or model not in FACES:
        yield
        return
    before, answers = processor_seconds(server["pid"]), answers_by_model(server["http"])[model]
    yield
    faces = FACES[model] * (answers_by_model(server["http"])[model] - answers)
    spent = {name: now - before.get(name, 0) for name, now in processor_seconds(server["pid"]).items()}
    for name, seconds in {**spent, "all": sum(spent.values())}.items():
        figures[f"processor/{model}/{name}"].append(1e3 * seconds / faces)


def statistics(port: int) -> dict[str, dict[str, float]]:
    """Milliseconds a request spent in each step of each model, from Triton's own counts."""
    steps = {}
    for model in counts(port):
        counted = model["inference_stats"]
        if count := counted["success"]["count"]:
            parts = ("queue", "compute_input", "compute_infer", "compute_output")
            row = {part: counted[part]["ns"] / count / 1e6 for part in parts}
            row["all"] = counted["success"]["ns"] / count / 1e6
            row["batch"] = model["inference_count"] / max(1, model["execution_count"])
            steps[model["name"]] = row
    return steps


def answers_by_model(port: int) -> dict[str, int]:
    """How many requests each model has answered."""
    return {model["name"]: model["inference_stats"]["success"]["count"] for model in counts(port)}


def counts(port: int) -> list[dict[str, Any]]:
    with DIRECT.open(f"http://127.0.0.1:{port}/v2/models/stats") as answer:
        return list(json.load(answer)["model_stats"])


def machine() -> str:
    return f"{processor()}, load {os.getloadavg()[0]:.1f} at the end"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model, flags = (
        next(line.split(":")[1].strip() for line in lines if name in line) for name in ("model name", "flags")
    )
    vectors = next((name for name in ("avx512_vnni", "avx512f", "avx2") if name in flags.split()), "no AVX2")
    return f"{model} with {vectors}, {engines.cores()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()

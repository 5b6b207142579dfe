"""FaceNet and ArcFace ResNet-100 (random weights) by batch on each engine, on the CPU or a GPU; and what cores give.

On the CPU: ResNet-100 is also served, and all is done again with one core, for the server and its callers together.
Everything is measured in rounds, one after the other, so that a noisy minute hits all.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocess.prepare import __main__ as prepare
from scripts.benchmarks.load import over_grpc, over_http
from scripts.benchmarks.serving import Figures, engine, machine, requests, run_engine, serve
from scripts.benchmarks.tables import spread, table
from tests.conftest import PROJECT
from tests.preprocess.prepare import resnet

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CALLERS = 8
SCALED = ("/service compare", "facenet_embed", "face_detect")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", metavar="N", help="the number of a GPU; onnxruntime alone computes on it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement in a round (%(default)s)")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench-out")
    options = parser.parse_args()
    large = resnet_100(options.out)
    home = PROJECT / "model_repository"
    figures: Figures = defaultdict(list)
    engines = ["onnxruntime"] if options.gpu else ["onnxruntime", "native"]
    for _ in range(options.rounds):
        for name in engines:
            by_batch("facenet", name, home, options, figures)
            by_batch("arcface", name, large, options, figures)
        if options.gpu:
            continue
        resnet_served(large, options.seconds, figures)
        for count in (1, 2):
            with only(count):
                served(home, f"{count} cores", options.seconds, figures)
    report(options.out, f"GPU {options.gpu}, {machine()}" if options.gpu else machine(), figures)


def resnet_100(folder: Path) -> Path:
    """A model repository in `folder` whose ArcFace is ResNet-100 with random weights; made once, kept up to date."""
    repository = folder / "resnet100"
    if not (repository / "manifest.json").is_file():
        folder.mkdir(exist_ok=True)
        prefix = folder / "random-r100"
        resnet.write(resnet.network(), prefix)
        if prepare.main(["arcface", f"--from={prefix}", f"--repository={repository}"]):
            sys.exit("bench: ResNet-100 could not be prepared")
        for file in folder.glob("random-r100-*"):
            file.unlink()
    elif prepare.main([f"--repository={repository}"]):
        sys.exit("bench: ResNet-100 could not be brought up to date")
    return repository


def by_batch(model: str, name: str, repository: Path, options: argparse.Namespace, figures: Figures) -> None:
    native = {"facenet": "tensorflow", "arcface": "mxnet"}[model]
    with engine(model, native if name == "native" else name, repository, figures, options.gpu) as runner:
        for batch in BATCHES if name == "onnxruntime" else (1,):
            figures[f"{model}/{name}/batch {batch}"].append(run_engine(runner, batch, options.seconds).rate)


def resnet_served(repository: Path, seconds: float, figures: Figures) -> None:
    _, crop, _ = requests()
    with serve(repository, defaultdict(list)) as server:
        load = over_grpc(server["grpc"], "arcface_embed", crop, CALLERS, 8 * seconds)  # a batch takes half a second
        figures[f"arcface/served to {CALLERS} callers"].append(load.rate)


def served(repository: Path, name: str, seconds: float, figures: Figures) -> None:
    pairs, crop, photo = requests()
    with serve(repository, defaultdict(list)) as server:
        url = f"{server['url']}/service/FaceCompareModel"
        figures[f"/service compare/{name}"].append(2 * over_http(url, pairs, CALLERS, 2 * seconds).rate)
        for model, picture in (("facenet_embed", crop), ("face_detect", photo)):
            load = over_grpc(server["grpc"], model, picture, CALLERS, 2 * seconds)
            figures[f"{model}/{name}"].append(load.rate)


@contextmanager
def only(count: int) -> Iterator[None]:
    """This process and those it starts on so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def report(folder: Path, where: str, figures: Figures) -> None:
    (folder / "networks.json").write_text(json.dumps({"machine": where, "figures": figures}, indent=1))
    rows = [[name, spread(values)] for name, values in figures.items() if not name.startswith("engine/")]
    text = f"{where}\n\n{table(['what', 'faces or photos a second'], rows)}\n\n{ratios(figures)}"
    (folder / "networks.md").write_text(text)
    print(text)


def ratios(figures: Figures) -> str:
    """Each round's ratio, so that a noisy minute hits both sides of it."""
    pairs = {
        f"{model}, one at a time, onnxruntime over native": (f"{model}/onnxruntime/batch 1", f"{model}/native/batch 1")
        for model in ("facenet", "arcface")
    }
    pairs |= {f"{name}, 2 cores over 1": (f"{name}/2 cores", f"{name}/1 cores") for name in SCALED}
    rows = []
    for name, (one, other) in pairs.items():
        if one in figures and other in figures:
            values = [a / b for a, b in zip(figures[one], figures[other], strict=True)]
            rows.append([name, spread(values, 2)])
    if (served_rates := figures.get(f"arcface/served to {CALLERS} callers")) is not None:
        limits = zip(*(figures[f"arcface/onnxruntime/batch {batch}"] for batch in BATCHES), strict=True)
        values = [rate / max(limit) for rate, limit in zip(served_rates, limits, strict=True)]
        rows.append(["ResNet-100 served, over its limit", spread(values, 2)])
    return table(["ratio", "median (range over the rounds)"], rows)


if __name__ == "__main__":
    main()

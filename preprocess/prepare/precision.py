"""A prepared network in another precision than float32, where somebody asks for it: float16 for GPUs, int8 for CPUs.

The float32 network stays beside it, as the reference: how far the embeddings drift from its own is measured, stated and
bounded. Each form is an embedding space of its own, as its file's hash in EMBEDDING_ID says.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess import engines, facenet
from preprocess.engines import Array
from preprocess.prepare import arcface, calibration, native, quantised, storage
from preprocess.prepare import facenet as tensorflow_facenet
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.manifest import Entry
from preprocess.prepare.progress import Progress

NETWORKS = ("facenet", "arcface")
VNNI = {"avx512_vnni", "avx_vnni"}
_CPU = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Drift:
    """The cosines between faces' embeddings and those of the float32 network: 1 is no drift."""

    mean: float
    worst: float

    def __str__(self) -> str:
        return f"cosine to float32's embeddings {self.mean:.5f}, of the worst face {self.worst:.5f}"


BOUNDS = {"float16": Drift(0.9999, 0.999), "int8": Drift(0.98, 0.95)}
"""The least that is accepted."""


def check(name: str, entry: Entry, asked: str | None, before: Entry) -> None:
    """Raises PreparationError where the engine or the pictures do not go with the precision that is asked for or kept.

    entry: the network as it will be, `asked` apart; before: as it is, here or where it is taken from.
    """
    precision = asked or entry.precision
    if precision != "float32" and entry.engine != "onnxruntime":
        raise PreparationError(
            f"{name} in {precision} runs with onnxruntime only, and {entry.engine} in float32 only; "
            f"choose --{name}-engine onnxruntime or --precision float32"
        )
    if entry.precision == "int8" and before.preprocessing != entry.preprocessing:
        raise PreparationError(
            f"{name} was calibrated with {before.preprocessing} pictures; add --precision int8 --calibrate-with FOLDER "
            "to calibrate it again, or --precision float32"
        )


def make(
    repository: Path, name: str, entry: Entry, precision: str, photos: Path | None, work: Path
) -> tuple[Entry, dict[str, Path], str]:
    """Writes the form in `precision` of the network in the repository to the folder `work`.

    Gives its entry, the file by its path in the repository, and what was done in words. photos: the folder that int8
    is calibrated with. Raises PreparationError.
    """
    source = repository / name / "1" / engines.weights_file("float32")
    target = work / engines.weights_file(precision)
    with Progress(name) as progress:
        progress(f"converting to {precision} and comparing", 1, 1)
        if precision == "int8" and photos:
            form = facenet.Form(entry.input_size, entry.preprocessing)
            drift = in_child(to_int8, name, source, target, photos, repository / "face_crops" / "1", form)
        else:
            drift = in_child(to_float16, name, source, target, entry.input_size)
    bound = BOUNDS[precision]
    if not (drift.mean >= bound.mean and drift.worst >= bound.worst):
        raise PreparationError(
            f"{name} in {precision} is too far from float32 ({drift}); it is not served "
            f"below {bound.mean} and {bound.worst}"
        )
    file = f"{name}/1/{target.name}"
    files = {**entry.files, file: storage.sha256(target)}
    made = dataclasses.replace(
        entry, precision=precision, files=files, mean_cosine=drift.mean, worst_cosine=drift.worst
    )
    return made, {file: target}, f"now in {precision}: {drift}"


def to_int8(name: str, source: Path, target: Path, photos: Path, detector: Path, form: facenet.Form) -> Drift:
    """Writes the int8 form of `source`, calibrated with most of the photos' faces; gives its drift on the others."""
    calibrating, judging = calibration.faces(name, photos, detector, form)
    quantised.write(source, calibrating, target)
    return drift_of(source, target, judging)


def to_float16(name: str, source: Path, target: Path, size: int) -> Drift:
    """Writes `source` with weights and arithmetic in float16, input and output in float32; gives its drift on noise.

    What brings an embedding to length 1 stays in float32: the sum of squares leaves float16's range.
    """
    import onnx
    from onnxruntime.transformers import float16

    kept = [*float16.DEFAULT_OP_BLOCK_LIST, "ReduceSum", "Max", "Sqrt", "Reciprocal", "LpNormalization"]
    model = float16.convert_float_to_float16(onnx.load(source), keep_io_types=True, op_block_list=kept)
    onnx.save(model, target)
    faces = tensorflow_facenet.pictures(8, size) if name == "facenet" else arcface.pictures(8)
    return drift_of(source, target, faces)


def drift_of(source: Path, target: Path, faces: Array) -> Drift:
    """Runs both networks on float32[n, ...], face by face; numbers that are not finite count as a cosine of -1."""
    pair = [np.concatenate([native.onnxruntime(path, face[None])[0] for face in faces]) for path in (source, target)]
    one, other = (engines.unit(rows) for rows in pair)
    cosines = np.nan_to_num((one * other).sum(axis=1), nan=-1.0)
    return Drift(float(cosines.mean()), float(cosines.min()))


def caution(precision: str) -> str:
    """What to know of a precision on this machine, if anything."""
    if precision == "float16":
        return "float16 is for GPUs; on a CPU it is slower than float32"
    flags = set(_CPU.read_text().split()) if _CPU.is_file() else set()
    return (
        ""
        if precision != "int8" or flags & VNNI
        else "this CPU has no VNNI: int8 works, but may be slower than float32"
    )

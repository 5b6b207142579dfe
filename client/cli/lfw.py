"""Labelled Faces in the Wild: its pairs file, its folders, and whose face in a photo is meant."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.cli.terminal import Failure
from client.faces import EmbeddedFaces, Floats


@dataclass(frozen=True)
class Pair:
    """Two photos, whether they show one person, and the fold they belong to."""

    first: Path
    second: Path
    same: bool
    fold: int


def read_pairs(file: Path, folder: Path) -> list[Pair]:
    """The pairs of a file in LFW's form; raises Failure naming the line that is not, or a photo that is missing.

    The first line holds the number of folds and of pairs of each kind in a fold (one number: one fold). Lines of three
    (`name i j`) are one person, lines of four (`name i other j`) are two.
    """
    lines = [line.split() for line in file.read_text("utf-8").splitlines() if line.strip()]
    try:
        folds, each = ([1] + [int(number) for number in lines[0]])[-2:]
    except (ValueError, IndexError):
        raise Failure(f"{file}: the first line must hold the number of folds and of pairs in each") from None
    if len(lines) - 1 != 2 * folds * each:
        raise Failure(f"{file}: {folds} folds of 2 x {each} pairs announced, {len(lines) - 1} pairs found")
    return [
        _pair(fields, number, file, folder, (number - 2) // (2 * each)) for number, fields in enumerate(lines[1:], 2)
    ]


def _pair(fields: list[str], number: int, file: Path, folder: Path, fold: int) -> Pair:
    if len(fields) not in (3, 4) or not all(index.isdigit() for index in (fields[1], fields[-1])):
        raise Failure(f"{file}, line {number}: neither `name i j` nor `name i other j`")
    same = len(fields) == 3
    return Pair(_photo(folder, fields[0], fields[1]), _photo(folder, fields[0 if same else 2], fields[-1]), same, fold)


def _photo(folder: Path, name: str, index: str) -> Path:
    for suffix in (".jpg", ".png"):
        path = folder / name / f"{name}_{int(index):04d}{suffix}"
        if path.is_file():
            return path
    raise Failure(f"{folder / name}: no photo {index}")


def subject(faces: EmbeddedFaces, width: int, height: int) -> Floats | None:
    """The embedding float32[D] of the face that is meant; None where there is no face.

    As facenet's src/align/align_dataset_mtcnn.py chooses it: the largest, unless it lies far from the middle.
    """
    if not len(faces.boxes):
        return None
    x1, y1, x2, y2 = faces.boxes[:, :4].astype(np.float64).T
    off_centre = ((x1 + x2) / 2 - width / 2) ** 2 + ((y1 + y2) / 2 - height / 2) ** 2
    chosen: Floats = faces.embeddings[np.argmax((x2 - x1) * (y2 - y1) - 2 * off_centre)]
    return chosen

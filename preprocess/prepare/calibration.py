"""Faces from a folder of photos, as a network takes them: the larger part calibrates its int8 form, the rest judges it.

The photos pass through the functions that serve: decoded, the surest face of MTCNN cut out or aligned. Runs in a child
process: the photos are other people's files.
"""

from pathlib import Path

import numpy as np

from preprocess import facenet, image
from preprocess.engines import Array, cores
from preprocess.errors import InputError
from preprocess.prepare.errors import PreparationError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LEAST = 48
"""Faces without which an int8 form is not made: the range of a tensor is what they show of it."""
MOST = 256
"""Photos looked at; of a larger folder, these lie evenly apart."""
JUDGES = 4
"""Every one of so many faces judges the int8 form and does not calibrate it."""


def photos(folder: Path) -> list[Path]:
    """The photos in a folder and the folders in it; raises PreparationError if it cannot hold enough faces."""
    if not folder.is_dir():
        raise PreparationError(f"{folder}: there is no such folder of photos to calibrate with")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(found) < LEAST:
        raise PreparationError(f"{folder}: holds {len(found)} photos; {LEAST} with a face are needed to calibrate with")
    count = min(len(found), MOST)
    return [found[place * len(found) // count] for place in range(count)]


def faces(network: str, folder: Path, detector: Path, form: facenet.Form) -> tuple[Array, Array]:
    """Gives the faces to calibrate with and those to judge by, as `network` takes them: float32[n, ...] each.

    `detector` holds MTCNN's networks; `form` is that of FaceNet's pictures. A photo that cannot be read, or shows no
    face, is left out. Raises PreparationError where too few remain.
    """
    from preprocess import cascade, mtcnn, photo  # and ONNX Runtime with them

    detecting = mtcnn.load(detector, cores())
    options = photo.Options(cascade.Options(), apply_exif=True, case_study=False, facenet=form)
    found = []
    for path in photos(folder):
        try:
            picture = image.decode(path.read_bytes(), options.apply_exif)
        except InputError:
            continue
        seen = mtcnn.detect(picture, detecting, options.mtcnn)
        surest = mtcnn.Faces(seen.boxes[:1], seen.landmarks[:1])
        if len(surest.boxes) and network == "facenet":
            found.append(photo.facenet_faces(picture, surest, options))
        elif len(surest.boxes):
            found.append(photo.arcface_faces(picture, surest))
    if len(found) < LEAST:
        raise PreparationError(f"{folder}: {len(found)} photos show a face; {LEAST} are needed to calibrate with")
    together = np.concatenate(found)
    judging = np.arange(len(together)) % JUDGES == 0
    return together[~judging], together[judging]

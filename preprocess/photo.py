"""From the faces of a photo to the pictures that the embedding networks take."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess import align, arcface, cascade, facenet, mtcnn, pyramid
from preprocess.errors import InputError

MAX_FACES = 32  # the embedding networks' largest batch

_NUMBERS = ("min_face_size", "threshold_pnet", "threshold_rnet", "threshold_onet", "factor")


@dataclass(frozen=True)
class Options:
    """How to treat a photo: a model's own parameters, overridden by those of the request.

    apply_exif: turn the picture as its EXIF orientation says.
    case_study: cut faces for FaceNet as UAI's face-compare case study did: without a margin, then through JPEG.
    facenet: the pictures that FaceNet is given; not for a request to choose.
    """

    mtcnn: cascade.Options
    apply_exif: bool
    case_study: bool
    facenet: facenet.Form

    @classmethod
    def read(cls, defaults: Mapping[str, str], parameters: Mapping[str, Any]) -> "Options":
        """Raises InputError where a parameter of the request is unknown, of the wrong type or out of range."""
        numbers = {name: float(defaults[name]) for name in _NUMBERS}
        apply_exif, crop = True, "margin"
        for name, value in parameters.items():
            if name in numbers and isinstance(value, int | float) and not isinstance(value, bool):
                numbers[name] = float(value)
            elif name == "apply_exif" and isinstance(value, bool):
                apply_exif = value
            elif name == "crop" and value in ("margin", "case_study"):
                crop = value
            elif name == "crop":  # which only the gateway's FaceCompareService sends
                raise InputError("parameter_invalid", "crop must be margin or case_study")
            elif name in (*numbers, "apply_exif"):
                raise InputError("parameter_invalid", f"{name} has a value of the wrong type")
            else:
                known = ", ".join((*numbers, "apply_exif", "deadline_ms"))
                raise InputError("parameter_invalid", f"there is no such request parameter; known are {known}")
        return cls(cascade.Options(**numbers), apply_exif, crop == "case_study", facenet.Form.read(defaults))


def best(faces: mtcnn.Faces) -> mtcnn.Faces:
    """The faces of best score, as many as fit one batch."""
    return mtcnn.Faces(faces.boxes[:MAX_FACES], faces.landmarks[:MAX_FACES])


def facenet_faces(image: pyramid.Image, faces: mtcnn.Faces, options: Options) -> NDArray[np.float32]:
    """Each face cut out, scaled and normalised: float32[n, 160, 160, 3]; one face of zeros where there is none."""
    cut, form = _case_study_crop if options.case_study else facenet.crop, options.facenet
    crops = [facenet.to_input(cut(image, box[:4]), form) for box in faces.boxes]
    return np.stack(crops) if crops else np.zeros((1, form.size, form.size, 3), np.float32)


def arcface_faces(image: pyramid.Image, faces: mtcnn.Faces) -> NDArray[np.float32]:
    """Each face aligned by its landmarks: float32[n, 3, 112, 112]; one black face where there is none."""
    crops = [arcface.to_input(image, points) for points in faces.landmarks]
    return np.stack(crops) if crops else arcface.NO_FACE[None]


def facenet_crops(image: pyramid.Image, faces: mtcnn.Faces, options: Options) -> NDArray[np.object_]:
    """Each face cut out with its margin and scaled, before it is normalised: n PNG files, of 160x160 pixels."""
    return _files([facenet.resize(facenet.crop(image, box[:4]), options.facenet.size) for box in faces.boxes])


def arcface_crops(image: pyramid.Image, faces: mtcnn.Faces) -> NDArray[np.object_]:
    """Each face aligned by its landmarks: n PNG files of 112x112 pixels."""
    return _files([align.align(image, points) for points in faces.landmarks])


def _files(crops: list[pyramid.Image]) -> NDArray[np.object_]:
    files = np.empty(len(crops), np.object_)
    for index, crop in enumerate(crops):
        file = io.BytesIO()
        Image.fromarray(crop).save(file, "PNG")
        files[index] = file.getvalue()
    return files


def _case_study_crop(image: pyramid.Image, box: NDArray[np.float32]) -> pyramid.Image:
    """UAI's facecompare_service.py: Pillow's crop of the bare box, sent on as a JPEG of default quality."""
    x1, y1, x2, y2 = (float(corner) for corner in box)
    cut = Image.fromarray(image).crop((x1, y1, x2, y2))
    jpeg = io.BytesIO()
    cut.save(jpeg, "JPEG")
    return np.asarray(Image.open(jpeg))

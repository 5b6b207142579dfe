"""Find the best face of each photo, cut it out with a margin and pack it into test.json, the body that /service takes.

Example: python -m client gen_img_json --image_files a.jpg b.jpg
         curl -X POST http://127.0.0.1:8080/service -T test.json

A photo without a face is named and left out, as the original did; the exit status then is 1.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client import gen_example_json
from client.gen_example_json import OUTPUT, Unusable, read, write
from preprocess import cascade, facenet, mtcnn

WEIGHTS = Path(__file__).resolve().parent.parent / "model_repository" / "face_detect" / "1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    gen_example_json.add_arguments(parser, "photos; the best face of each is taken")
    parser.add_argument(
        "--margin", type=int, default=facenet.MARGIN, help="pixels around the face, half on each side (%(default)s)"
    )
    parser.add_argument("--gpu_memory_fraction", type=float, help="taken for the original's sake; nothing here uses it")


def run(args: argparse.Namespace) -> int:
    """Write test.json; 1 where a photo cannot be read or shows no face, or test.json cannot be written."""
    try:
        return _pack(args)
    except Unusable as error:
        print(f"gen_img_json: {error}", file=sys.stderr)
        return 1


def _pack(args: argparse.Namespace) -> int:
    try:
        detector = mtcnn.load(WEIGHTS, threads=os.cpu_count() or 1)
    except FileNotFoundError:
        raise Unusable("the detector is not prepared, or by an older version; run scripts/prepare-models") from None
    photos = [read(path) for path in args.image_files]
    crops = [face(photo, detector, args.margin) for photo in photos]
    for path, crop in zip(args.image_files, crops, strict=True):
        if crop is None:
            print(f"gen_img_json: {path}: no face found, left out", file=sys.stderr)
    found = [facenet.resize(crop, args.image_size) for crop in crops if crop is not None]
    if not found:
        raise Unusable(f"no face to write, {OUTPUT} is left as it was")
    write(found)
    return 0 if len(found) == len(crops) else 1


def face(photo: NDArray[np.uint8], detector: mtcnn.Detector, margin: int) -> NDArray[np.uint8] | None:
    """The face of best score cut out of uint8[height, width, 3] RGB with its margin; None where there is no face."""
    boxes = mtcnn.detect(photo, detector, cascade.Options()).boxes
    return facenet.crop(photo, boxes[0, :4], margin) if len(boxes) else None

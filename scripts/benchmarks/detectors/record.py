"""Writes tests/preprocess/lfw_fold1.json: what the original detector finds in each picture of ../shared/lfw-fold1.

A face is a row of 15 numbers: x1, y1, x2, y2, score, then x and y of five landmarks. Run it anew with
`.venv/bin/python -m scripts.benchmarks.detectors.record` after scripts/prepare-models; two minutes.
"""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from preprocess import image
from scripts.benchmarks.detectors.reference import Reference

PROJECT = Path(__file__).resolve().parents[3]


def main() -> None:
    detector = Reference(PROJECT / "model_repository" / "face_detect" / "1", threads=2)
    folder = PROJECT.parent / "shared" / "lfw-fold1"
    found = {}
    for path in tqdm(sorted(folder.glob("*/*.jpg"))):
        boxes, landmarks = detector.detect(image.decode(path.read_bytes()))
        rows = np.hstack([boxes, landmarks.reshape(-1, 10)])
        found[path.stem] = [
            [round(float(value), 3) for value in row[:4]]
            + [round(float(row[4]), 6)]
            + [round(float(value), 3) for value in row[5:]]
            for row in rows
        ]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(faces)}" for name, faces in found.items())
    (PROJECT / "tests" / "preprocess" / "lfw_fold1.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()

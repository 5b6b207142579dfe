"""Find the faces in a photo: a line each with its box in pixels and its score, best first.

Example: python -m client detect group.jpg
         python -m client detect group.jpg --draw found.png
         python -m client detect group.jpg --min-face-size 60 --json
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.cli import terminal
from client.face_client import AsyncFaceClient
from client.faces import Faces
from preprocess import image

COLOUR = "#39ff14"  # seen on skin, hair and walls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", type=Path, help="a photo")
    parser.add_argument("--draw", type=Path, metavar="PICTURE", help="write the photo with boxes and landmarks on it")
    parser.add_argument("--min-face-size", type=float, metavar="PIXELS", help="smallest face looked for (20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    terminal.add_server(parser)


def run(args: argparse.Namespace) -> int:
    async def detect(client: AsyncFaceClient) -> int:
        photo = terminal.read(args.photo)
        parameters = None if args.min_face_size is None else {"min_face_size": args.min_face_size}
        faces = await client.detect(photo, parameters)
        print(as_json(faces) if args.json else as_text(faces))
        if args.draw:
            draw(image.decode(photo, apply_exif=True), faces).save(args.draw)
        return 0

    return terminal.ask("detect", args, detect)


def as_text(faces: Faces) -> str:
    """A line a face: its corners in pixels and its score."""
    if not len(faces.boxes):
        return "no face"
    lines = [f"{'face':>4} {'x1':>7} {'y1':>7} {'x2':>7} {'y2':>7} {'score':>7}"]
    for number, (x1, y1, x2, y2, score) in enumerate(faces.boxes):
        lines.append(f"{number:4} {x1:7.1f} {y1:7.1f} {x2:7.1f} {y2:7.1f} {score:7.4f}")
    return "\n".join(lines)


def as_json(faces: Faces) -> str:
    return json.dumps({"boxes": faces.boxes.tolist(), "landmarks": faces.landmarks.tolist()})


def draw(photo: NDArray[np.uint8], faces: Faces) -> Image.Image:
    """The photo uint8[height, width, 3], turned upright as the server did, with boxes, numbers and landmarks."""
    drawn = Image.fromarray(photo)
    pen = ImageDraw.Draw(drawn)
    width = max(1, min(drawn.size) // 250)
    for number, (box, points) in enumerate(zip(faces.boxes, faces.landmarks, strict=True)):
        x1, y1, x2, y2 = (float(corner) for corner in box[:4])
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=COLOUR, width=width)
        corner = (max(x1, 0) + 2 * width, max(y1, 0) + width)
        pen.text(corner, str(number), COLOUR, font_size=max(10, 8 * width), stroke_width=width, stroke_fill="black")
        for x, y in points:
            pen.circle((float(x), float(y)), radius=1.5 * width, fill=COLOUR)
    return drawn

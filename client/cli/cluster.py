"""Group the faces in a folder of photos by person: a table of who is where, and a contact sheet to look at.

Example: python -m client cluster photos/ -o people          # people.csv and people.png
         python -m client cluster photos/ -o people --distance 0.9     # stricter: more groups, fewer strangers in each

The sheet shows a row a person, those with the most faces first; people who appear once are in the table only.
"""

import argparse
import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from client.cli import terminal
from client.cli.tables import COLUMNS
from client.cli.terminal import THE_PICTURE, Failure, embedded, explain, read
from client.face_client import AsyncFaceClient
from client.faces import EmbeddedFaces, Floats, Network
from preprocess import facenet, image

DISTANCE = 0.95  # mean distance within a group: the best on LFW's first fold for FaceNet, nearly so for ArcFace
MAX_FACES = 20_000  # every face is compared with every other: 1.6 GB of distances
TILE = 96  # pixels, sides of a face on the sheet
MAX_ROWS, MAX_COLUMNS = 100, 12


@dataclass(frozen=True)
class Face:
    """A face in a photo: its number there, box float32[5] and embedding float32[D]."""

    photo: Path
    number: int
    box: Floats
    embedding: Floats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", type=Path, nargs="+", help="folders of photos, and photos")
    parser.add_argument("-o", "--output", type=Path, default=Path("people"), help="name of both files (%(default)s)")
    parser.add_argument(
        "--distance", type=float, default=DISTANCE, help="mean distance below which groups are joined (%(default)s)"
    )
    terminal.add_model(parser, default="arcface")
    terminal.add_concurrency(parser)
    terminal.add_server(parser)


def run(args: argparse.Namespace) -> int:
    async def cluster(client: AsyncFaceClient) -> int:
        table, sheet = outputs(args.output)
        faces = await collect(client, terminal.some_photos(args.photos), args.model, args.concurrency)
        people = group(faces, args.distance)
        write_table(table, people)
        contact_sheet(people).save(sheet)
        several = sum(len(person) > 1 for person in people)
        print(f"{len(faces)} faces, {len(people)} people, {several} of them more than once: {table}, {sheet}")
        return 0

    return terminal.ask("cluster", args, cluster, needs="sklearn")


def outputs(name: Path) -> tuple[Path, Path]:
    """The table and the sheet; raises Failure where they cannot be written, before hours are spent on the photos."""
    if name.name in ("", ".."):
        raise Failure(f"{name} is a folder; give a name for both files, such as {name / 'people'}")
    if not name.parent.is_dir():
        raise Failure(f"{name.parent}: there is no such folder; make it or name another with -o")
    table, sheet = name.with_name(name.name + ".csv"), name.with_name(name.name + ".png")
    for path in (table, sheet):
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise Failure(f"{path} cannot be written; give another name with -o")
    return table, sheet


async def collect(client: AsyncFaceClient, photos: list[Path], model: Network, concurrency: int) -> list[Face]:
    """All faces of all photos, in the photos' order; photos that cannot be used are named and left out.

    Raises Failure as soon as there are more than MAX_FACES.
    """
    found: dict[Path, EmbeddedFaces] = {}
    faces = 0
    with tqdm(total=len(photos), unit="photo", disable=None) as bar:
        async for path, answer in embedded(client, photos, read, model, concurrency):
            if isinstance(answer, EmbeddedFaces):
                found[path] = answer
                faces += len(answer.boxes)
                if faces > MAX_FACES:
                    raise Failure(f"over {MAX_FACES} faces are too many to compare with one another; give fewer photos")
            elif isinstance(answer, THE_PICTURE):
                bar.write(f"{path}: {explain(answer)}", file=sys.stderr)
            else:
                raise Failure(f"{path}: {answer}")
            bar.update()
    return [
        Face(photo, number, box, embedding)
        for photo in photos
        if photo in found
        for number, (box, embedding) in enumerate(zip(found[photo].boxes, found[photo].embeddings, strict=True))
    ]


def group(faces: list[Face], distance: float) -> list[list[Face]]:
    """Join the nearest groups as long as their mean distance is below `distance`; the largest group first."""
    from sklearn.cluster import AgglomerativeClustering

    if not faces:
        raise Failure("no face was found")
    if len(faces) == 1:
        return [faces]
    joining = AgglomerativeClustering(n_clusters=None, distance_threshold=distance, linkage="average")
    labels = joining.fit_predict(np.stack([face.embedding for face in faces]))
    people: dict[int, list[Face]] = {}
    for label, face in zip(labels.tolist(), faces, strict=True):
        people.setdefault(label, []).append(face)
    return sorted(people.values(), key=len, reverse=True)


def write_table(path: Path, people: list[list[Face]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(("person", *COLUMNS))
        for person, faces in enumerate(people):
            table.writerows((person, face.photo, face.number, *face.box.tolist()) for face in faces)


def contact_sheet(people: list[list[Face]]) -> Image.Image:
    """A row for each person seen more than once, with the person's number in the table and up to MAX_COLUMNS faces."""
    rows = [person for person in people[:MAX_ROWS] if len(person) > 1] or people[:1]
    columns = min(max(map(len, rows)), MAX_COLUMNS)
    sheet = Image.new("RGB", (TILE + columns * TILE, len(rows) * TILE), "white")
    pen = ImageDraw.Draw(sheet)
    for row, person in enumerate(rows):
        pen.text((8, row * TILE + TILE // 3), f"{row}\n{len(person)} faces", fill="black", font_size=16)
        for column, face in enumerate(person[:columns], 1):
            sheet.paste(Image.fromarray(tile(face)), (column * TILE, row * TILE))
    return sheet


def tile(face: Face) -> NDArray[np.uint8]:
    """The face cut out of its photo, uint8[TILE, TILE, 3]."""
    photo = image.decode(read(face.photo), apply_exif=True)
    return facenet.resize(facenet.crop(photo, face.box[:4]), TILE)

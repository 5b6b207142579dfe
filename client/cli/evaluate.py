"""Measure how well a running server tells people apart, on labelled pairs of photos in the form of LFW.

Example: python -m client evaluate --lfw lfw/ --pairs lfw/pairs.txt --model facenet -o accuracy/
         python -m client evaluate --lfw lfw/ --pairs lfw/pairs.txt --model arcface --document docs/accuracy.md

Prints accuracy, area under the ROC, the share of pairs of one person accepted at 0.1 % false accepts, and thresholds
with their error rates. `-o` also writes them as JSON and draws the ROC.
"""

import argparse
import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from client.cli import report, terminal
from client.cli.lfw import Pair, read_pairs, subject
from client.cli.terminal import Failure, answers, explain, read
from client.face_client import AsyncFaceClient
from client.faces import Floats, Network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lfw", type=Path, required=True, metavar="DIR", help="folder with a folder of photos a person"
    )
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE", help="LFW's pairs.txt, of one fold or ten")
    terminal.add_model(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for MODEL.json and MODEL-roc.png")
    parser.add_argument("--document", type=Path, metavar="FILE", help="Markdown file whose section is to be replaced")
    terminal.add_concurrency(parser)
    terminal.add_server(parser)


def run(args: argparse.Namespace) -> int:
    async def evaluate(client: AsyncFaceClient) -> int:
        pairs = read_pairs(args.pairs, args.lfw)
        begun = time.monotonic()
        subjects = await embed_subjects(client, pairs, args.model, args.concurrency)
        seconds = time.monotonic() - begun
        whole = [pair for pair in pairs if pair.first in subjects and pair.second in subjects]
        distance = np.array([np.linalg.norm(subjects[pair.first] - subjects[pair.second]) for pair in whole])
        same = np.array([pair.same for pair in whole], np.bool_)
        require_enough(whole)
        found = report.measure(
            await client.embedding_id(args.model),
            distance,
            same,
            np.array([pair.fold for pair in whole]),
            pairs_without_face=len(pairs) - len(whole),
            photos=len({photo for pair in pairs for photo in (pair.first, pair.second)}),
            seconds=seconds,
        )
        print(report.as_markdown(found))
        print(f"{found.photos} photos in {seconds:.1f} s: {found.photos_per_second:.1f} faces a second")
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)
            (args.output / f"{args.model}.json").write_text(report.as_json(found))
            report.plot_roc(args.output / f"{args.model}-roc.png", found, distance, same)
        if args.document:
            report.update_document(args.document, found)
        return 0

    return terminal.ask("evaluate", args, evaluate, needs="matplotlib" if args.output else None)


def require_enough(pairs: list[Pair]) -> None:
    """Raise Failure unless pairs of both kinds are left when any fold, or any part of a single one, is taken away."""
    kinds = [[pair.fold for pair in pairs if pair.same is same] for same in (True, False)]
    if not all(kinds):
        raise Failure("faces were found in pairs of one kind only; nothing can be measured")
    single = len({pair.fold for pair in pairs}) == 1
    if min(len(folds if single else set(folds)) for folds in kinds) < 2:
        raise Failure(
            f"faces were found in too few pairs, {len(kinds[0])} of one person and {len(kinds[1])} of two people;"
            " give at least 2 of each kind, in different folds if there are several"
        )


async def embed_subjects(
    client: AsyncFaceClient, pairs: list[Pair], model: Network, concurrency: int
) -> dict[Path, Floats]:
    """The embedding float32[D] of the person meant in each photo; those without a face are named and left out.

    Raises Failure for a photo that cannot be used.
    """

    async def embed(path: Path) -> Floats | None:
        data = read(path)
        faces = await client.embed(data, model, {"apply_exif": False})
        with Image.open(io.BytesIO(data)) as photo:
            return subject(faces, *photo.size)

    photos = sorted({photo for pair in pairs for photo in (pair.first, pair.second)})
    subjects: dict[Path, Floats] = {}
    with tqdm(total=len(photos), unit="photo", disable=None) as bar:
        async for path, answer in answers(photos, embed, concurrency):
            if isinstance(answer, Exception):
                raise Failure(f"{path}: {explain(answer)}")
            if answer is None:
                bar.write(f"{path}: no face", file=sys.stderr)
            else:
                subjects[path] = answer
            bar.update()
    return subjects

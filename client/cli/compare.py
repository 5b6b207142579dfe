"""Compare the faces of two photos: the distance of the largest ones, and whether it is small enough for one person.

Example: python -m client compare first.jpg second.jpg
         python -m client compare first.jpg group.jpg --model arcface --json

With more faces than one in a photo, each face of the first is shown with the nearest of the second.
"""

import argparse
import json
from pathlib import Path

from client.cli import terminal
from client.face_client import AsyncFaceClient
from client.faces import Comparison, distances


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, help="a photo")
    parser.add_argument("second", type=Path, help="another")
    terminal.add_model(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    terminal.add_server(parser)


def run(args: argparse.Namespace) -> int:
    async def compare(client: AsyncFaceClient) -> int:
        first, second = terminal.read(args.first), terminal.read(args.second)
        result = await client.compare(first, second, args.model)
        print(as_json(result, await client.embedding_id(args.model)) if args.json else as_text(result))
        return 0

    return terminal.ask("compare", args, compare)


def as_text(result: Comparison) -> str:
    """For a person: the largest faces' distance, then every face of the first photo where there are several."""
    lines = [f"distance {result.distance:.4f}: {_verdict(result.distance, result.threshold)}"]
    pairs = distances(result.first.embeddings, result.second.embeddings)
    if pairs.size > 1:
        for face, row in enumerate(pairs):
            nearest = int(row.argmin())
            lines.append(
                f"  face {face} - face {nearest}: {row[nearest]:.4f}, {_verdict(row[nearest], result.threshold)}"
            )
    return "\n".join(lines)


def _verdict(distance: float, threshold: float | None) -> str:
    if threshold is None:
        return "no threshold is known for these weights; measure one with evaluate"
    return f"{'the same person' if distance < threshold else 'two people'} (threshold {threshold})"


def as_json(result: Comparison, embedding_id: str) -> str:
    """For a program: also the boxes of both photos and the distance of every pair of faces."""
    pairs = distances(result.first.embeddings, result.second.embeddings)
    return json.dumps(
        {
            "distance": result.distance,
            "threshold": result.threshold,
            "match": result.match,
            "embedding_id": embedding_id,
            "first": result.first.boxes.tolist(),
            "second": result.second.boxes.tolist(),
            "distances": pairs.tolist(),
        }
    )

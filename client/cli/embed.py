"""Embed every face of every photo into one table: Parquet, JSON lines or NumPy.

Example: python -m client embed photos/ -o faces.parquet
         python -m client embed a.jpg b.jpg -o faces.npy --model arcface     # and faces.csv: whose row is whose
         python -m client embed photos/ -o faces.jsonl --concurrency 16

Folders are searched with all folders inside them. A run that is stopped, by whatever, goes on when the same command is
given again. Photos that cannot be used are listed beside the output with the reason; the exit status then is 1.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from client.cli import terminal
from client.cli.journal import Journal, Record
from client.cli.tables import WRITERS, files_of
from client.cli.terminal import THE_PICTURE, Failure, embedded, explain, read
from client.face_client import AsyncFaceClient
from client.faces import EmbeddedFaces

NO_FACE = "no_face: the photo shows no face"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", type=Path, nargs="+", help="photos, and folders of photos")
    parser.add_argument(
        "-o", "--output", type=_output, required=True, help=f"what to write: a file in {', '.join(WRITERS)}"
    )
    terminal.add_model(parser)
    terminal.add_concurrency(parser)
    terminal.add_server(parser)


def run(args: argparse.Namespace) -> int:
    async def embed(client: AsyncFaceClient) -> int:
        embedding_id = await client.embedding_id(args.model)
        path = args.output.with_name(args.output.name + ".partial")
        there = [file for file in files_of(args.output) if file.exists()]
        if there and not path.exists():
            raise Failure(f"{there[0]} is there already; remove it or name another")
        files = {_name(path): path for path in terminal.some_photos(args.photos)}
        with Journal(path, embedding_id) as journal:
            await embed_into(journal, files, client, args)
            return finish(journal, list(files), args.output, embedding_id)

    return terminal.ask("embed", args, embed, needs="pyarrow" if args.output.suffix == ".parquet" else None)


async def embed_into(
    journal: Journal, files: dict[str, Path], client: AsyncFaceClient, args: argparse.Namespace
) -> None:
    """Embed the photos that the journal lacks; raises Failure where the server, not a photo, is at fault."""
    names = {path: name for name, path in files.items()}
    todo = [path for name, path in files.items() if name not in journal]
    begun, faces = time.monotonic(), 0
    with tqdm(total=len(files), initial=len(files) - len(todo), unit="photo", smoothing=0.05, disable=None) as bar:
        async for path, answer in embedded(client, todo, read, args.model, args.concurrency):
            if isinstance(answer, EmbeddedFaces):
                faces += len(answer.boxes)
                journal.add(Record(names[path], answer.boxes, answer.embeddings))
            elif isinstance(answer, THE_PICTURE):
                journal.add(Record.failed(names[path], explain(answer)))
            else:
                raise Failure(f"{path}: {answer}. What is done is kept: give the same command again to go on")
            bar.update()
    seconds = time.monotonic() - begun
    if todo:
        print(f"{faces} faces of {len(todo)} photos in {seconds:.1f} s: {faces / seconds:.1f} faces/s", file=sys.stderr)


def finish(journal: Journal, names: list[str], output: Path, embedding_id: str) -> int:
    """Write the table and the list of what is not in it, remove the journal; the exit status."""
    left_out: list[str] = []
    failed = 0

    def with_faces() -> Iterator[Record]:
        nonlocal failed
        for record in journal.records(names):
            failed += record.error is not None
            if len(record.boxes):
                yield record
            else:
                left_out.append(f"{record.file}: {record.error or NO_FACE}\n")

    WRITERS[output.suffix](output, with_faces(), embedding_id)
    listed = output.with_name(output.name + ".left-out.txt")
    listed.write_text("".join(left_out)) if left_out else listed.unlink(missing_ok=True)
    journal.remove()
    note = f" ({failed} failed, {len(left_out) - failed} without a face: {listed})" if left_out else ""
    print(f"{output}: faces of {len(names) - len(left_out)} photos{note}", file=sys.stderr)
    return 1 if failed else 0


def _output(text: str) -> Path:
    path = Path(text)
    if path.suffix not in WRITERS:
        raise argparse.ArgumentTypeError(f"{text} must end in one of {', '.join(WRITERS)}")
    return path


def _name(path: Path) -> str:
    """A file's name in the table, in valid Unicode whatever bytes the disk has."""
    return str(path).encode("utf-8", "backslashreplace").decode()

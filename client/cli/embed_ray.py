"""Embed every face of every photo on a Ray cluster: a folder of photos or Parquet in, a folder of Parquet out.

Example: python -m client embed_ray photos/ -o faces/ --workers 2         # starts a Ray of its own on this machine
         python -m client embed_ray photos.parquet -o /shared/faces/ --ray head:6379 --url triton:8001 --workers 16

Parquet has a column `file`, the photo's name, and a column `image`, its bytes. Every machine of the cluster needs this
project on its PYTHONPATH, and the folders under the same paths. A job that is stopped, by whatever, goes on when the
same command is given again: batches that are done are not done again, and no photo is there twice.
"""

import argparse
import asyncio
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from client.cli import parts, terminal
from client.cli.journal import Record
from client.cli.terminal import THE_PICTURE, Failure, embedded, explain, read
from client.face_client import AsyncFaceClient
from client.faces import EmbeddedFaces, Network

MAX_BATCH = 64  # photos in a part: what has to be done again, at most, when a worker dies
BATCHES_A_WORKER = 4  # at least, so that all of them end at nearly the same time
GO_ON = "What is done is kept: give the same command again to go on"
WORKER_CPUS = 0.25  # a worker waits for the server most of the time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", type=Path, help="a folder of photos, a Parquet file, or a folder of Parquet files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the parts")
    parser.add_argument(
        "--workers", type=terminal.positive, default=2, help="photos are sent by so many at once (%(default)s)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="the cluster's address (default: start Ray here)")
    terminal.add_model(parser)
    terminal.add_concurrency(parser)
    terminal.add_server(parser)


def run(args: argparse.Namespace) -> int:
    async def begin(client: AsyncFaceClient) -> int:
        if not args.photos.exists():
            raise Failure(f"{args.photos}: No such file or directory")
        args.embedding_id = await client.embedding_id(args.model)
        args.output.mkdir(parents=True, exist_ok=True)
        args.lock = parts.hold(args.output, parts.JOB, shared=False)
        parts.hold(args.output, parts.WORKERS, shared=False, wait_seconds=parts.WAIT_SECONDS).close()
        args.done = parts.read_photos(args.output, args.embedding_id)
        return 0

    if status := terminal.ask("embed_ray", args, begin, needs="ray"):
        return status
    begun = time.monotonic()
    with args.lock:
        try:
            embed(args)
            done = parts.read_photos(args.output, args.embedding_id)
        except (Failure, ValueError, OSError) as error:  # as terminal.ask, which is over by now
            print(f"embed_ray: {explain(error)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("embed_ray: stopped", file=sys.stderr)
            return 130
        new, seconds = len(done) - len(args.done), time.monotonic() - begun
        failed = [f"{file}: {error}\n" for file, error in sorted(done.items()) if error]
        (args.output / "left-out.txt").write_text("".join(failed))
    print(
        f"{args.output}: {len(done)} photos, {new} of them new in {seconds:.1f} s; {len(failed)} failed (left-out.txt)"
    )
    return 1 if failed else 0


def embed(args: argparse.Namespace) -> None:
    """Run the job; raises Failure where the server or the cluster, not a photo, is at fault."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent to anybody
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        # A Ray of our own stays on loopback and shows nothing.
        local: dict[str, Any] = {} if args.ray else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        ray.init(address=args.ray, log_to_driver=False, logging_level=logging.ERROR, **local)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rest = source(args.photos.resolve(), args.done)
        count = rest.count()
        if not count:
            return
        size = min(MAX_BATCH, math.ceil(count / (args.workers * BATCHES_A_WORKER)))
        server = (args.url, args.timeout, terminal.key(args.key_file))
        worker = (args.output.resolve(), server, args.model, args.concurrency, args.embedding_id)
        done = rest.repartition(math.ceil(count / size)).map_batches(
            Embedder,
            fn_constructor_args=worker,
            batch_size=None,  # a block is a batch
            compute=ray.data.ActorPoolStrategy(size=args.workers),
            num_cpus=WORKER_CPUS,
        )
        with tqdm(total=count, unit="photo", disable=None) as bar:
            for part in done.iter_batches(batch_size=None):
                if failures := [text for text in part["failure"] if text]:
                    raise Failure(f"{failures[0]}. {GO_ON}")
                bar.update(int(part["photos"].sum()))
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise Failure(f"Ray failed: {str(error).strip().splitlines()[-1]}. {GO_ON}") from None
    finally:
        ray.shutdown()


def source(photos: Path, done: Iterable[str]) -> Any:
    """The photos that are not done, as a Ray dataset of `file` and, from Parquet, `image`."""
    import pyarrow
    import ray.data

    skip = set(done)
    if photos.suffix == ".parquet" or (photos.is_dir() and any(photos.glob("*.parquet"))):
        rest = ray.data.read_parquet(str(photos), columns=["file", "image"])
        return rest.filter(lambda row: row["file"] not in skip) if skip else rest
    files = [name for name in map(str, terminal.photos([photos])) if name not in skip]
    return ray.data.from_arrow(pyarrow.table({"file": pyarrow.array(files, pyarrow.string())}))


class Embedder:
    """A worker: photos in, a part on the disk, their number out, or why the server did not answer."""

    def __init__(
        self,
        folder: Path,
        server: tuple[str, float, str | None],
        model: Network,
        concurrency: int,
        embedding_id: str,
    ) -> None:
        """server: its address, the timeout in seconds and the key, if any."""
        self.folder, self.server = folder, server
        self.model, self.concurrency, self.embedding_id = model, concurrency, embedding_id
        self.lock = parts.hold(folder, parts.WORKERS, shared=True)  # as long as this worker lives

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        # Of a row of Parquet without an image no file is read: that row alone is at fault.
        images = [image or b"" for image in batch["image"]] if "image" in batch else [None] * len(batch["file"])
        photos = dict(zip(map(str, batch["file"]), images, strict=True))
        try:
            parts.write(self.folder, asyncio.run(self.embed(photos)), self.embedding_id)
        except Failure as failure:  # an answer, because Ray would bury an exception under its own words
            return {"photos": [0], "failure": [str(failure)]}
        return {"photos": [len(photos)], "failure": [""]}

    async def embed(self, photos: dict[str, bytes | None]) -> list[Record]:
        """The records of photos by name, each with its bytes or None to read its file."""
        async with AsyncFaceClient(*self.server) as client:

            def load(name: str) -> bytes:
                image = photos[name]
                return read(Path(name)) if image is None else image

            records = []
            async for name, answer in embedded(client, photos, load, self.model, self.concurrency):
                if isinstance(answer, EmbeddedFaces):
                    records.append(Record(name, answer.boxes, answer.embeddings))
                elif isinstance(answer, OSError) and not isinstance(answer, PermissionError):
                    # The job has just seen this file, so the machine is at fault, and a part would keep that for ever.
                    # Permissions are the file's own: whoever runs the job is refused it again, and the rest must go on.
                    raise Failure(unread(name, answer))
                elif isinstance(answer, THE_PICTURE):
                    records.append(Record.failed(name, explain(answer)))
                else:
                    raise Failure(f"{name}: {answer}")
            return records


def unread(name: str, error: OSError) -> str:
    """Why a worker could not read a photo that the job has found, and what to see to."""
    remedy = "every machine must see the folder under the same path"
    return f"{name}: {error.strerror or error}, on the machine {socket.gethostname()}; {remedy}"

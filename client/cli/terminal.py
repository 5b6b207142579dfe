"""What the commands that ask a running server share: their options, their failures, photos from files."""

import argparse
import asyncio
import importlib.util
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from client.errors import BadPicture, BadRequest, BadUpstream, DeadlineExceeded, ServiceError, TooLarge, Unauthorised
from client.face_client import DEFAULT_URL, TIMEOUT_SECONDS, AsyncFaceClient
from client.faces import NETWORKS, EmbeddedFaces, Network
from client.keys import listed
from client.settings import Settings

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
THE_PICTURE = (BadPicture, TooLarge, BadRequest, OSError)  # failures that another try would repeat
DOUBTFUL = (DeadlineExceeded, BadUpstream)  # failures of the server, or of one picture that is too much for it
PLAIN = np.full((64, 64, 3), 128, np.uint8)  # a picture that no server fails over
# Packages that scripts/setup installs only where it is told to: what needs them, and what it is told.
PACKAGES = {
    "matplotlib": ("a plot", "tools"),
    "pyarrow": ("Parquet", "tools"),
    "ray": ("a Ray job", "ray"),
    "sklearn": ("grouping faces", "tools"),
}
LOOK_SECONDS = 0.5
Item = TypeVar("Item")
Result = TypeVar("Result")


class Failure(Exception):
    """Why a command cannot go on; one line for a person."""


def add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default=DEFAULT_URL, help="Triton's gRPC address, or http://... of a gateway (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS", help="to wait for an answer (%(default)s)"
    )
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="its first key is sent to a gateway that asks")


def add_model(parser: argparse.ArgumentParser, default: Network = "facenet") -> None:
    parser.add_argument("--model", choices=NETWORKS, default=default, help="the network that embeds (%(default)s)")


def add_concurrency(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--concurrency", type=positive, default=8, help="photos sent at once (%(default)s)")


def positive(text: str) -> int:
    """An option that counts something: 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give a whole number from 1")
    return int(text)


def require(package: str) -> None:
    """Raise Failure where one of PACKAGES is not installed."""
    if importlib.util.find_spec(package) is None:
        what, setup = PACKAGES[package]
        raise Failure(f"{what} needs the package {package}; run scripts/setup {setup}")


def ask(
    command: str,
    args: argparse.Namespace,
    work: Callable[[AsyncFaceClient], Awaitable[int]],
    needs: str | None = None,
) -> int:
    """Run `work` with a client of the server that the options name; what goes wrong becomes one line and status 1.

    needs: one of PACKAGES, without which the server is not asked
    """

    async def with_client() -> int:
        async with AsyncFaceClient(args.url, args.timeout, key(args.key_file)) as client:
            await _until_ready(client, args.timeout)
            return await work(client)

    try:
        if needs:
            require(needs)
        return asyncio.run(with_client())
    except Unauthorised:
        remedy = "give --key-file" if args.key_file is None else f"the first in {args.key_file} is none of its own"
        print(f"{command}: the gateway asks for a key; {remedy}", file=sys.stderr)
    except (Failure, ServiceError, ValueError) as error:
        print(f"{command}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{command}: {explain(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{command}: stopped", file=sys.stderr)
        return 130
    return 1


async def _until_ready(client: AsyncFaceClient, seconds: float) -> None:
    """Wait for a server that is there: one with much to do may need a while until every model has answered."""
    end, missed = time.monotonic() + seconds, 0
    while not await client.ready():
        missed = 0 if await client.reachable() else missed + 1
        if missed > 1:  # one look may fail for want of time
            raise Failure(f"no server is ready at {client.url}; start one with scripts/serve or name it with --url")
        if time.monotonic() > end:
            raise Failure(f"the server at {client.url} is there, but not every model of it answers; its log says why")
        await asyncio.sleep(LOOK_SECONDS)


def key(path: Path | None) -> str | None:
    """The first key of a file; None without a file. Raises Failure where it holds none."""
    if path is None:
        return None
    keys = listed(path.read_text("utf-8-sig"))
    if not keys:
        raise Failure(f"{path} holds no key")
    return keys[0]


def explain(error: Exception) -> str:
    """One line about an error, without Python's own words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def read(path: Path) -> bytes:
    """A photo's bytes; raises OSError, or TooLarge without reading more than the server takes."""
    with path.open("rb") as file:
        data = file.read(Settings.max_image_bytes + 1)
    if len(data) > Settings.max_image_bytes:
        raise TooLarge("image_too_large", f"the file has more than {Settings.max_image_bytes} bytes")
    return data


def photos(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and the pictures in the folders named, folder by folder in the order of their names.

    Raises Failure for a path that is not there.
    """
    for path in paths:
        if path.is_dir():
            inside = sorted(path.iterdir())
            yield from (file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file())
            yield from photos(folder for folder in inside if folder.is_dir() and not folder.name.startswith("."))
        elif path.exists():
            yield path
        else:
            raise Failure(f"{path}: No such file or directory")


def some_photos(paths: Iterable[Path]) -> list[Path]:
    """All of `photos`; raises Failure where there is none."""
    found = list(photos(paths))
    if not found:
        raise Failure(f"there is no photo; of folders those are taken that end in {', '.join(sorted(SUFFIXES))}")
    return found


def embedded(
    client: AsyncFaceClient, photos: Iterable[Item], load: Callable[[Item], bytes], model: Network, concurrency: int
) -> AsyncIterator[tuple[Item, EmbeddedFaces | Exception]]:
    """The faces of each photo, or why they are not known, as they come; `concurrency` photos are sent at once.

    load: a photo's bytes; raises OSError or TooLarge

    An error of THE_PICTURE is one photo's, any other an outage.
    """

    async def embed(photo: Item) -> EmbeddedFaces:
        return await client.embed(load(photo), model)

    async def another() -> EmbeddedFaces:
        return await client.embed(PLAIN, model)

    return answers(photos, embed, concurrency, another)


async def answers(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    concurrency: int,
    another: Callable[[], Awaitable[object]] | None = None,
) -> AsyncIterator[tuple[Item, Result | Exception]]:
    """Do `work` for each item, `concurrency` at once, and give each with its result or failure as it is done.

    another: asks the server for what it can always answer. With it an item whose failure is DOUBTFUL is tried again.
    """
    rest = iter(items)
    running: set[asyncio.Task[tuple[Item, Result | Exception]]] = set()
    doubtful: list[Item] = []
    try:
        while True:
            while not doubtful and len(running) < concurrency and (item := next(rest, None)) is not None:
                running.add(asyncio.create_task(_once(item, work)))
            if running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for item, answer in (task.result() for task in done):
                    if another and isinstance(answer, DOUBTFUL):
                        doubtful.append(item)
                    else:
                        yield item, answer
            elif doubtful and another:  # alone, so that it cannot fail for what else the server has to do
                yield await _again(doubtful.pop(), work, another)
            else:
                return
    finally:
        for task in running:
            task.cancel()


async def _once(item: Item, work: Callable[[Item], Awaitable[Result]]) -> tuple[Item, Result | Exception]:
    try:
        return item, await work(item)
    except (ServiceError, OSError) as error:
        return item, error


async def _again(
    item: Item, work: Callable[[Item], Awaitable[Result]], another: Callable[[], Awaitable[object]]
) -> tuple[Item, Result | Exception]:
    """A second try. Where it fails too, though the server answered `another` in between, the picture is at fault."""
    try:
        await another()
    except ServiceError as error:
        return item, error
    _, answer = await _once(item, work)
    if isinstance(answer, DOUBTFUL):
        reason = "the server failed twice over this picture, and not over another; try a smaller one"
        return item, BadPicture(answer.code, reason)
    return item, answer

"""What the commands that ask a running server share: their options, their failures, photos from files."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from client.errors import BadPicture, BadRequest, ServiceError, TooLarge
from client.face_client import DEFAULT_URL, TIMEOUT_SECONDS, AsyncFaceClient
from client.faces import NETWORKS, Network
from client.keys import listed
from client.settings import Settings

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
THE_PICTURE = (BadPicture, TooLarge, BadRequest, OSError)  # failures that another try would repeat
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
    parser.add_argument("--concurrency", type=int, default=8, help="photos sent at once (%(default)s)")


def ask(command: str, args: argparse.Namespace, work: Callable[[AsyncFaceClient], Awaitable[int]]) -> int:
    """Run `work` with a client of the server that the options name; what goes wrong becomes one line and status 1."""

    async def with_client() -> int:
        async with AsyncFaceClient(args.url, args.timeout, key(args.key_file)) as client:
            if not await client.ready():
                raise Failure(f"no server is ready at {args.url}; start one with scripts/serve or name it with --url")
            return await work(client)

    try:
        return asyncio.run(with_client())
    except (Failure, ServiceError, ValueError) as error:
        print(f"{command}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{command}: {explain(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{command}: stopped", file=sys.stderr)
        return 130
    return 1


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


async def answers(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], concurrency: int
) -> AsyncIterator[tuple[Item, Result | Exception]]:
    """Do `work` for each item, `concurrency` at once, and give each with its result or failure as it is done."""

    async def one(item: Item) -> tuple[Item, Result | Exception]:
        try:
            return item, await work(item)
        except (ServiceError, OSError) as error:
            return item, error

    rest = iter(items)
    running: set[asyncio.Task[tuple[Item, Result | Exception]]] = set()
    try:
        while True:
            while len(running) < concurrency and (item := next(rest, None)) is not None:
                running.add(asyncio.create_task(one(item)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()

"""What `embed_ray` has done so far, on a disk that all workers share: a Parquet file for each batch of photos.

A part holds the faces of its photos, in the columns that `embed` writes, and in its schema's metadata the embedding
identity and every photo's name with what was wrong with it. It gets its own name when all of it is written, and that is
a hash of the photos' names: a batch that Ray gives to another worker after a crash writes the same file again.
Two locks keep a new job from beginning while workers of one that was killed still write.
"""

import fcntl
import hashlib
import json
import time
from pathlib import Path
from typing import IO

from client.cli.journal import Record
from client.cli.tables import write_parquet
from client.cli.terminal import Failure

JOB, WORKERS = "job.lock", "workers.lock"
WAIT_SECONDS = 60.0  # for the workers of a killed job to end


def hold(folder: Path, lock: str, shared: bool, wait_seconds: float = 0) -> IO[bytes]:
    """Lock the folder until the file that is returned is closed; raises Failure where another holds it for longer."""
    file = (folder / f".{lock}").open("ab")
    until = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= until:
                file.close()
                raise Failure(f"another job is writing to {folder}; wait until it ends") from None
        time.sleep(0.1)


def write(folder: Path, records: list[Record], embedding_id: str) -> None:
    """One part with these photos."""
    photos = {record.file: record.error or "" for record in records}
    name = hashlib.sha256("\n".join(sorted(photos)).encode()).hexdigest()[:32]
    write_parquet(folder / f"part-{name}.parquet", records, embedding_id, {"photos": json.dumps(photos)})


def read_photos(folder: Path, embedding_id: str) -> dict[str, str]:
    """Every photo that is done, with what was wrong with it or an empty text; raises Failure where weights differ."""
    import pyarrow.parquet

    done: dict[str, str] = {}
    for part in sorted(folder.glob("part-*.parquet")):
        metadata = pyarrow.parquet.read_schema(part).metadata or {}
        begun_with = metadata.get(b"embedding_id", b"other weights").decode()
        if begun_with != embedding_id:
            raise Failure(f"{part} was made with {begun_with}, the server has {embedding_id}; choose another folder")
        done |= json.loads(metadata[b"photos"])
    return done

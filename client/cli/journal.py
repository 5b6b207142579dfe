"""What `embed` has done so far, on disk: a line a photo, so that a run that was killed goes on where it stopped.

The first line names the embedding identity; a line that a kill cut short is dropped and its photo done again.
"""

import base64
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from client.cli.terminal import Failure
from client.faces import Floats


@dataclass(frozen=True)
class Record:
    """One photo: boxes float32[n, 5] and embeddings float32[n, D] of its faces, or why there are none."""

    file: str
    boxes: Floats
    embeddings: Floats
    error: str | None = None

    @classmethod
    def failed(cls, file: str, error: str) -> "Record":
        """A photo that cannot be used, and why."""
        return cls(file, np.empty((0, 5), np.float32), np.empty((0, 0), np.float32), error)


class Journal:
    """The records of one run, in the order in which they came. Only the file names are kept in memory."""

    def __init__(self, path: Path, embedding_id: str) -> None:
        """Open or begin it; raises Failure where another run holds it or where it is of other weights."""
        self.path = path
        self._places: dict[str, int] = {}
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read(embedding_id)
        except BlockingIOError:
            self._file.close()
            raise Failure(f"{path} is being written by another run") from None
        except BaseException:
            self._file.close()
            raise

    def _read(self, embedding_id: str) -> None:
        self._file.seek(0)
        header = self._file.readline()
        if not header.endswith(b"\n"):
            self._file.truncate(0)
            self._write({"embedding_id": embedding_id})
            return
        begun_with = json.loads(header)["embedding_id"]
        if begun_with != embedding_id:
            raise Failure(f"{self.path} was begun with {begun_with}, the server has {embedding_id}; remove the file")
        place = len(header)
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(place)
                break
            self._places[json.loads(line)["file"]] = place
            place += len(line)

    def __contains__(self, file: str) -> bool:
        return file in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, record: Record) -> None:
        """Write a record so that it outlives this process."""
        line: dict[str, Any] = {"file": record.file}
        if record.error is None:
            line["boxes"] = record.boxes.tolist()
            line["embeddings"] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in record.embeddings]
        else:
            line["error"] = record.error
        self._places[record.file] = self._write(line)

    def records(self, files: list[str]) -> Iterator[Record]:
        """The records of these files, in this order."""
        for file in files:
            self._file.seek(self._places[file])
            line = json.loads(self._file.readline())
            rows = [np.frombuffer(base64.b64decode(text), "<f4") for text in line.get("embeddings", [])]
            boxes = np.array(line.get("boxes", []), np.float32).reshape(-1, 5)
            yield Record(file, boxes, np.array(rows, np.float32), line.get("error"))

    def _write(self, line: dict[str, Any]) -> int:
        place = self._file.seek(0, 2)
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        return place

    def remove(self) -> None:
        """What it holds is written elsewhere."""
        self.path.unlink()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

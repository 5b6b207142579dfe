"""The files that `embed` writes, a row a face, each streamed from records and renamed into place when it is whole.

parquet: file, face, x1, y1, x2, y2, score, embedding; the embedding identity is in the schema's metadata
jsonl:   the same, a JSON object a line
npy:     the embeddings float32[n, D]; the other columns are beside it, in a .csv of as many rows
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from client.cli.journal import Record

COLUMNS = ("file", "face", "x1", "y1", "x2", "y2", "score")
ROWS_IN_MEMORY = 4096
Row = tuple[str, int, float, float, float, float, float]
Records = Iterable[Record]


def write_jsonl(path: Path, records: Records, embedding_id: str) -> None:
    with _whole(path) as file:
        for row, embedding in _rows(records):
            line = {**dict(zip(COLUMNS, row, strict=True)), "embedding": embedding.tolist()}
            file.write(json.dumps(line).encode() + b"\n")


def write_npy(path: Path, records: Records, embedding_id: str) -> None:
    with ExitStack() as stack:
        file, beside = (stack.enter_context(_whole(each)) for each in files_of(path))
        index = csv.writer(_Text(beside))
        index.writerow(COLUMNS)
        count, length = 0, 0
        _npy_header(file, 0, 0)
        for row, embedding in _rows(records):
            index.writerow(row)
            file.write(embedding.astype("<f4").tobytes())
            count, length = count + 1, len(embedding)
        file.seek(0)
        _npy_header(file, count, length)


def write_parquet(
    path: Path, records: Records, embedding_id: str, metadata: Mapping[str, str] = MappingProxyType({})
) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = [pyarrow.string(), pyarrow.int32(), *[pyarrow.float32()] * 5, pyarrow.list_(pyarrow.float32())]
    fields = list(zip((*COLUMNS, "embedding"), kinds, strict=True))
    schema = pyarrow.schema(fields, metadata={"embedding_id": embedding_id, **metadata})
    with _whole(path) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for rows in _batches(_rows(records)):
            columns = [*zip(*(row for row, _ in rows), strict=True), [embedding for _, embedding in rows]]
            arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


WRITERS: dict[str, Callable[[Path, Records, str], None]] = {
    ".parquet": write_parquet,
    ".jsonl": write_jsonl,
    ".npy": write_npy,
}


def files_of(output: Path) -> list[Path]:
    """What is written for an output: a NumPy file has a .csv beside it."""
    return [output, output.with_suffix(".csv")] if output.suffix == ".npy" else [output]


def _rows(records: Records) -> Iterator[tuple[Row, Any]]:
    for record in records:
        for face, (box, embedding) in enumerate(zip(record.boxes.tolist(), record.embeddings, strict=True)):
            yield (record.file, face, *box), embedding


def _batches(rows: Iterator[tuple[Row, Any]]) -> Iterator[list[tuple[Row, Any]]]:
    batch: list[tuple[Row, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_IN_MEMORY:
            yield batch
            batch = []
    if batch:
        yield batch


def _npy_header(file: IO[bytes], count: int, length: int) -> None:
    """NumPy's format 1.0, always of 128 bytes, so that the shape can be written when it is known."""
    described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {length}), }}".ljust(117) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(described).to_bytes(2, "little") + described.encode())


class _Text:
    """Lets csv write to a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name only when all of it is on the disk."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

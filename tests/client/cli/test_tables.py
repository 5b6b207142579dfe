"""The files that `embed` writes."""

import csv
import json

import numpy as np
import pyarrow.parquet
import pytest

from client.cli import tables
from client.cli.journal import Record


def records(count, faces=1, dimension=8):
    random = np.random.default_rng(0)
    for number in range(count):
        boxes, embeddings = random.random((faces, 5), np.float32), random.random((faces, dimension), np.float32)
        yield Record(f"photo {number}, ü.jpg", boxes, embeddings)


def expected(count, faces=1, dimension=8):
    found = list(records(count, faces, dimension))
    return np.concatenate([one.embeddings for one in found]), np.concatenate([one.boxes for one in found])


def test_parquet_holds_a_row_a_face_and_the_identity(tmp_path):
    tables.write_parquet(tmp_path / "f.parquet", records(3, faces=2), "facenet-1")
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    embeddings, boxes = expected(3, faces=2)
    assert table.column_names == [*tables.COLUMNS, "embedding"]
    assert table["file"].to_pylist()[:3] == ["photo 0, ü.jpg", "photo 0, ü.jpg", "photo 1, ü.jpg"]
    assert table["face"].to_pylist() == [0, 1] * 3
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), embeddings)
    assert np.array_equal(table["score"].to_numpy(), boxes[:, 4])
    assert table.schema.metadata[b"embedding_id"] == b"facenet-1"


def test_jsonl_holds_the_same_as_numbers_that_read_back_exactly(tmp_path):
    tables.write_jsonl(tmp_path / "f.jsonl", records(3), "facenet-1")
    lines = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    embeddings, boxes = expected(3)
    assert list(lines[0]) == [*tables.COLUMNS, "embedding"]
    assert np.array_equal(np.array([line["embedding"] for line in lines], np.float32), embeddings)
    assert np.array_equal(np.array([line["x2"] for line in lines], np.float32), boxes[:, 2])


@pytest.mark.parametrize("dimension", [1, 512, 100_000])
def test_npy_opens_in_numpy_with_its_rows_named_beside_it(tmp_path, dimension):
    tables.write_npy(tmp_path / "f.npy", records(12, 1, dimension), "facenet-1")
    loaded = np.load(tmp_path / "f.npy", mmap_mode="r", allow_pickle=False)
    assert np.array_equal(loaded, expected(12, 1, dimension)[0])
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == tables.COLUMNS
    assert [row[0] for row in rows[1:]] == [one.file for one in records(12)]


@pytest.mark.parametrize("suffix", sorted(tables.WRITERS))
def test_no_face_at_all_makes_an_empty_table(tmp_path, suffix):
    tables.WRITERS[suffix](tmp_path / f"f{suffix}", iter(()), "facenet-1")
    if suffix == ".parquet":
        assert pyarrow.parquet.read_table(tmp_path / "f.parquet").num_rows == 0
    elif suffix == ".npy":
        assert len(np.load(tmp_path / "f.npy")) == 0
    else:
        assert (tmp_path / "f.jsonl").read_bytes() == b""


@pytest.mark.parametrize("suffix", sorted(tables.WRITERS))
def test_a_table_that_fails_half_way_leaves_nothing(tmp_path, suffix):
    def failing():
        yield from records(2)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        tables.WRITERS[suffix](tmp_path / f"f{suffix}", failing(), "facenet-1")
    assert list(tmp_path.iterdir()) == []


def test_parquet_is_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_IN_MEMORY", 4)
    tables.write_parquet(tmp_path / "f.parquet", records(10), "facenet-1")
    file = pyarrow.parquet.ParquetFile(tmp_path / "f.parquet")
    assert [file.metadata.row_group(part).num_rows for part in range(file.num_row_groups)] == [4, 4, 2]
    file.close()

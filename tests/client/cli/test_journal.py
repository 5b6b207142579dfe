"""The journal that lets a killed run go on."""

import numpy as np
import pytest

from client.cli.journal import Journal, Record
from client.cli.terminal import Failure

NONE = np.empty((0, 5), np.float32)


def record(file, faces=1, seed=0):
    random = np.random.default_rng(seed)
    return Record(file, random.random((faces, 5), np.float32), random.random((faces, 512), np.float32))


def same(first, second):
    return (
        first.file == second.file
        and first.error == second.error
        and np.array_equal(first.boxes, second.boxes)
        and np.array_equal(first.embeddings.ravel(), second.embeddings.ravel())
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "faces.parquet.partial"


def test_records_come_back_bit_by_bit_in_the_order_asked_for(path):
    records = [record("a.jpg", 2), record("b.jpg", 0), Record("c.jpg", NONE, NONE, "image_format: no"), record("ü.jpg")]
    with Journal(path, "facenet-1") as journal:
        for one in records:
            journal.add(one)
    with Journal(path, "facenet-1") as journal:
        assert len(journal) == 4
        assert "ü.jpg" in journal
        assert "d.jpg" not in journal
        again = list(journal.records(["ü.jpg", "c.jpg", "b.jpg", "a.jpg"]))
    assert all(same(one, other) for one, other in zip(again, reversed(records), strict=True))


def test_records_may_be_added_after_some_were_read(path):
    with Journal(path, "facenet-1") as journal:
        journal.add(record("a.jpg"))
        list(journal.records(["a.jpg"]))
        journal.add(record("b.jpg"))
        assert [one.file for one in journal.records(["b.jpg", "a.jpg"])] == ["b.jpg", "a.jpg"]


def test_a_record_cut_short_anywhere_is_dropped_and_nothing_else(path):
    with Journal(path, "facenet-1") as journal:
        journal.add(record("a.jpg"))
        whole = path.stat().st_size
        journal.add(record("b.jpg"))
    data = path.read_bytes()
    for length in range(whole, len(data), 97):
        path.write_bytes(data[:length])
        with Journal(path, "facenet-1") as journal:
            assert "a.jpg" in journal
            assert "b.jpg" not in journal
            journal.add(record("c.jpg"))
        with Journal(path, "facenet-1") as journal:
            assert [one.file for one in journal.records(["a.jpg", "c.jpg"])] == ["a.jpg", "c.jpg"]


def test_a_first_line_cut_short_begins_anew(path):
    path.write_bytes(b'{"embedding_')
    with Journal(path, "facenet-1") as journal:
        journal.add(record("a.jpg"))
    with Journal(path, "facenet-1") as journal:
        assert len(journal) == 1


def test_a_journal_of_other_weights_is_refused(path):
    with Journal(path, "facenet-1"):
        pass
    with pytest.raises(Failure, match="was begun with facenet-1, the server has facenet-2; remove the file"):
        Journal(path, "facenet-2")


def test_two_runs_do_not_share_a_journal(path):
    with Journal(path, "facenet-1"), pytest.raises(Failure, match="is being written by another run"):
        Journal(path, "facenet-1")

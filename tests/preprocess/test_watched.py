"""The other side of these files is in tests/client/test_stubs.py."""

from pathlib import Path

import pytest

from preprocess.watched import CALLS, Watched


def test_without_a_launcher_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACE_WATCHED", raising=False)
    monkeypatch.chdir(tmp_path)
    watched = Watched("facenet", 14.0)
    with watched.call():
        assert not watched.overfull()
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_fails_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_WATCHED", str(tmp_path))
    watched = Watched("facenet", 14.0)
    with pytest.raises(KeyError), watched.call():
        raise KeyError
    (record,) = tmp_path.iterdir()
    assert CALLS.unpack(record.read_bytes())[:2] == (1, 0.0)


def test_a_model_is_overfull_while_its_file_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_WATCHED", str(tmp_path))
    watched = Watched("facenet", 14.0)
    assert not watched.overfull()
    (tmp_path / "facenet").touch()
    assert watched.overfull()

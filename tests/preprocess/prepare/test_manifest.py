"""What a run makes of a repository's manifest, and what it writes there."""

import hashlib
import json
from pathlib import Path

import pytest

from preprocess.prepare.errors import PreparationError
from preprocess.prepare.repository import Wanted
from tests.preprocess.prepare.test_repository import files, run, source
from tests.preprocess.prepare.test_repository import home as home

BROKEN = [
    "",
    "[]",
    "{",
    "[" * 100_000,
    "\udcff",
    '{"networks": {"facenet": {}}}',
    '{"networks": 1}',
    '{"networks": []}',
    "{}",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_manifest_that_cannot_be_read_stops_the_run_and_nothing_is_replaced(text: str, home: Path) -> None:
    run(home, facenet=Wanted(source("facenet", "own")))
    (home / "manifest.json").write_text(text, errors="surrogateescape")
    before = files(home)
    with pytest.raises(PreparationError, match=r"manifest\.json cannot be read \(it is not .*delete it and prepare"):
        run(home)
    assert files(home) == before


def test_a_manifest_that_cannot_be_opened_is_not_taken_for_none(home: Path) -> None:
    (home / "manifest.json").mkdir()
    with pytest.raises(PreparationError, match=r"manifest\.json cannot be read \(Is a directory\)"):
        run(home)


def test_nothing_is_taken_from_a_project_whose_manifest_cannot_be_read(home: Path, tmp_path: Path) -> None:
    run(home, facenet=Wanted(source("facenet", "own")))
    (home / "manifest.json").write_text("{")
    with pytest.raises(PreparationError, match=r"model_repository/manifest\.json cannot be read"):
        run(tmp_path / "other")


def test_the_manifest_lists_the_configurations_that_go_with_the_weights(home: Path) -> None:
    run(home, facenet=Wanted(source("facenet", "own")))
    written = {str(path.relative_to(home)): path.read_bytes() for path in home.glob("*/configs/prepared.pbtxt")}
    assert len(written) == 3
    listed = json.loads((home / "manifest.json").read_text())["configurations"]
    assert listed == {file: hashlib.sha256(content).hexdigest() for file, content in written.items()}


def test_a_manifest_from_before_configurations_were_listed_gets_them(home: Path) -> None:
    run(home)
    before = files(home)
    written = json.loads((home / "manifest.json").read_text())
    del written["configurations"]
    (home / "manifest.json").write_text(json.dumps(written))
    run(home)
    assert files(home) == before

import hashlib
import json
from pathlib import Path

import pytest

from client.installation import LaunchError
from client.weights import require_prepared

WEIGHTS = b"numbers" * 1000


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A repository of one network with one file."""
    (tmp_path / "facenet").mkdir()
    (tmp_path / "facenet" / "model.onnx").write_bytes(WEIGHTS)
    files = {"facenet/model.onnx": hashlib.sha256(WEIGHTS).hexdigest()}
    (tmp_path / "manifest.json").write_text(json.dumps({"networks": {"facenet": {"files": files}}}))
    return tmp_path


def refusal(repository: Path) -> str:
    with pytest.raises(LaunchError) as error:
        require_prepared(repository)
    said = str(error.value)
    assert said.endswith(f"run scripts/prepare-models --repository {repository}")
    assert "\n" not in said
    return said


def test_what_was_prepared_is_taken(prepared: Path) -> None:
    require_prepared(prepared)


def test_one_wrong_bit_is_refused_and_its_file_named(prepared: Path) -> None:
    spoilt = bytearray(WEIGHTS)
    spoilt[3500] ^= 1
    (prepared / "facenet" / "model.onnx").write_bytes(spoilt)
    assert "facenet/model.onnx is not the file that was prepared" in refusal(prepared)


def test_a_missing_file_is_named(prepared: Path) -> None:
    (prepared / "facenet" / "model.onnx").unlink()
    assert "facenet/model.onnx is missing" in refusal(prepared)


def test_a_folder_without_a_manifest_is_not_prepared(tmp_path: Path) -> None:
    assert "is not prepared" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"networks": 1}', '{"networks": {"facenet": {}}}'])
def test_a_manifest_that_says_nothing_is_named(prepared: Path, text: str) -> None:
    (prepared / "manifest.json").write_text(text)
    assert "manifest.json cannot be read" in refusal(prepared)

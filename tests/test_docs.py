"""The programs in docs/client.md run as they stand, but for the server's ports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from tests.conftest import PROJECT, Server

PROGRAMS = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "client.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=["five-lines", "http", "asyncio"])
def test_a_program_of_the_client_page_runs(program: str, server: Server, tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "first.jpg")
    Image.fromarray(astronaut()[:, ::-1]).save(tmp_path / "second.jpg")
    program = program.replace("127.0.0.1:8001", server.grpc).replace("http://127.0.0.1:8080", server.url)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\d", done.stdout)
    if "not a picture" in program:
        assert "image_format not a picture" in done.stdout

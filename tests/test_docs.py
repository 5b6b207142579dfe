"""The programs in docs/client.md run as they stand, but for the server's ports; links between pages lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from tests.conftest import PROJECT, Server

PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)$", re.MULTILINE)
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


def links(page: Path) -> list[str]:
    """Where the links of a page lead, written beside their text or at its end."""
    return [beside or below for beside, below in LINK.findall(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_to_a_file_or_a_test_leads_there(page: Path) -> None:
    for link in links(page):
        path, _, part = link.partition("#")
        if path and "://" not in path:
            assert (page.parent / path).exists(), link
            if part.startswith("test_"):
                assert re.search(rf"^def {part}\(", (page.parent / path).read_text(), re.MULTILINE), link


def test_what_the_table_of_features_says_of_us_leads_to_a_test() -> None:
    page = PROJECT / "docs" / "features.md"
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    targets = dict(re.findall(r"^\[([^]]+)\]: (\S+)$", page.read_text(), re.MULTILINE))
    ours = [row[1] for row in rows[2:] if not row[1].startswith("no")]
    assert len(ours) > 20
    for cell in ours:
        (name,) = re.findall(r"\]\[([^]]+)\]", cell)
        assert targets[name].startswith("../tests/") and "#test_" in targets[name]
    for row in rows[2:]:
        for name in re.findall(r"\]\[([^]]+)\]", " | ".join(row)):
            assert name in targets

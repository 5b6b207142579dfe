"""The progress bar on a terminal, and its absence elsewhere."""

import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest

from preprocess.prepare.progress import Progress
from tests.conftest import PROJECT

STEPS = """
from preprocess.prepare.progress import Progress
with Progress("facenet") as progress:
    progress("reading", 1, 2)
    progress("comparing", 2, 2)
"""


def test_a_terminal_shows_how_far_a_network_is() -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run([sys.executable, "-c", STEPS], cwd=PROJECT, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "0/2, reading" in shown
    assert "1/2, comparing" in shown


def test_a_log_file_gets_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("facenet") as progress:
        progress("reading", 1, 2)
    assert capsys.readouterr() == ("", "")

"""What goes wrong with a command is said to its caller; what its server says is in a file."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT, launch


@pytest.mark.parametrize("command", [["scripts/load", "nothing"], ["scripts/capacity", "--nothing"]], ids=" ".join)
def test_a_command_that_is_misspelt_says_so(command: list[str]) -> None:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage:" in done.stderr and "nothing" in done.stderr


def test_a_server_that_does_not_start_names_the_log_that_says_why(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    with path.open("w") as log, pytest.raises(pytest.fail.Exception, match=str(path)):
        launch(tmp_path / "nothing", log=log)
    assert "is not prepared" in path.read_text()

"""The serve command: its ports, what it says when it is ready, and its help."""

import argparse
import errno
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from client.__main__ import main
from client.embedded import Ports
from client.installation import LaunchError
from client.serve import _welcome, port_number, require_free
from client.settings import Settings
from tests.conftest import PROJECT, free_ports


@pytest.mark.parametrize("option", ["--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port"])
@pytest.mark.parametrize("text", ["0", "65536", "99999", "-1", "http"])
def test_a_port_that_there_is_not_is_refused(option, text, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["serve", option, text])
    assert f"argument {option}: '{text}' is no port; give a number from 1 to 65535\n" in capsys.readouterr().err


def test_the_port_of_the_environment_is_bounded_alike(monkeypatch, capsys):
    monkeypatch.setenv("FACE_PORT", "99999")
    with pytest.raises(SystemExit, match="2"):
        main(["serve"])
    assert "'99999' is no port" in capsys.readouterr().err


def test_the_first_and_the_last_port_are_ports():
    assert (port_number("1"), port_number("65535")) == (1, 65535)
    with pytest.raises(argparse.ArgumentTypeError):
        port_number("65536")


def test_a_port_in_use_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"cannot listen on port {port}: Address already in use; free it"):
            require_free(port)


def test_a_port_that_is_not_for_this_user_is_not_called_taken(monkeypatch):
    class Forbidden(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(LaunchError, match="cannot listen on port 80: Permission denied; free it or"):
        require_free(80)


def test_a_port_that_is_asked_for_twice_is_told():
    port, other = free_ports(2)
    with pytest.raises(LaunchError, match=rf"^port {port} is asked for twice; choose another \(--help\)$"):
        require_free(port, other, port)
    require_free(port, other)


def test_an_equal_port_starts_neither_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *handler: None)  # those of this process stay
    port = str(free_ports(1)[0])
    for command in (
        ["serve", "--port", port, "--triton-grpc-port", port],
        ["triton", "--grpc-port", port, "--metrics-port", port],
    ):
        assert main([*command, "--repository", str(tmp_path)]) == 1
        assert capsys.readouterr().err == f"{command[0]}: port {port} is asked for twice; choose another (--help)\n"


def test_the_commands_to_try_are_those_of_this_checkout():
    said = _welcome("http://127.0.0.1:8080", Ports(), Settings())
    assert "  curl -X POST http://127.0.0.1:8080/service -T photo.jpeg " in said
    assert "  .venv/bin/python -m client gen_img_json " in said
    assert "Authorization" not in said


def test_a_command_to_try_sends_a_key_where_one_is_demanded():
    said = _welcome("http://127.0.0.1:8080", Ports(), Settings(api_keys_file=Path("keys")))
    assert said.count("curl ") == said.count('/service -H "Authorization: Bearer KEY" -T ') == 2


def test_of_a_configured_service_nothing_else_is_promised():
    said = _welcome("http://127.0.0.1:8080", Ports(), Settings(uai_service_config=Path("a.conf")))
    assert "http://127.0.0.1:8080/service is what UAI_SERVICE_CONFIG says." in said
    assert "curl" not in said


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (["--port", "9000"], ["setup", "prepare-models", "python"]),
        (["--port", "9000", "--help"], ["setup", "python"]),
        (["-h"], ["setup", "python"]),
    ],
)
def test_help_prepares_no_models(options, steps, tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    shutil.copy(PROJECT / "scripts/serve", tmp_path / "scripts/serve")
    for step in ("scripts/setup", "scripts/prepare-models", ".venv/bin/python"):
        (tmp_path / step).write_text('#!/bin/sh\nbasename "$0"\n')
        (tmp_path / step).chmod(0o755)
    done = subprocess.run([tmp_path / "scripts/serve", *options], capture_output=True, text=True, check=True)
    assert done.stdout.split() == steps

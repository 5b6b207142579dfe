"""The ports of the serve command."""

import argparse
import errno
import os
import socket

import pytest

from client.__main__ import main
from client.installation import LaunchError
from client.serve import port_number, require_free


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

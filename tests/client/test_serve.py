"""The serve command: its ports, what it says when it is ready, and its help."""

import argparse
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from client import serve, serve_triton
from client.__main__ import main
from client.embedded import PLAIN, Ports
from client.installation import LaunchError
from client.serve import _welcome, port_number, require_free, told
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
        with pytest.raises(LaunchError, match=f"on 127.0.0.1 port {port}: Address already in use; free it or choose"):
            require_free(("127.0.0.1", port))


def test_a_port_that_is_not_for_this_user_is_not_called_taken(monkeypatch):
    class Forbidden(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(LaunchError, match=r"cannot listen on 127\.0\.0\.1 port 80: Permission denied; free it or"):
        require_free(("127.0.0.1", 80))


def test_a_port_that_is_asked_for_twice_is_told():
    port, other = free_ports(2)
    with pytest.raises(LaunchError, match=rf"^port {port} is asked for twice; choose another \(--help\)$"):
        require_free(("127.0.0.1", port), ("127.0.0.1", other), ("127.0.0.2", port))
    require_free(("127.0.0.1", port), ("127.0.0.1", other))


def test_an_equal_port_starts_neither_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *handler: None)  # those of this process stay
    port = str(free_ports(1)[0])
    for command in (
        ["serve", "--port", port, "--triton-grpc-port", port],
        ["triton", "--grpc-port", port, "--metrics-port", port],
    ):
        assert main([*command, "--repository", str(tmp_path)]) == 1
        assert capsys.readouterr().err == f"{command[0]}: port {port} is asked for twice; choose another (--help)\n"


@pytest.fixture
def quiet(monkeypatch):
    """The commands, run in this process, leave its signals alone."""
    monkeypatch.setattr(signal, "signal", lambda *handler: None)


PORTS = {
    "serve": ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port"),
    "triton": ("--http-port", "--grpc-port", "--metrics-port"),
}


def command_on(repository, command, **ports):
    """A command line with these ports, by their options, and free ones for the other listeners."""
    free = dict(zip(PORTS[command], free_ports(len(PORTS[command])), strict=True))
    free |= {f"--{name.replace('_', '-')}": port for name, port in ports.items()}
    return [command, f"--repository={repository}", *(f"{option}={port}" for option, port in free.items())]


def listening(host):
    """A server of somebody else at a host, on a port of its own."""
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


@pytest.mark.parametrize(("host", "taken"), [("::1", "::1"), ("127.0.0.2", "127.0.0.2"), ("127.0.0.2", "0.0.0.0")])
def test_a_port_is_looked_at_where_the_gateway_listens(host, taken, quiet, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FACE_HOST", host)
    with listening(taken) as other:
        port = other.getsockname()[1]
        assert main(command_on(tmp_path, "serve", port=port)) == 1
    said = f"serve: cannot listen on {host} port {port}: Address already in use; free it or choose another (--help)\n"
    assert capsys.readouterr().err == said


def test_who_listens_at_another_address_is_in_nobodys_way(quiet, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FACE_HOST", "127.0.0.2")
    with listening("127.0.0.1") as other:
        assert main(command_on(tmp_path, "serve", port=other.getsockname()[1])) == 1
    assert "is not prepared" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["grpc_port", "metrics_port"])
@pytest.mark.parametrize(
    ("address", "taken"), [("127.0.0.2", "127.0.0.2"), ("[::1]", "::1"), ("localhost", "127.0.0.1")]
)
def test_a_port_is_looked_at_where_triton_listens(option, address, taken, quiet, tmp_path, capsys):
    with listening(taken) as other:
        port = other.getsockname()[1]
        assert main([*command_on(tmp_path, "triton", **{option: port}), f"--address={address}"]) == 1
    said = (
        f"triton: cannot listen on {address} port {port}: Address already in use; free it or choose another (--help)\n"
    )
    assert capsys.readouterr().err == said


def test_triton_over_http_is_looked_at_on_loopback_alone(quiet, tmp_path, capsys):
    with listening("127.0.0.2") as other:
        command = command_on(tmp_path, "triton", http_port=other.getsockname()[1])
        assert main([*command, "--address=127.0.0.2"]) == 1
    assert "is not prepared" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["192.0.2.77", "nowhere.invalid"])
def test_an_address_of_another_machine_is_not_called_taken(host):
    with pytest.raises(LaunchError, match=rf"^cannot listen on {host} port \d+: .+; give an address of this machine$"):
        require_free((host, free_ports(1)[0]))


def test_a_name_with_an_address_that_this_machine_lacks_is_that_of_its_others(monkeypatch):
    """As localhost in a container without IPv6."""
    (port,) = free_ports(1)
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    found = [(*kind, ("192.0.2.77", port)), (*kind, ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **how: found)
    require_free(("localhost", port))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(LaunchError, match="Address already in use"):
        require_free(("localhost", port))


@pytest.mark.parametrize("command", ["serve", "triton"])
def test_what_the_kernel_refuses_at_the_start_is_one_line(command, quiet, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(serve, "require_prepared", lambda repository: None)
    monkeypatch.setattr(serve_triton, "require_prepared", lambda repository: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert main(command_on(tmp_path, command)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{command}: {tmp_path}/gone/face-triton-")
    assert said.endswith(": No such file or directory\n")
    assert said.count("\n") == 1


def test_an_error_without_a_file_is_its_reason():
    assert told(OSError(errno.ENOMEM, "Cannot allocate memory")) == "Cannot allocate memory"
    assert told(LaunchError("no")) == "no"


@pytest.mark.parametrize("command", ["serve", "triton"])
def test_a_path_that_triton_takes_no_models_from_is_told_before_they_are_prepared(command, quiet, tmp_path, capsys):
    (tmp_path / "a b").mkdir()
    assert main(command_on(tmp_path / "a b", command)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{command}: {tmp_path / 'a b'}: Triton starts models only from a path of ASCII letters")
    assert said.endswith("; move it to such a path\n")


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
    done = subprocess.run([steps_of(tmp_path), *options], capture_output=True, text=True, check=True)
    assert done.stdout.split() == steps


def steps_of(home):
    """A copy of scripts/serve in a checkout whose steps only say their names."""
    (home / "scripts").mkdir(parents=True)
    (home / ".venv/bin").mkdir(parents=True)
    shutil.copy(PROJECT / "scripts/serve", home / "scripts/serve")
    for step in ("scripts/setup", "scripts/prepare-models", ".venv/bin/python"):
        (home / step).write_text('#!/bin/sh\nbasename "$0"\n')
        (home / step).chmod(0o755)
    return home / "scripts/serve"


ODD = [*" \t\"'\\$`&;|<>()*?[]{}", "é", *"@%+=:,.~#^!_-"]


@pytest.mark.parametrize("letter", ODD)
def test_the_script_and_the_launcher_hold_the_same_against_a_path(letter, tmp_path):
    repository = tmp_path / f"a{letter}b"
    command = [steps_of(tmp_path), "--repository", repository]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if PLAIN.fullmatch(str(repository)):
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert (done.returncode, done.stdout) == (1, "")
    with pytest.raises(LaunchError) as refused:
        serve.EmbeddedTriton(repository, Ports()).require_plain_path()
    assert done.stderr == f"serve: {refused.value}\n"


def test_a_checkout_with_a_blank_serves_a_repository_elsewhere_and_not_its_own(tmp_path):
    script = steps_of(tmp_path / "check out")
    done = subprocess.run([script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "check out" / "model_repository") in done.stderr
    done = subprocess.run([script, f"--repository={tmp_path}"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["setup", "prepare-models", "python"]


@pytest.mark.parametrize(("script", "says"), [("serve", "Run Triton"), ("prepare-models", "Fetches, converts")])
def test_a_package_of_the_current_folder_is_not_run_by_a_python_that_knows_no_safepath(script, says, tmp_path):
    """As 3.10 does not."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    steps_of(home)
    shutil.copy(PROJECT / "scripts" / script, home / "scripts" / script)
    (home / ".venv/bin/python").write_text(f'#!/bin/sh\nexec env -u PYTHONSAFEPATH "{sys.executable}" "$@"\n')
    for package in ("client", "preprocess"):
        (home / package).symlink_to(PROJECT / package)
        (elsewhere / package).mkdir(parents=True)
        (elsewhere / package / "__init__.py").write_text("raise SystemExit('not ours')")
    command = [home / "scripts" / script, "--help"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert says in done.stdout

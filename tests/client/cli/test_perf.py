"""The perf command: how it calls perf_analyzer."""

import subprocess

import pytest

from client.__main__ import main


@pytest.mark.parametrize("option", ["--url", "--triton"])
def test_perf_takes_the_server_as_other_commands_do(option, tmp_path, make_picture, monkeypatch):
    calls = []

    def call(command, env):
        calls.append(command)
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    picture = tmp_path / "face.png"
    picture.write_bytes(make_picture())
    assert main(["perf", "--picture", str(picture), option, "10.0.0.5:9001", "facenet_embed"]) == 0
    (command,) = calls
    assert command[command.index("-u") + 1] == "10.0.0.5:9001"

"""The cluster command, on a server that says what it is told to."""

import csv
import sys
from pathlib import Path

import grpc
import pytest

from client.__main__ import main
from client.cli import cluster
from tests.fakes.triton import DEFAULTS, fails


@pytest.fixture
def photos(tmp_path, monkeypatch, make_picture):
    """A current folder whose folder `photos` holds four pictures."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number in range(4):
        Path(f"photos/{number}.png").write_bytes(make_picture(size=(160, 160), seed=number))
    return tmp_path


def test_a_photo_that_is_too_much_for_the_server_is_named_and_left_out(photos, fake, capsys):
    bad = Path("photos/2.png").read_bytes()

    def too_much(call):
        failing = fails(grpc.StatusCode.DEADLINE_EXCEEDED, "no")
        return (failing if call.inputs["IMAGE"][0] == bad else DEFAULTS["arcface_photo"])(call)

    fake.script("arcface_photo", too_much)
    assert main(["cluster", "photos", "--url", fake.url]) == 0
    assert "photos/2.png: deadline_exceeded: the server failed twice over this picture" in capsys.readouterr().err
    with Path("people.csv").open(newline="") as file:
        assert sorted(row["file"] for row in csv.DictReader(file)) == [f"photos/{number}.png" for number in (0, 1, 3)]


def test_a_server_that_fails_over_every_photo_stops_the_command(photos, fake, capsys):
    fake.script("arcface_photo", fails(grpc.StatusCode.INTERNAL, "stub died"))
    assert main(["cluster", "photos", "--url", fake.url]) == 1
    assert "triton_failed: Triton failed to answer" in capsys.readouterr().err
    assert not Path("people.csv").exists()


def test_a_missing_package_is_told_before_the_server_is_asked(photos, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["cluster", "photos", "--url", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "cluster: grouping faces needs the package sklearn; run scripts/setup tools\n"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("results/people", "results: there is no such folder; make it or name another with -o"),
        ("photos/0.png/people", "photos/0.png: there is no such folder; make it or name another with -o"),
        (".", ". is a folder; give a name for both files, such as people"),
        ("..", ".. is a folder; give a name for both files, such as ../people"),
        ("/", "/ is a folder; give a name for both files, such as /people"),
        ("taken", "taken.png cannot be written; give another name with -o"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_a_photo_is_sent(photos, fake, capsys, output, line):
    Path("taken.png").mkdir()
    assert main(["cluster", "photos", "-o", output, "--url", fake.url]) == 1
    assert capsys.readouterr().err == f"cluster: {line}\n"
    assert not fake.calls


def test_more_faces_than_can_be_compared_end_the_command_at_once(photos, fake, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "MAX_FACES", 1)  # a photo of the fake's has one
    assert main(["cluster", "photos", "--concurrency", "1", "--url", fake.url]) == 1
    line = "cluster: over 1 faces are too many to compare with one another; give fewer photos\n"
    assert capsys.readouterr().err.endswith(line)
    assert len(fake.calls) < 4


def test_as_many_faces_as_can_be_compared_are_grouped(photos, fake, monkeypatch):
    monkeypatch.setattr(cluster, "MAX_FACES", 4)
    assert main(["cluster", "photos", "--url", fake.url]) == 0

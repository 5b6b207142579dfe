"""health, detect, compare, cluster and evaluate, on the real server."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from client.__main__ import COMMANDS, main
from client.cli import detect, terminal
from client.face_client import FaceClient
from client.faces import NETWORKS, Faces


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A current folder with an astronaut, her mirror image and a wall."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.fromarray(astronaut()).save("photos/astronaut.png")
    Image.fromarray(astronaut()[:, ::-1]).save("photos/mirrored.jpg", quality=95)
    Image.new("RGB", (300, 200), "grey").save("photos/wall.png")
    return tmp_path


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_teaches_by_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"usage: python -m client {command}" in shown
    assert len(shown.splitlines()) > 4


def test_the_command_line_lists_its_commands(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_no_command_at_all_shows_them_too(capsys):
    assert main([]) == 2
    assert "gen_img_json" in capsys.readouterr().err


def test_health_shows_both_identities(server, capsys):
    assert main(["health", "--url", server.grpc]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ready", "facenet", "arcface"]
    assert lines[1].split()[1].startswith("facenet-")


def test_health_of_no_server_is_a_failure(capsys):
    assert main(["health", "--url", "127.0.0.1:1"]) == 1
    assert "no server is ready at 127.0.0.1:1" in capsys.readouterr().err


def test_detect_shows_and_draws_the_face(server, photos, capsys):
    assert main(["detect", "photos/astronaut.png", "--draw", "out.png", "--url", server.grpc]) == 0
    head, *faces = capsys.readouterr().out.splitlines()
    assert head.split() == ["face", "x1", "y1", "x2", "y2", "score"]
    x1, y1, x2, _ = (float(text) for text in faces[0].split()[1:5])
    assert 150 < x1 < 200 < x2 < 300
    with Image.open("out.png") as picture:
        drawn = np.asarray(picture.convert("RGB"))
    green = np.array([0x39, 0xFF, 0x14])
    assert (drawn[round(y1), round(x1) + 5 : round(x2) - 5] == green).all()  # the box's upper edge
    assert (drawn != astronaut()).any(axis=2).mean() < 0.1


def test_detect_of_a_wall_says_no_face(server, photos, capsys):
    assert main(["detect", "photos/wall.png", "--url", server.grpc]) == 0
    assert capsys.readouterr().out == "no face\n"


def test_detect_as_json_and_with_a_larger_face_asked_for(server, photos, capsys):
    assert main(["detect", "photos/astronaut.png", "--json", "--url", server.grpc]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.array(found["landmarks"]).shape == (len(found["boxes"]), 5, 2)
    assert main(["detect", "photos/astronaut.png", "--min-face-size", "300", "--url", server.grpc]) == 0
    assert capsys.readouterr().out == "no face\n"


def test_a_box_that_leaves_the_photo_is_drawn(photos):
    box = np.array([[-20, -10, 400, 300, 1], [50, 60, 40, 70, 1]], np.float32)
    drawn = detect.draw(np.zeros((200, 300, 3), np.uint8), Faces(box, np.zeros((2, 5, 2), np.float32)))
    assert np.asarray(drawn).any()


def test_compare_tells_that_it_is_one_person(server, photos, capsys):
    assert main(["compare", "photos/astronaut.png", "photos/mirrored.jpg", "--url", server.grpc]) == 0
    assert "the same person (threshold" in capsys.readouterr().out.splitlines()[0]


def test_compare_as_json(server, photos, capsys):
    command = ["compare", "photos/astronaut.png", "photos/mirrored.jpg", "--model", "arcface", "--json"]
    assert main([*command, "--url", server.grpc]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["match"] is True
    assert found["distance"] == pytest.approx(found["distances"][0][0])
    assert found["embedding_id"].startswith("arcface-")


def test_compare_with_a_photo_without_a_face_is_one_clear_line(server, photos, capsys):
    assert main(["compare", "photos/astronaut.png", "photos/wall.png", "--url", server.grpc]) == 1
    assert capsys.readouterr().err == "compare: no_face: the second photo shows no face\n"


@pytest.mark.parametrize("model", NETWORKS)
def test_the_picture_that_tells_an_outage_from_a_bad_photo_is_always_answered(server, model):
    with FaceClient(server.grpc) as faces:
        assert len(faces.embed(terminal.PLAIN, model).boxes) == 0


def test_cluster_puts_one_person_in_a_row(server, photos, capsys):
    (photos / "photos" / "broken.jpg").write_bytes(b"not a picture")
    assert main(["cluster", "photos", "--url", server.grpc]) == 0
    shown = capsys.readouterr()
    assert "photos/broken.jpg: image_format: not a picture" in shown.err
    with Path("people.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = [row["file"] for row in rows if row["person"] == "0"]
    assert sorted(first) == ["photos/astronaut.png", "photos/mirrored.jpg"]
    with Image.open("people.png") as sheet:
        assert sheet.size[0] == 96 * 3


def test_cluster_of_walls_finds_nobody(server, photos, capsys):
    assert main(["cluster", "photos/wall.png", "--url", server.grpc]) == 1
    assert capsys.readouterr().err == "cluster: no face was found\n"


def test_evaluate_measures_people_apart(server, shared, tmp_path, monkeypatch, capsys):
    """Twelve people of LFW, three pairs of each kind a fold."""
    lfw = shared / "lfw-fold1"
    lines = (lfw / "pairs.txt").read_text().splitlines()
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("\n".join(["2\t3", *lines[1:4], *lines[301:304], *lines[4:7], *lines[304:307]]))
    command = ["evaluate", "--lfw", str(lfw), "--pairs", str(pairs), "--url", server.grpc, "--model", "arcface"]
    assert main([*command, "-o", str(tmp_path / "out"), "--document", str(tmp_path / "accuracy.md")]) == 0
    shown = capsys.readouterr().out
    assert "12 pairs of " in shown
    assert " faces a second" in shown
    found = json.loads((tmp_path / "out" / "arcface.json").read_text())
    assert found["area_under_curve"] == 1
    assert (tmp_path / "out" / "arcface-roc.png").is_file()
    assert found["embedding_id"] in (tmp_path / "accuracy.md").read_text()


def test_evaluate_names_the_photos_without_a_face(server, photos, capsys):
    for name in ("Ada", "Bo"):
        Path(name).mkdir()
        for number in (1, 2):
            photo = astronaut() if name == "Ada" else np.zeros((250, 250, 3), np.uint8)
            Image.fromarray(photo).save(f"{name}/{name}_000{number}.png")
    Path("pairs.txt").write_text("1\t1\nAda\t1\t2\nAda\t1\tBo\t2\n")
    assert main(["evaluate", "--lfw", ".", "--pairs", "pairs.txt", "--url", server.grpc]) == 1
    shown = capsys.readouterr().err
    assert "Bo/Bo_0002.png: no face" in shown
    assert "faces were found in pairs of one kind only" in shown

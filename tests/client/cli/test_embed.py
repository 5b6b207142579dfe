"""The embed command."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

from client.__main__ import main
from tests.conftest import PROJECT
from tests.fakes.triton import DEFAULTS, embedding_of, fails, sleeps


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A current folder whose folder `photos` holds thirty files, each of other bytes."""
    monkeypatch.chdir(tmp_path)
    Path("photos/inner").mkdir(parents=True)
    for number in range(30):
        Path("photos", "inner" if number % 2 else "", f"{number:02}.jpg").write_bytes(b"photo %d" % number)
    return tmp_path


def embed(fake, *options, output="faces.jsonl"):
    return main(["embed", "photos", "-o", output, "--url", fake.url, *options])


def lines(output="faces.jsonl"):
    return [json.loads(line) for line in Path(output).read_text().splitlines()]


def test_every_photo_of_a_folder_is_embedded_in_the_order_of_names(photos, fake):
    assert embed(fake) == 0
    found = lines()
    assert [line["file"] for line in found] == sorted(line["file"] for line in found if "inner" not in line["file"]) + (
        sorted(line["file"] for line in found if "inner" in line["file"])
    )
    assert len(found) == 30
    for line in found:
        assert np.array_equal(np.array(line["embedding"], np.float32), embedding_of(Path(line["file"]).read_bytes()))
    assert sorted(path.name for path in photos.iterdir()) == ["faces.jsonl", "photos"]


def test_the_other_network_is_an_option(photos, fake):
    assert embed(fake, "--model", "arcface", output="faces.npy") == 0
    assert {call.model for call in fake.calls} == {"arcface_photo"}
    assert np.load("faces.npy").shape == (30, 192)


def test_photos_that_cannot_be_used_are_listed_with_the_reason(photos, fake, capsys):
    def refuse(call):
        picture = call.inputs["IMAGE"][0]
        if picture == b"photo 3":
            return fails(grpc.StatusCode.INVALID_ARGUMENT, "image_truncated: the picture ends early")(call)
        if picture == b"photo 4":
            faceless = {"BOXES": np.empty((0, 5), np.float32), "LANDMARKS": np.empty((0, 5, 2), np.float32)}
            return {**DEFAULTS["facenet_photo"](call), **faceless, "FACE_COUNT": np.array([0], np.int32)}
        return DEFAULTS["facenet_photo"](call)

    fake.script("facenet_photo", refuse)
    with Path("photos/30.jpg").open("wb") as file:
        file.truncate(9 << 20)
    assert embed(fake) == 1
    assert len(lines()) == 28
    assert Path("faces.jsonl.left-out.txt").read_text().splitlines() == [
        "photos/04.jpg: no_face: the photo shows no face",
        "photos/30.jpg: image_too_large: the file has more than 8388608 bytes",
        "photos/inner/03.jpg: image_truncated: the picture ends early",
    ]
    shown = capsys.readouterr().err
    assert "faces of 28 photos (2 failed, 1 without a face: faces.jsonl.left-out.txt)" in shown


@pytest.mark.parametrize(("output", "there"), [("faces.jsonl",) * 2, ("faces.npy",) * 2, ("faces.npy", "faces.csv")])
def test_an_output_that_is_there_is_not_overwritten(photos, fake, output, there, capsys):
    Path(there).write_text("precious")
    assert embed(fake, output=output) == 1
    assert capsys.readouterr().err == f"embed: {there} is there already; remove it or name another\n"
    assert Path(there).read_text() == "precious"
    assert not fake.calls


def test_other_outputs_leave_a_csv_beside_them_alone(photos, fake):
    Path("faces.csv").write_text("precious")
    assert embed(fake) == 0
    assert Path("faces.csv").read_text() == "precious"


@pytest.mark.parametrize("count", ["0", "-3", "all"])
def test_a_concurrency_that_is_no_count_is_refused(photos, fake, count, capsys):
    with pytest.raises(SystemExit, match="2"):
        embed(fake, "--concurrency", count)
    assert f"argument --concurrency: '{count}' is no count; give a whole number from 1\n" in capsys.readouterr().err


def test_parquet_without_its_package_is_told_before_the_server_is_asked(photos, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["embed", "photos", "-o", "faces.parquet", "--url", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "embed: Parquet needs the package pyarrow; run scripts/setup tools\n"


@pytest.mark.parametrize("output", ["faces", "faces.csv", "faces.parquet.gz"])
def test_an_output_of_another_form_is_refused(photos, fake, output, capsys):
    with pytest.raises(SystemExit, match="2"):
        embed(fake, output=output)
    assert "must end in one of .parquet, .jsonl, .npy" in capsys.readouterr().err


def test_a_server_that_fails_stops_the_run_which_then_goes_on(photos, fake, capsys):
    def fail_later(call):
        if call.inputs["IMAGE"][0] == b"photo 20":
            fake.script("facenet_photo", fails(grpc.StatusCode.INTERNAL, "stub died"))  # from now on over every photo
            return fails(grpc.StatusCode.INTERNAL, "stub died")(call)
        return DEFAULTS["facenet_photo"](call)

    fake.script("facenet_photo", fail_later)
    assert embed(fake, "--concurrency", "1") == 1
    shown = capsys.readouterr().err
    assert "photos/20.jpg: triton_failed: " in shown
    assert shown.endswith("What is done is kept: give the same command again to go on\n")
    assert not Path("faces.jsonl").exists()
    done = len(fake.calls) - 2  # the photo, and another picture
    fake.reset()
    assert embed(fake, "--concurrency", "1") == 0
    assert len(fake.calls) == 30 - done
    assert len({line["file"] for line in lines()}) == len(lines()) == 30


@pytest.mark.parametrize("status", [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL])
def test_a_photo_that_is_too_much_for_the_server_does_not_keep_the_others_out(photos, fake, status):
    def too_much(call):
        return (fails(status, "no") if call.inputs["IMAGE"][0] == b"photo 20" else DEFAULTS["facenet_photo"])(call)

    fake.script("facenet_photo", too_much)
    assert embed(fake) == 1
    assert len(lines()) == 29
    (left_out,) = Path("faces.jsonl.left-out.txt").read_text().splitlines()
    assert left_out.startswith("photos/20.jpg: ")
    assert left_out.endswith(": the server failed twice over this picture, and not over another; try a smaller one")
    assert sum(call.inputs["IMAGE"][0] == b"photo 20" for call in fake.calls) == 2


def test_a_run_that_is_killed_goes_on_without_loss_or_repeat(photos, fake):
    fake.script("facenet_photo", sleeps(0.05))
    command = [sys.executable, "-m", "client", "embed", str(photos / "photos"), "--url", fake.url]
    command += ["-o", str(photos / "faces.parquet"), "--concurrency", "2"]
    journal = photos / "faces.parquet.partial"
    for records in (5, 15):  # killed twice, then left to finish
        process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while not journal.exists() or journal.read_bytes().count(b"\n") < records:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (photos / "faces.parquet").exists()
    assert subprocess.run(command, cwd=PROJECT, stderr=subprocess.DEVNULL, timeout=60).returncode == 0

    import pyarrow.parquet

    files = pyarrow.parquet.read_table(photos / "faces.parquet")["file"].to_pylist()
    assert len(set(files)) == len(files) == 30
    asked = Counter(bytes(call.inputs["IMAGE"][0]) for call in fake.calls)
    assert len(asked) == 30
    assert sum(asked.values()) <= 30 + 2 * 2  # only what was under way at a kill is asked for again
    assert not journal.exists()


def test_memory_does_not_grow_with_the_number_of_faces(photos, fake):
    """Peak memory of 3000 photos of 32 faces, 200 MB of embeddings, is near that of 30."""
    boxes = np.repeat(np.array([[1, 2, 30, 40, 0.9]], np.float32), 32, 0)
    answer = {
        "BOXES": boxes,
        "LANDMARKS": np.zeros((32, 5, 2), np.float32),
        "EMBEDDING": np.repeat(embedding_of(b"")[None], 32, 0),
        "FACE_COUNT": np.array([32], np.int32),
    }
    fake.script("facenet_photo", lambda call: answer)
    peaks = []
    for count, folder in ((30, "few"), (3000, "many")):
        Path(folder).mkdir()
        for number in range(count):
            Path(folder, f"{number}.jpg").write_bytes(b"x")
        program = "import resource, sys; from client.__main__ import main; status = main(sys.argv[1:]);"
        program += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
        arguments = ["embed", str(photos / folder), "-o", str(photos / f"{folder}.parquet"), "--url", fake.url]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0
        peaks.append(int(done.stdout) / 1024)  # MiB
    assert peaks[1] < peaks[0] + 80, peaks


@pytest.mark.slow
def test_a_folder_is_embedded_nearly_as_fast_as_the_server_can(server, shared, tmp_path):
    """Beside perf_analyzer with twice as many callers, on the same photos, by turns: both suffer alike from others."""
    folder = shared / "lfw-fold1"
    count = len(list(folder.rglob("*.jpg")))

    def client(*arguments):
        command = [sys.executable, "-m", "client", *map(str, arguments)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)

    def embedding(turn):
        told = client("embed", folder, "-o", tmp_path / f"{turn}.npy", "--url", server.grpc).stderr
        faces, photos, seconds = re.search(r"(\d+) faces of (\d+) photos in ([\d.]+) s", told).groups()
        assert int(photos) == count and int(faces) > count
        return int(photos) / float(seconds)

    def limit():
        options = ["--concurrency-range", 16, "--request-count", count]
        told = client("perf", "--picture", folder, "--triton", server.grpc, "facenet_photo", *options).stdout
        return float(re.search(r"Throughput: ([\d.]+) infer/sec", told)[1])

    turns = [(embedding(turn), limit()) for turn in range(3)]
    shares = sorted(ours / limit for ours, limit in turns)
    print(f"photos a second, embed and perf_analyzer: {turns}")
    assert shares[1] >= 0.85

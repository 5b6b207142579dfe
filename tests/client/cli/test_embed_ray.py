"""Embedding on a local Ray of two workers."""

import asyncio
import errno
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pyarrow.parquet
import pytest

from client.__main__ import main
from client.cli import embed_ray, parts
from client.cli.embed_ray import Embedder
from client.cli.journal import Record
from client.cli.terminal import Failure
from tests.conftest import PROJECT
from tests.fakes.triton import DEFAULTS, embedding_of, fails, sleeps

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not here; run scripts/setup ray")


@pytest.fixture
def photos(tmp_path):
    """A folder of 48 files, each of other bytes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(48):
        (folder / f"{number:02}.jpg").write_bytes(b"photo %d" % number)
    return folder


def command(photos, fake, *options):
    output = photos.parent / "faces"
    embed = [sys.executable, "-m", "client", "embed_ray", str(photos), "-o", str(output), "--url", fake.url, *options]
    return embed, output


def run(photos, fake, *options):
    embed, output = command(photos, fake, *options)
    return subprocess.run(embed, cwd=PROJECT, capture_output=True, text=True, timeout=120), output


def table(output):
    return pyarrow.parquet.read_table([str(part) for part in sorted(output.glob("part-*.parquet"))])


def descendants(pid):
    """The processes below a process, as the kernel has them now."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return found - {pid}


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_folder_is_locked_until_its_worker_ends(tmp_path):
    worker = parts.hold(tmp_path, parts.WORKERS, shared=True)
    other = parts.hold(tmp_path, parts.WORKERS, shared=True)
    with pytest.raises(Failure, match="another job is writing to"):
        parts.hold(tmp_path, parts.WORKERS, shared=False, wait_seconds=0.2)
    worker.close()
    threading.Timer(0.3, other.close).start()
    parts.hold(tmp_path, parts.WORKERS, shared=False, wait_seconds=5).close()


def test_a_part_is_named_by_its_photos_and_tells_what_is_done(tmp_path):
    good = Record("a.jpg", np.ones((1, 5), np.float32), np.ones((1, 4), np.float32))
    bad = Record.failed("b.jpg", "image_format: no")
    parts.write(tmp_path, [good, bad], "facenet-1")
    parts.write(tmp_path, [bad, good], "facenet-1")  # the same batch again, in the order another worker had
    assert len(list(tmp_path.iterdir())) == 1
    assert parts.read_photos(tmp_path, "facenet-1") == {"a.jpg": "", "b.jpg": "image_format: no"}
    with pytest.raises(Failure, match="was made with facenet-1, the server has facenet-2; choose another folder"):
        parts.read_photos(tmp_path, "facenet-2")


def test_a_worker_leaves_out_a_photo_that_is_too_much_for_the_server(tmp_path, fake):
    def too_much(call):
        bad = call.inputs["IMAGE"][0] == b"photo 1"
        return (fails(grpc.StatusCode.INTERNAL, "no") if bad else DEFAULTS["facenet_photo"])(call)

    fake.script("facenet_photo", too_much)
    worker = Embedder(tmp_path, (fake.url, 5.0, None), "facenet", 2, "facenet-1")
    with worker.lock:
        records = asyncio.run(worker.embed({f"{number}.jpg": b"photo %d" % number for number in range(4)}))
    failed = {record.file: record.error for record in records if record.error}
    assert len(records) == 4
    assert list(failed) == ["1.jpg"]
    assert failed["1.jpg"].startswith("triton_failed: the server failed twice over this picture")


@pytest.fixture
def refuse(monkeypatch):
    """Has a worker's reading of `1.jpg` fail with an error's number; every other file holds its own name."""

    def refuse(number):
        def read(path):
            if path.name == "1.jpg":
                raise OSError(number, os.strerror(number), str(path))
            return path.name.encode()

        monkeypatch.setattr(embed_ray, "read", read)

    return refuse


def batch_of(*names, **columns):
    return {"file": np.array(names, object), **columns}


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EMFILE, errno.EIO, errno.ESTALE, errno.EISDIR])
def test_a_photo_that_a_machine_cannot_read_ends_the_job_and_is_not_kept_as_failed(tmp_path, fake, refuse, number):
    refuse(number)
    worker = Embedder(tmp_path, (fake.url, 5.0, None), "facenet", 2, "facenet-1")
    with worker.lock:
        (failure,) = worker(batch_of("/photos/0.jpg", "/photos/1.jpg"))["failure"]
    reason = re.escape(os.strerror(number))
    remedy = "every machine must see the folder under the same path"
    assert re.fullmatch(rf"/photos/1\.jpg: {reason}, on the machine \S+; {remedy}", failure)
    assert parts.read_photos(tmp_path, "facenet-1") == {}


def test_a_photo_that_may_not_be_read_is_left_out_and_the_rest_goes_on(tmp_path, fake, refuse):
    refuse(errno.EACCES)
    worker = Embedder(tmp_path, (fake.url, 5.0, None), "facenet", 2, "facenet-1")
    with worker.lock:
        assert worker(batch_of("/photos/0.jpg", "/photos/1.jpg")) == {"photos": [2], "failure": [""]}
    done = parts.read_photos(tmp_path, "facenet-1")
    assert done == {"/photos/0.jpg": "", "/photos/1.jpg": "/photos/1.jpg: Permission denied"}


def test_a_row_of_parquet_without_an_image_is_that_row_s_own_fault_and_reads_no_file(tmp_path, fake):
    def as_triton(call):
        empty = fails(grpc.StatusCode.INVALID_ARGUMENT, "image_empty: the picture has no bytes")
        return (DEFAULTS["facenet_photo"] if call.inputs["IMAGE"][0] else empty)(call)

    fake.script("facenet_photo", as_triton)
    worker = Embedder(tmp_path, (fake.url, 5.0, None), "facenet", 2, "facenet-1")
    images = np.array([b"photo", None], object)
    with worker.lock:
        assert worker(batch_of("s3://0.jpg", "s3://1.jpg", image=images)) == {"photos": [2], "failure": [""]}
    done = parts.read_photos(tmp_path, "facenet-1")
    assert done == {"s3://0.jpg": "", "s3://1.jpg": "image_empty: the picture has no bytes"}


@needs_ray
@pytest.mark.parametrize("name", ["nothere", "nothere.parquet"])
def test_a_path_that_is_not_there_is_one_clear_line_and_starts_no_ray(tmp_path, fake, monkeypatch, capsys, name):
    monkeypatch.setattr(embed_ray, "embed", lambda args: pytest.fail("Ray is started"))
    missing, output = tmp_path / name, tmp_path / "faces"
    assert main(["embed_ray", str(missing), "-o", str(output), "--url", fake.url]) == 1
    assert capsys.readouterr().err == f"embed_ray: {missing}: No such file or directory\n"
    assert not output.exists()


@needs_ray
@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        pytest.param(KeyboardInterrupt(), 130, "stopped", id="ctrl-c"),
        pytest.param(ValueError("not a Parquet file"), 1, "not a Parquet file", id="a-damaged-file"),
        pytest.param(PermissionError(13, "Permission denied", "a/b"), 1, "a/b: Permission denied", id="a-shut-folder"),
    ],
)
def test_what_stops_a_job_is_one_clear_line(photos, fake, monkeypatch, capsys, error, status, line):
    def embed(args):
        raise error

    monkeypatch.setattr(embed_ray, "embed", embed)
    assert main(["embed_ray", str(photos), "-o", str(photos.parent / "faces"), "--url", fake.url]) == status
    assert capsys.readouterr().err == f"embed_ray: {line}\n"


def test_no_workers_at_all_are_refused(photos, fake, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["embed_ray", str(photos), "-o", str(photos.parent / "faces"), "--url", fake.url, "--workers", "0"])
    assert "argument --workers: '0' is no count; give a whole number from 1\n" in capsys.readouterr().err


def test_a_job_without_ray_says_how_to_get_it(photos, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["embed_ray", str(photos), "-o", str(photos.parent / "faces"), "--url", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "embed_ray: a Ray job needs the package ray; run scripts/setup ray\n"


@pytest.mark.slow
@needs_ray
def test_a_job_that_is_killed_goes_on_without_loss_or_repeat(photos, fake):
    fake.script("facenet_photo", sleeps(0.2))
    embed, output = command(photos, fake, "--concurrency", "2")
    process = subprocess.Popen(embed, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 90
    while len(list(output.glob("part-*.parquet"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    below = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done, _ = run(photos, fake, "--concurrency", "2")  # at once, while workers of the killed job may still write
    assert done.returncode == 0, done.stderr
    files = table(output)["file"].to_pylist()
    assert sorted(files) == [str(photo) for photo in sorted(photos.iterdir())]
    new = int(re.search(r"48 photos, (\d+) of them new", done.stdout)[1])
    assert 0 < new < 48
    assert len({bytes(call.inputs["IMAGE"][0]) for call in fake.calls}) == 48

    until = time.monotonic() + 30
    while (left := [pid for pid in below if running(pid)]) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []  # Ray ends with the command


@pytest.mark.slow
@needs_ray
def test_photos_in_parquet_are_embedded_and_bad_ones_listed(tmp_path, fake, make_picture):
    def refuse(call):
        if call.inputs["IMAGE"][0] == b"photo 3":
            return fails(grpc.StatusCode.INVALID_ARGUMENT, "image_format: not a picture")(call)
        return DEFAULTS["arcface_photo"](call)

    fake.script("arcface_photo", refuse)
    names, images = [f"s3://bucket/{number}.jpg" for number in range(9)], [b"photo %d" % number for number in range(9)]
    pyarrow.parquet.write_table(pyarrow.table({"file": names, "image": images}), tmp_path / "photos.parquet")
    done, output = run(tmp_path / "photos.parquet", fake, "--model", "arcface")
    assert done.returncode == 1
    assert (output / "left-out.txt").read_text() == "s3://bucket/3.jpg: image_format: not a picture\n"
    found = {row["file"]: row["embedding"] for row in table(output).to_pylist()}
    assert set(found) == set(names) - {"s3://bucket/3.jpg"}
    for name, image in zip(names, images, strict=True):
        if name in found:
            assert np.array_equal(np.array(found[name], np.float32), embedding_of(image, 192))


@pytest.mark.slow
@needs_ray
def test_a_server_that_fails_stops_the_job_with_one_clear_line(photos, fake):
    fake.script("facenet_photo", fails(grpc.StatusCode.INTERNAL, "stub died"))
    done, _ = run(photos, fake)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("embed_ray: ")
    assert "triton_failed: Triton failed to answer" in line
    assert line.endswith("What is done is kept: give the same command again to go on")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@needs_ray
def test_ctrl_c_ends_a_running_job_with_one_line_and_keeps_what_is_done(photos, fake):
    fake.script("facenet_photo", sleeps(0.2))
    embed, output = command(photos, fake, "--concurrency", "2")
    process = subprocess.Popen(
        embed, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 90
    while not list(output.glob("part-*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown.splitlines()[-1] == "embed_ray: stopped"
    assert "Traceback" not in shown
    assert list(output.glob("part-*.parquet"))


@pytest.mark.slow
@needs_ray
def test_a_file_that_is_no_parquet_is_told_without_a_traceback(tmp_path, fake):
    (tmp_path / "photos.parquet").write_bytes(b"photos")
    done, _ = run(tmp_path / "photos.parquet", fake)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("embed_ray: ")
    assert "Traceback" not in done.stderr

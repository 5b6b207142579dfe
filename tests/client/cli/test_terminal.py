"""What the commands share."""

import argparse
import asyncio
import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from client.cli import terminal
from client.cli.terminal import Failure
from client.errors import BadPicture, BadUpstream, Busy, DeadlineExceeded, TooLarge
from client.settings import Settings
from tests.client.live import LiveGateway


def options(url: str, key_file: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(url=url, timeout=5.0, key_file=key_file)


def test_folders_are_searched_in_order_and_hidden_ones_left_alone(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "inner/c.webp", ".trash/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in terminal.photos([tmp_path])]
    assert found == ["a.png", "b.JPG", "inner/c.webp"]


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path):
    (tmp_path / "photo").touch()
    assert list(terminal.photos([tmp_path / "photo"])) == [tmp_path / "photo"]


def test_a_path_that_is_not_there_is_a_failure():
    with pytest.raises(Failure, match="nowhere: No such file or directory"):
        list(terminal.photos([Path("nowhere")]))


def test_a_folder_without_photos_is_a_failure(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(Failure, match="no photo"):
        terminal.some_photos([tmp_path])


def test_no_more_than_the_limit_is_read(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(Settings.max_image_bytes))
    assert len(terminal.read(path)) == Settings.max_image_bytes
    with path.open("ab") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    with pytest.raises(TooLarge, match="image_too_large"):
        terminal.read(path)


def test_work_is_done_side_by_side_within_the_limit_and_failures_are_results():
    running, most = 0, 0

    async def work(path: Path) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        if path.name == "7":
            raise BadPicture("image_format", "not a picture")
        return path.name

    async def all_of_them() -> dict[str, object]:
        paths = (Path(str(number)) for number in range(50))
        return {path.name: answer async for path, answer in terminal.answers(paths, work, 4)}

    found = asyncio.run(all_of_them())
    assert most == 4
    assert isinstance(found.pop("7"), BadPicture)
    assert found == {str(number): str(number) for number in range(50) if number != 7}


def test_work_is_taken_up_only_as_it_is_done():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Path(str(taken))

    async def first() -> None:
        async def work(path: Path) -> None:
            await asyncio.sleep(0)

        answers = terminal.answers(endless(), work, 3)
        await anext(answers)
        await answers.aclose()

    asyncio.run(first())
    assert taken <= 3


class Server:
    """Answers numbers: how often it was asked each, with how many others, and which it fails over how many times."""

    def __init__(self, failures: dict[int, int], error: Exception) -> None:
        self.failures, self.error = failures, error
        self.asked: list[tuple[int, int]] = []
        self.running = 0
        self.others = 0

    async def answer(self, number: int) -> int:
        self.asked.append((number, self.running))
        self.running += 1
        await asyncio.sleep(0.001)
        self.running -= 1
        if self.failures.get(number, 0) > 0:
            self.failures[number] -= 1
            raise self.error
        return number

    async def another(self) -> None:
        self.others += 1

    def answers(self, count: int = 30) -> dict[int, object]:
        async def all_of_them() -> dict[int, object]:
            found = terminal.answers(iter(range(count)), self.answer, 4, self.another)
            return {number: answer async for number, answer in found}

        return asyncio.run(all_of_them())


DOUBTS = [DeadlineExceeded("deadline_exceeded", "no answer in time"), BadUpstream("triton_failed", "Triton failed")]


@pytest.mark.parametrize("error", DOUBTS, ids=["504", "502"])
def test_what_the_server_fails_over_is_tried_again_alone(error):
    server = Server({7: 1, 8: 1}, error)
    assert server.answers() == {number: number for number in range(30)}
    assert len(server.asked) == 32
    second = {number: beside for number, beside in server.asked if number in (7, 8)}  # the last of each
    assert second == {7: 0, 8: 0}
    assert server.others == 2


@pytest.mark.parametrize("error", DOUBTS, ids=["504", "502"])
@pytest.mark.parametrize("number", [0, 7, 29])
def test_what_the_server_fails_over_twice_is_the_fault_of_the_picture(number, error):
    found = Server({number: 9}, error).answers()
    refused = found.pop(number)
    assert isinstance(refused, BadPicture) and refused.code == error.code
    assert "failed twice over this picture" in refused.message
    assert found == {other: other for other in range(30) if other != number}


def test_a_server_that_fails_over_another_picture_too_is_at_fault_itself():
    server = Server({0: 1}, DOUBTS[0])

    async def another() -> None:
        raise Busy("triton_unavailable", "the models are not ready")

    server.another = another
    assert isinstance(server.answers(1)[0], Busy)
    assert len(server.asked) == 1


def test_a_picture_that_cannot_be_used_is_not_tried_again():
    server = Server({3: 1}, BadPicture("image_format", "not a picture"))
    assert isinstance(server.answers()[3], BadPicture)
    assert server.others == 0


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_a_count_that_is_none_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a whole number from 1"):
        terminal.positive(text)


def test_a_package_that_is_missing_is_told_before_the_server_is_asked(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert terminal.ask("cluster", options("127.0.0.1:1"), None, needs="sklearn") == 1
    assert capsys.readouterr().err == "cluster: grouping faces needs the package sklearn; run scripts/setup tools\n"


def test_a_server_that_is_not_there_is_one_clear_line(capsys):
    async def work(client):
        raise AssertionError("not reached")

    assert terminal.ask("detect", options("127.0.0.1:1"), work) == 1
    line = "detect: no server is ready at 127.0.0.1:1; start one with scripts/serve or name it with --url\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("over_http", [False, True], ids=["grpc", "http"])
def test_a_server_that_is_too_busy_to_be_ready_is_waited_for(over_http, fake):
    async def work(client):
        return 0

    with contextlib.ExitStack() as stack:
        given = options(fake.url)
        if over_http:
            gateway = stack.enter_context(LiveGateway(fake.url))
            given.url = f"http://127.0.0.1:{gateway.port}"
        given.timeout = 20.0
        fake.ill.add("face_crops")
        while over_http and gateway.request("GET", "/health/ready").status == 200:
            time.sleep(0.1)
        threading.Timer(2.0, fake.ill.clear).start()
        assert terminal.ask("detect", given, work) == 0


def test_a_server_of_which_a_model_fails_is_told_from_one_that_is_not_there(fake, capsys):
    fake.ill.add("face_crops")
    given = options(fake.url)
    given.timeout = 0.2
    assert terminal.ask("detect", given, None) == 1
    assert "is there, but not every model of it answers" in capsys.readouterr().err


def test_a_gateway_with_keys_is_asked_with_the_first_key_of_a_file(fake, tmp_path, capsys):
    (tmp_path / "keys").write_text("# ours\n\na-key-of-many-letters\nanother-key-of-many-letters\n")

    async def work(client):
        await client.detect(b"photo")
        return 0

    with LiveGateway(fake.url, FACE_API_KEYS_FILE=tmp_path / "keys") as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        assert terminal.ask("detect", options(url, tmp_path / "keys"), work) == 0
        assert terminal.ask("detect", options(url), work) == 1
        (tmp_path / "other").write_text("a-key-of-somebody-else\n")
        assert terminal.ask("detect", options(url, tmp_path / "other"), work) == 1
    assert capsys.readouterr().err.splitlines() == [
        "detect: the gateway asks for a key; give --key-file",
        f"detect: the gateway asks for a key; the first in {tmp_path / 'other'} is none of its own",
    ]


@pytest.mark.parametrize(("text", "line"), [("# none\n", "holds no key"), (None, "No such file or directory")])
def test_a_key_file_without_a_key_is_one_clear_line(text, line, tmp_path, capsys):
    if text:
        (tmp_path / "keys").write_text(text)
    assert terminal.ask("detect", options("127.0.0.1:1", tmp_path / "keys"), None) == 1
    shown = capsys.readouterr().err
    assert line in shown and shown.startswith("detect: ") and shown.count("\n") == 1


def test_an_address_of_another_form_is_one_clear_line(capsys):
    assert terminal.ask("detect", options("127.0.0.1"), None) == 1
    assert "give host:port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(Failure("no face was found"), "no face was found", id="failure"),
        pytest.param(BadPicture("no_face", "the first photo shows no face"), "no_face: the first", id="service-error"),
        pytest.param(FileNotFoundError(2, "No such file or directory", "a.jpg"), "a.jpg: No such file", id="file"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(error, line, fake, capsys):
    async def work(client):
        raise error

    assert terminal.ask("detect", options(fake.url), work) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"detect: {line}")
    assert shown.count("\n") == 1


def test_ctrl_c_is_one_line_and_the_status_of_an_interrupt(fake, capsys):
    async def work(client):
        os.kill(os.getpid(), 2)
        await asyncio.sleep(5)

    assert terminal.ask("embed", options(fake.url), work) == 130
    assert capsys.readouterr().err == "embed: stopped\n"

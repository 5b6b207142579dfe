import json
import logging
import os
import queue
from pathlib import Path

import pytest

from client.log import DroppingQueueHandler, JsonFormatter, _write, log_request, lost_lines


def test_a_line_is_json_with_its_fields():
    record = logging.LogRecord("client", logging.INFO, __file__, 1, "hello %s\n", ("you",), None)
    record.fields = {"status": 200}
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line).items() >= {"level": "info", "message": "hello you\n", "status": 200}.items()


def test_a_full_queue_costs_a_line_and_counts_it():
    lines = queue.Queue(1)
    handler = DroppingQueueHandler(lines)
    before = lost_lines()
    for _ in range(3):
        handler.handle(logging.LogRecord("client", logging.INFO, __file__, 1, "x", (), None))
    assert lines.qsize() == 1
    assert lost_lines() == before + 2


def record(text, **fields):
    made = logging.LogRecord("client", logging.INFO, __file__, 1, text, (), None)
    made.fields = fields
    return made


def write(*records):
    """Have the writing thread's function write these; how many lines were lost."""
    lines = queue.Queue()
    for each in (*records, None):
        lines.put(each)
    before = lost_lines()
    _write(lines)
    return lost_lines() - before


@pytest.fixture
def pipe(monkeypatch):
    """Where lines are written: a pipe, of which this is the end to read from."""
    reader, writer = os.pipe()
    monkeypatch.setattr("client.log.STANDARD_ERROR", writer)
    with os.fdopen(reader), os.fdopen(writer, "w"):
        yield reader


def test_lines_that_find_a_full_disk_are_counted(monkeypatch):
    with Path("/dev/full").open("wb") as full:
        monkeypatch.setattr("client.log.STANDARD_ERROR", full.fileno())
        assert write(record("a"), record("b")) == 2


def test_lines_for_a_reader_who_has_gone_are_counted(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("client.log.STANDARD_ERROR", writer)
    with os.fdopen(writer, "w"):
        assert write(record("a"), record("b")) == 2


def test_a_line_that_cannot_be_made_is_counted_and_the_next_is_written(pipe):
    assert write(record("bad", value=object()), record("good")) == 1
    assert json.loads(os.read(pipe, 65536))["message"] == "good"


def test_a_line_that_is_taken_in_parts_is_written_to_its_end(pipe, monkeypatch):
    real = os.write
    monkeypatch.setattr("client.log.os.write", lambda file, line: real(file, line[:7]))
    assert write(record("whole")) == 0
    assert json.loads(os.read(pipe, 65536))["message"] == "whole"


def test_a_line_of_which_only_a_part_could_be_written_is_counted(pipe, monkeypatch):
    real, room = os.write, [7]

    def nearly_full(file, line):
        if not room:
            raise OSError(28, "No space left on device")
        return real(file, line[: room.pop()])

    monkeypatch.setattr("client.log.os.write", nearly_full)
    assert write(record("torn")) == 1


def test_a_method_that_http_does_not_know_is_not_repeated(caplog):
    caplog.set_level(logging.INFO)
    state = {"request_id": "a", "status": 405, "code": "method_not_allowed", "bytes_in": 1, "bytes_out": 2}
    log_request("MY-NAME-IS", "none", state, 0.25)
    assert caplog.records[0].fields["method"] == "_OTHER"


@pytest.mark.parametrize("probe", ["/health/live", "/health/ready", "/metrics"])
def test_a_probe_is_logged_only_where_it_fails(caplog, probe):
    caplog.set_level(logging.INFO)
    for status in (200, 503):
        state = {"request_id": "a", "status": status, "code": "", "bytes_in": 0, "bytes_out": 2}
        log_request("GET", probe, state, 0.01)
    assert [record.fields["status"] for record in caplog.records] == [503]


def test_a_callers_mistake_is_logged_at_info_and_ours_at_warning(caplog):
    caplog.set_level(logging.INFO)
    for status in (200, 422, 503):
        state = {"request_id": "a", "status": status, "code": "", "bytes_in": 1, "bytes_out": 2}
        log_request("POST", "/service", state, 0.25)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]
    assert caplog.records[0].fields["seconds"] == 0.25

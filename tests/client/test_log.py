import json
import logging
import queue

from client.log import DroppingQueueHandler, JsonFormatter, log_request, lost_lines


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


def test_a_method_that_http_does_not_know_is_not_repeated(caplog):
    caplog.set_level(logging.INFO)
    state = {"request_id": "a", "status": 405, "code": "method_not_allowed", "bytes_in": 1, "bytes_out": 2}
    log_request("MY-NAME-IS", "none", state, 0.25)
    assert caplog.records[0].fields["method"] == "_OTHER"


def test_a_callers_mistake_is_logged_at_info_and_ours_at_warning(caplog):
    caplog.set_level(logging.INFO)
    for status in (200, 422, 503):
        state = {"request_id": "a", "status": status, "code": "", "bytes_in": 1, "bytes_out": 2}
        log_request("POST", "/service", state, 0.25)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]
    assert caplog.records[0].fields["seconds"] == 0.25

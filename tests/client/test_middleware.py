import asyncio
import gc
import weakref

import pytest

from client.errors import CLOSE, BadRequest, MethodNotAllowed, NotFound, TooLarge, Unauthorised
from client.middleware import (
    BodyLimit,
    Deadline,
    Errors,
    Head,
    RequestId,
    UntilGone,
    WholeBody,
)
from client.settings import Settings
from tests.client.asgi import answers, call, scope_of


def stack(inner, *layers):
    """RequestId and Errors round the layers round an application."""
    for layer in reversed(layers):
        inner = layer(inner)
    return RequestId(Errors(inner))


def post(app, *chunks, headers=(), path="/service", **others):
    return asyncio.run(call(app, scope_of("POST", path, headers, **others), *chunks))


def code(reply):
    return reply.text.partition(":")[0]


# RequestId


def test_a_request_is_named():
    first, second = (post(stack(answers())).headers["x-request-id"] for _ in range(2))
    assert first != second
    assert first.isalnum()


def test_the_callers_own_name_is_kept():
    assert post(stack(answers()), headers=[("X-Request-Id", "a-B_c.9")]).headers["x-request-id"] == "a-B_c.9"


@pytest.mark.parametrize("name", ["", "a b", "a\r\nX: y", "a\x00", "é", "a" * 65, "a" * 10_240], ids=repr)
def test_row47_any_other_name_is_replaced(name):
    reply = post(stack(answers()), headers=[("X-Request-Id", name)])
    assert reply.headers["x-request-id"].isalnum()


def test_no_answer_is_to_be_stored():
    assert post(stack(answers())).headers["cache-control"] == "no-store"


# Errors


def raises(error):
    async def app(scope, receive, send):
        raise error

    return app


def test_an_error_is_written_once_with_its_status():
    reply = post(stack(raises(BadRequest("json_invalid", "no JSON"))))
    assert (reply.status, reply.text) == (400, "json_invalid: no JSON")


def test_an_unexpected_error_tells_nothing_of_itself(caplog):
    reply = post(stack(raises(KeyError("secret"))))
    assert (reply.status, code(reply)) == (500, "internal")
    assert "secret" not in reply.text + caplog.text
    assert "KeyError" in caplog.text


def test_nothing_is_added_to_an_answer_that_has_begun():
    async def app(scope, receive, send):
        await answers(b"whole")(scope, receive, send)
        raise ValueError

    reply = post(stack(app))
    assert (reply.status, reply.body) == (200, b"whole")


def parts_read(app, headers=()):
    """How many parts of a body of five are read, and how many of them before the answer."""
    read, before = [], []

    async def receive():
        read.append(True)
        return {"type": "http.request", "body": b"a" * 100, "more_body": len(read) < 5}

    async def send(message):
        before.append(len(read))

    asyncio.run(stack(app)(scope_of("POST", "/service", headers), receive, send))
    return len(read), before[0]


@pytest.mark.parametrize(
    "error",
    [
        TooLarge("body_too_large", "no", CLOSE),
        Unauthorised("api_key", "no", CLOSE),
        NotFound("not_found", "no"),
        MethodNotAllowed("method_not_allowed", "no"),
        KeyError("unexpected"),
    ],
    ids=repr,
)
def test_what_still_comes_of_a_refused_body_is_dropped_so_that_the_caller_reads_why(error):
    assert parts_read(raises(error)) == (5, 0)


def test_of_a_body_that_was_read_to_its_end_nothing_more_is_asked():
    async def refuse(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        raise BadRequest("json_invalid", "no")

    assert parts_read(refuse) == (5, 5)


def test_a_body_in_crumbs_is_not_read_on():
    assert parts_read(raises(BadRequest("body_in_crumbs", "no", CLOSE))) == (0, 0)


def test_who_waits_to_be_asked_for_a_body_is_not_asked_after_a_refusal():
    expect = [("Expect", "100-continue")]

    async def refuse_after_a_part(scope, receive, send):
        await receive()
        raise TooLarge("body_too_large", "no", CLOSE)

    assert parts_read(raises(TooLarge("body_too_large", "no", CLOSE)), expect) == (0, 0)
    assert parts_read(refuse_after_a_part, expect) == (5, 1)


def test_a_process_that_ends_while_a_refused_body_still_comes_cuts_it_off():
    async def main():
        app = stack(raises(TooLarge("body_too_large", "no", CLOSE)))
        asking = asyncio.ensure_future(call(app, scope_of("POST", "/service"), 5.0, b""))
        await asyncio.sleep(0.05)
        asking.cancel()
        return await asking

    assert asyncio.run(main()).status == 413


def test_a_process_that_ends_tells_those_who_wait():
    async def main():
        asking = asyncio.ensure_future(call(stack(slow), scope_of("POST", "/service"), b""))
        await asyncio.sleep(0.05)
        asking.cancel()
        return await asking

    async def slow(scope, receive, send):
        await asyncio.sleep(5)

    reply = asyncio.run(main())
    assert (reply.status, code(reply), reply.headers["retry-after"]) == (503, "stopping", "1")


def test_a_call_cut_off_because_its_triton_leaves_is_not_said_to_be_the_end_of_the_server():
    """A closed channel of gRPC ends its calls by CancelledError too."""
    reply = post(stack(raises(asyncio.CancelledError())))
    assert (reply.status, code(reply), reply.headers["retry-after"]) == (503, "stopping", "1")
    assert "Triton or the server" in reply.text


def test_an_error_keeps_nothing_of_the_request_alive():
    """Frames in a cycle would hold the body, and the connection, until the collector comes."""

    class Canary:
        pass

    gone = []

    async def refuse(scope, receive, send):
        gone.append(weakref.ref(scope["state"]["canary"]))
        raise BadRequest("json_invalid", "no") from ValueError("why")

    async def hold(scope, receive, send):
        scope["state"]["canary"] = Canary()
        await Deadline(refuse, Settings())(scope, receive, send)

    gc.disable()
    try:
        post(stack(hold))
        assert gone[0]() is None
    finally:
        gc.enable()


# Head


def head(headers=(), settings=None, **others):
    return post(stack(answers(), lambda app: Head(app, settings or Settings())), headers=headers, **others)


def test_row44_a_line_of_8_kib_and_one_byte_more():
    assert head([("X", "a" * 8191)]).status == 200
    assert head([("X", "a" * 8192)]).status == 431


def test_row44_headers_of_32_kib_and_one_byte_more():
    rest = 32 * 1024 - len("hosttest")
    lines = [("X", "a" * 8000)] * 4
    rest -= 4 * 8001
    assert head([*lines, ("Y", "a" * (rest - 1))]).status == 200
    assert head([*lines, ("Y", "a" * rest)]).status == 431


def test_row44_an_address_of_8_kib_and_one_byte_more():
    assert head(raw_path=b"/" + b"a" * 8191).status == 200
    assert head(raw_path=b"/" + b"a" * 8192).status == 414
    assert head(raw_path=b"/", query_string=b"a" * 8192).status == 414


@pytest.mark.parametrize("path", ["/service\n", "/\x00", "/a\x7f", "/a\x85"], ids=repr)
def test_row46_no_address_has_control_characters(path):
    reply = head(path=path)
    assert (reply.status, "not_found" in reply.text) == (404, True)


@pytest.mark.parametrize(
    ("hosts", "version", "status"),
    [(["a"], "1.1", 200), (["a", "b"], "1.1", 400), ([], "1.1", 400), ([""], "1.1", 400), ([""], "1", 200)],
)
def test_row44_exactly_one_host(hosts, version, status):
    headers = [(b"host", host.encode()) for host in hosts]
    scope = scope_of("POST", "/service") | {"headers": headers, "http_version": version}
    app = stack(answers(), lambda app: Head(app, Settings()))
    assert asyncio.run(call(app, scope)).status == status


@pytest.mark.parametrize("value", ["gzip, chunked", "identity", "Chunked"])
def test_row41_no_transfer_encoding_but_chunked(value):
    assert head([("Transfer-Encoding", "chunked")]).status == 200
    assert head([("Transfer-Encoding", value)]).status == 400
    assert head([("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")]).status == 400


# Deadline


def deadline(*chunks, inner, seconds=0.2):
    app = stack(inner, lambda app: Deadline(app, Settings(deadline_seconds=seconds)), WholeBody)
    return post(app, *chunks)


def test_a_body_that_does_not_end_in_time_is_408():
    reply = deadline(b"a", 5.0, b"b", inner=answers())
    assert (reply.status, code(reply)) == (408, "request_timeout")
    assert reply.headers["connection"] == "close"


def test_a_body_that_drips_is_408():
    assert deadline(*[b"a", 0.05] * 20, b"b", inner=answers()).status == 408


def test_work_that_does_not_end_in_time_is_504():
    async def slow(scope, receive, send):
        await asyncio.sleep(5)

    reply = deadline(b"a", inner=slow)
    assert (reply.status, code(reply)) == (504, "deadline_exceeded")


# BodyLimit


def limit(*chunks, headers=(), **settings):
    app = stack(answers(), lambda app: BodyLimit(app, Settings(**settings)))
    return post(app, *chunks, headers=headers)


def test_a_body_of_the_largest_size_and_one_byte_more():
    assert limit(b"a" * 2048, max_body_bytes=2048).status == 200
    reply = limit(b"a" * 2049, max_body_bytes=2048)
    assert (reply.status, code(reply), reply.headers["connection"]) == (413, "body_too_large", "close")


def test_chunks_are_counted_together():
    assert limit(b"a" * 2000, b"a" * 48, max_body_bytes=2048).status == 200
    assert limit(b"a" * 2000, b"a" * 49, max_body_bytes=2048).status == 413


def test_row39_as_many_parts_as_may_be_and_one_more():
    assert limit(*[b"a"] * 1024, max_body_parts=1024).status == 200
    reply = limit(*[b"a"] * 1025, max_body_parts=1024)
    assert (reply.status, code(reply)) == (400, "body_in_crumbs")


def test_a_content_length_over_the_limit_is_refused_unread():
    async def untouched(scope, receive, send):
        raise AssertionError

    app = stack(untouched, lambda app: BodyLimit(app, Settings(max_body_bytes=2048)))
    assert post(app, headers=[("Content-Length", "2049")]).status == 413


def test_all_bodies_together_are_limited_and_let_go():
    async def main():
        held = asyncio.Event()
        release = asyncio.Event()

        async def hold(scope, receive, send):
            await receive()
            held.set()
            await release.wait()
            await answers()(scope, receive, send)

        limit = BodyLimit(hold, Settings(max_bodies_bytes=1024))
        app = RequestId(Errors(limit))
        first = asyncio.ensure_future(call(app, scope_of("POST", "/service"), b"a" * 1000, b""))
        await held.wait()
        held.clear()
        second = asyncio.ensure_future(call(app, scope_of("POST", "/service"), b"a" * 24, b""))
        await held.wait()
        third = await call(app, scope_of("POST", "/service"), b"a")
        assert (third.status, code(third), third.headers["retry-after"]) == (503, "too_many_bodies", "1")
        release.set()
        assert [reply.status for reply in await asyncio.gather(first, second)] == [200, 200]
        assert limit.held == 0

    asyncio.run(main())


# WholeBody


def whole(*chunks, headers=(), **others):
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope["state"]["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    reply = asyncio.run(call(stack(inner, WholeBody), scope_of("POST", "/service", headers), *chunks, **others))
    return reply, seen


def test_the_body_is_read_to_its_end():
    assert whole(b"a", b"", b"bc")[1] == [b"abc"]


def test_a_body_that_breaks_off_goes_no_further():
    reply, seen = whole(b"a", 0.0, then_gone=True)
    assert (reply.status, code(reply), seen) == (400, "body_incomplete", [])


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip", "deflate"])
def test_row37_an_encoded_body_is_not_touched(encoding):
    reply, seen = whole(b"a", headers=[("Content-Encoding", encoding)])
    assert (reply.status, code(reply), seen) == (415, "content_encoding", [])


def test_row37_identity_is_no_encoding():
    assert whole(b"a", headers=[("Content-Encoding", "identity")])[0].status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png", "x"])
def test_row36_any_content_type_is_taken(kind):
    assert whole(b"a", headers=[("Content-Type", kind)])[0].status == 200


def test_row36_but_not_multipart():
    reply, seen = whole(b"a", headers=[("Content-Type", "Multipart/form-data; boundary=x")])
    assert (reply.status, code(reply), seen) == (415, "multipart", [])


# UntilGone


def test_a_caller_who_leaves_ends_the_work():
    ended = []

    async def work(scope, receive, send):
        try:
            await asyncio.sleep(5)
        finally:
            ended.append(True)

    scope = scope_of("POST", "/service")
    app = stack(work, WholeBody, UntilGone)
    assert asyncio.run(call(app, scope, b"a", then_gone=True)) is None
    assert scope["state"]["status"] == 499
    assert ended == [True]


def test_an_error_of_the_work_is_the_answer():
    app = stack(raises(BadRequest("json_invalid", "no")), WholeBody, UntilGone)
    assert post(app, b"a").status == 400

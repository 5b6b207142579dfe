import asyncio

import pytest

from client.admission import FLOW_BYTES, Concurrency, NotWhileFull
from client.middleware import Errors, RequestId, WholeBody
from client.settings import Settings
from tests.client.asgi import answers, call, scope_of
from tests.client.test_middleware import code, post, raises


def none_left():
    return 0


def test_as_many_as_may_be_in_flight_and_one_more():
    async def main():
        release = asyncio.Event()

        async def wait(scope, receive, send):
            await release.wait()
            await answers()(scope, receive, send)

        limit = Concurrency(wait, Settings(max_in_flight=2), none_left)
        app = RequestId(Errors(limit))
        calls = [asyncio.ensure_future(call(app, scope_of("POST", "/service"))) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await call(app, scope_of("POST", "/service"))
        assert (refused.status, code(refused), refused.headers["retry-after"]) == (503, "busy", "1")
        release.set()
        assert [reply.status for reply in await asyncio.gather(*calls)] == [200, 200]
        assert (await call(app, scope_of("POST", "/service"))).status == 200
        assert limit.in_flight == 0

    asyncio.run(main())


def test_a_full_server_refuses_before_the_body_is_read():
    async def main():
        slots = Concurrency(answers(), Settings(max_in_flight=1), none_left)
        slots.in_flight = 1
        app = RequestId(Errors(NotWhileFull(WholeBody(slots), slots)))
        refused = await asyncio.wait_for(call(app, scope_of("POST", "/service"), b"a", 60.0, b"b"), 5)
        assert (refused.status, code(refused)) == (503, "busy")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")

    asyncio.run(main())


async def done(scope, receive, send):
    """An application whose body has been read before."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize(
    ("size", "flow_seconds", "status"),
    [(FLOW_BYTES, 60.0, 503), (FLOW_BYTES, 0.0, 200), (FLOW_BYTES - 1, 60.0, 200)],
    ids=["a slot is kept for a large body", "but not for long", "and not for one that drips"],
)
def test_while_another_body_comes(monkeypatch, size, flow_seconds, status):
    monkeypatch.setattr("client.admission.FLOW_SECONDS", flow_seconds)

    async def main():
        slots = Concurrency(done, Settings(max_in_flight=1), none_left)
        app = RequestId(Errors(NotWhileFull(WholeBody(slots), slots)))
        pause, go_on = asyncio.Event(), asyncio.Event()

        async def pausing(scope, receive, send):
            """The application, and a caller who pauses before the end of the body."""

            async def paused():
                message = await receive()
                if not message.get("more_body"):
                    pause.set()
                    await go_on.wait()
                return message

            await app(scope, paused, send)

        first = asyncio.ensure_future(call(pausing, scope_of("POST", "/service"), b"a" * size, b"b"))
        await pause.wait()
        await asyncio.sleep(0.01)  # what is due at once is done before this ends
        assert (await call(app, scope_of("POST", "/service"))).status == status
        go_on.set()
        assert (await first).status == 200
        assert not slots.coming

    asyncio.run(main())


def test_a_large_body_for_which_there_is_no_slot_is_not_read_to_its_end():
    async def main():
        slots = Concurrency(done, Settings(max_in_flight=1), none_left)
        app = RequestId(Errors(NotWhileFull(WholeBody(slots), slots)))
        large = b"a" * FLOW_BYTES
        begun = [asyncio.ensure_future(call(app, scope_of("POST", "/service"), large, 0.1, b"b")) for _ in range(2)]
        replies = await asyncio.gather(*begun)
        assert sorted(reply.status for reply in replies) == [200, 503]
        assert [reply.headers.get("connection") for reply in replies if reply.status == 503] == ["close"]

    asyncio.run(main())


def test_of_a_burst_the_refused_need_not_wait_for_the_work_of_the_admitted():
    order = []

    async def work(scope, receive, send):
        order.append("admitted")
        await done(scope, receive, send)

    async def main():
        app = RequestId(Errors(WholeBody(Concurrency(work, Settings(max_in_flight=8), none_left))))

        async def one():
            reply = await call(app, scope_of("POST", "/service"))
            if reply.status == 503:
                order.append("refused")

        await asyncio.gather(*(one() for _ in range(12)))

    asyncio.run(main())
    assert order.count("refused") == 4
    assert "admitted" not in order[: order.index("refused")]


def test_calls_that_run_on_without_their_callers_keep_their_slots():
    left = [2]
    app = RequestId(Errors(Concurrency(answers(), Settings(max_in_flight=2), lambda: left[0])))
    assert post(app).status == 503
    left[0] = 1
    assert post(app).status == 200


def test_a_slot_is_let_go_after_an_error():
    limit = Concurrency(raises(ValueError()), Settings(max_in_flight=1), none_left)
    for _ in range(3):
        assert post(RequestId(Errors(limit))).status == 500
    assert limit.in_flight == 0

"""What is counted of requests; what it comes to in a whole gateway is in test_app.py."""

import asyncio

from client.errors import CLOSE, ClientGone, TooLarge
from client.metrics import Metrics, Observe
from client.middleware import Errors, RequestId
from tests.client.asgi import answers, call, scope_of
from tests.client.test_middleware import raises


def observed(inner):
    """The application round `inner`, and a look at its meters."""
    metrics = Metrics()
    return RequestId(Observe(Errors(inner), metrics)), metrics.registry.get_sample_value


def test_a_refusal_is_over_when_its_answer_is_sent_and_not_when_the_rest_of_the_body_was_dropped(caplog):
    app, value = observed(raises(TooLarge("body_too_large", "no", CLOSE)))

    async def main():
        asking = asyncio.ensure_future(call(app, scope_of("POST", "/service"), b"a", 0.5, b"b"))
        await asyncio.sleep(0.1)
        assert not asking.done()
        assert value("face_requests_in_flight") == 0
        assert (await asking).status == 413

    caplog.set_level("INFO")
    asyncio.run(main())
    assert value("face_requests_in_flight") == 0
    assert value("face_request_seconds_count", {"route": "none"}) == 1
    assert value("face_request_seconds_sum", {"route": "none"}) < 0.1
    (line,) = [record.fields for record in caplog.records if record.name == "client.access"]
    assert line["seconds"] < 0.1


def test_a_request_is_in_flight_until_it_is_answered():
    async def look(scope, receive, send):
        seen.append(value("face_requests_in_flight"))
        await answers()(scope, receive, send)

    seen = []
    app, value = observed(look)
    asyncio.run(call(app, scope_of("POST", "/service")))
    assert seen == [1]
    assert value("face_requests_in_flight") == 0


def test_a_request_whose_caller_left_is_in_flight_no_longer():
    app, value = observed(raises(ClientGone("client_gone", "left")))
    assert asyncio.run(call(app, scope_of("POST", "/service"))) is None
    assert value("face_requests_in_flight") == 0
    assert value("face_requests_total", {"route": "none", "status": "499"}) == 1

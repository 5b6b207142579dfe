import asyncio
import threading
import time
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from client.connection import Connection
from tests.fakes.triton import BRITTLE, STURDY, FakeTriton, fails, held

MODEL = "facenet_embed"
SECONDS = 10.0  # for whatever must come


@pytest.fixture
def release(fake: FakeTriton) -> threading.Event:
    """Lets a brittle Triton answer, which does not before."""
    event = threading.Event()
    fake.version = BRITTLE
    fake.script(MODEL, held(event))
    return event


async def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {SECONDS:g} s"
        await asyncio.sleep(0.01)


async def ask(connection: Connection, seconds: float) -> None:
    tensor = InferInput("IMAGE", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"a"]], np.object_))
    await connection.infer(MODEL, [tensor], client_timeout=seconds)


async def ask_in_vain(connection: Connection) -> None:
    """Have a caller wait for 0.2 s, which must be told in time that there is no answer."""
    with pytest.raises(InferenceServerException) as error:
        await asyncio.wait_for(ask(connection, 0.2), SECONDS)
    assert error.value.status() == str(grpc.StatusCode.DEADLINE_EXCEEDED)


async def cancel(fake: FakeTriton, connection: Connection) -> None:
    """Have a caller cancelled while Triton has the call."""
    caller = asyncio.ensure_future(ask(connection, 30.0))
    await until(lambda: fake.calls, "the call comes")
    caller.cancel()
    await asyncio.wait((caller,))
    assert caller.cancelled()


def test_a_sturdy_triton_is_told_that_nobody_waits(fake: FakeTriton) -> None:
    fake.version = STURDY
    fake.script(MODEL, held(threading.Event()))
    late: list[str] = []

    async def main() -> None:
        async with Connection(fake.url, late.append) as connection:
            await connection.meet(SECONDS)
            await ask_in_vain(connection)
            assert connection.left == 0
            await until(lambda: all(call.cancelled for call in fake.calls), "the call whose time is up ends")
            fake.calls.clear()
            await cancel(fake, connection)
            assert connection.left == 0
            await until(lambda: fake.calls[-1].cancelled, "the call that was cancelled ends")

    asyncio.run(main())
    assert fake.calls[-1].seconds < 40  # gRPC rounds it up
    assert "deadline_ms" not in fake.calls[-1].parameters
    assert late == []


@pytest.mark.parametrize("meet", [True, False], ids=["known", "not-yet-known"])
def test_a_call_to_a_brittle_triton_is_never_cut_off(fake: FakeTriton, release: threading.Event, meet: bool) -> None:
    late: list[str] = []

    async def main() -> None:
        async with Connection(fake.url, late.append) as connection:
            if meet:
                await connection.meet(SECONDS)
            await ask_in_vain(connection)
            assert (connection.left, late) == (1, [])
            await until(lambda: fake.calls, "the call comes")
            release.set()
            await until(lambda: connection.left == 0, "the call ends")

    asyncio.run(main())
    assert not fake.calls[-1].cancelled
    assert fake.calls[-1].seconds > 30
    assert late == [MODEL]


def test_a_caller_who_is_cancelled_leaves_the_call_alone(fake: FakeTriton, release: threading.Event) -> None:
    late: list[str] = []

    async def main() -> None:
        async with Connection(fake.url, late.append) as connection:
            await cancel(fake, connection)
            assert connection.left == 1
            release.set()
            await until(lambda: connection.left == 0, "the call ends")

    asyncio.run(main())
    assert not fake.calls[-1].cancelled
    assert late == [MODEL]


def test_a_brittle_triton_is_told_when_the_caller_will_have_gone(fake: FakeTriton) -> None:
    fake.version = BRITTLE

    async def main() -> None:
        async with Connection(fake.url, lambda model: None) as connection:
            await ask(connection, 30.0)

    before = time.time()
    asyncio.run(main())
    deadline = fake.calls[-1].parameters["deadline_ms"]
    assert round((before + 30) * 1000) <= deadline <= round((time.time() + 30) * 1000)


def test_what_fails_late_is_no_answer(fake: FakeTriton, release: threading.Event) -> None:
    fake.script(MODEL, held(release, fails(grpc.StatusCode.INTERNAL, "no")))
    late: list[str] = []

    async def main() -> None:
        async with Connection(fake.url, late.append) as connection:
            await ask_in_vain(connection)
            assert connection.left == 1
            release.set()
            await until(lambda: connection.left == 0, "the call ends")

    asyncio.run(main())
    assert late == []

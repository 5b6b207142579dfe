import asyncio
import time

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from client.connection import Connection
from tests.fakes.triton import BRITTLE, STURDY, FakeTriton, fails, sleeps

MODEL = "facenet_embed"


async def ask(connection: Connection, seconds: float) -> None:
    tensor = InferInput("IMAGE", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"a"]], np.object_))
    await connection.infer(MODEL, [tensor], client_timeout=seconds)


def leave(fake: FakeTriton, version: str, meet: bool = True) -> tuple[Connection, list[str]]:
    """A call that takes 0.5 s, to a Triton of this version, whose caller waits for 0.2 s and looks again after 1 s."""
    fake.version = version
    fake.script(MODEL, sleeps(0.5))
    late: list[str] = []

    async def main() -> Connection:
        async with Connection(fake.url, late.append) as connection:
            if meet:
                await connection.meet(1.0)
            start = time.monotonic()
            with pytest.raises(InferenceServerException) as error:
                await ask(connection, 0.2)
            assert error.value.status() == str(grpc.StatusCode.DEADLINE_EXCEEDED)
            assert time.monotonic() - start < 0.45
            assert connection.left == (not fake.calls[-1].cancelled if version == BRITTLE else 0)
            await asyncio.sleep(0.8)
        return connection

    return asyncio.run(main()), late


def test_a_sturdy_triton_is_told_that_nobody_waits(fake: FakeTriton) -> None:
    connection, late = leave(fake, STURDY)
    assert fake.calls[-1].cancelled
    assert fake.calls[-1].seconds < 0.3
    assert "deadline_ms" not in fake.calls[-1].parameters
    assert (connection.left, late) == (0, [])


@pytest.mark.parametrize("meet", [True, False], ids=["known", "not-yet-known"])
def test_a_call_to_a_brittle_triton_is_never_cut_off(fake: FakeTriton, meet: bool) -> None:
    connection, late = leave(fake, BRITTLE, meet)
    assert not fake.calls[-1].cancelled
    assert fake.calls[-1].seconds > 30
    assert (connection.left, late) == (0, [MODEL])


def test_a_caller_who_is_cancelled_leaves_the_call_alone(fake: FakeTriton) -> None:
    fake.version = BRITTLE
    fake.script(MODEL, sleeps(0.4))

    async def main() -> None:
        async with Connection(fake.url, lambda model: None) as connection:
            caller = asyncio.ensure_future(ask(connection, 5.0))
            await asyncio.sleep(0.2)
            caller.cancel()
            await asyncio.wait((caller,))
            assert (caller.cancelled(), connection.left) == (True, 1)
            await asyncio.sleep(0.5)
            assert connection.left == 0

    asyncio.run(main())
    assert not fake.calls[-1].cancelled


def test_a_brittle_triton_is_told_when_the_caller_will_have_gone(fake: FakeTriton) -> None:
    fake.version = BRITTLE

    async def main() -> None:
        async with Connection(fake.url, lambda model: None) as connection:
            await ask(connection, 5.0)

    asyncio.run(main())
    assert fake.calls[-1].parameters["deadline_ms"] / 1000 == pytest.approx(time.time() + 5, abs=1)


def test_what_fails_late_is_no_answer(fake: FakeTriton) -> None:
    fake.version = BRITTLE
    late: list[str] = []

    async def slow_failure() -> None:
        await asyncio.sleep(0.4)
        fails(grpc.StatusCode.INTERNAL, "no")(None)

    fake.script(MODEL, lambda call: slow_failure())

    async def main() -> None:
        async with Connection(fake.url, late.append) as connection:
            with pytest.raises(InferenceServerException):
                await ask(connection, 0.2)
            await asyncio.sleep(0.5)
            assert connection.left == 0

    asyncio.run(main())
    assert late == []

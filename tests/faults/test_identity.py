"""Nobody is told about another's face, however many ask at once; `scripts/load identity --minutes 10` asks longer."""

import asyncio
import time

from tests.conftest import Server
from tests.load.callers import Tally, identity, learn

CALLERS, PICTURES, SECONDS = 64, 200, 20


def test_every_answer_is_the_callers_own_when_64_ask_at_once(server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    known, tally = asyncio.run(learn(port, PICTURES)), Tally()
    end = time.monotonic() + SECONDS
    asyncio.run(identity(port, CALLERS, known, tally, lambda: time.monotonic() < end))
    assert (tally.wrong, tally.swapped) == (0, 0)
    assert set(tally.statuses) <= {200, 503, 504}
    assert tally.statuses[200] > CALLERS

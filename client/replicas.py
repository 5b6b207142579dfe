"""The Tritons behind the gateway: found by name, watched every second, picked by how busy they are.

A replica that stops answering is dropped within seconds and taken back by itself. The gateway does its own balancing,
because gRPC's sees only broken connections: a Triton that hangs keeps its connection.
"""

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable, Sequence

import grpc
from tritonclient.utils import InferenceServerException

from .canary import NEEDS, QUESTIONS, Canary, Health
from .connection import Connection
from .contract import MODELS
from .evidence import Evidence
from .faces import Network
from .identity import Identity

logger = logging.getLogger("client.replicas")

PROBE_EVERY_SECONDS = 1.0
CANARY_EVERY_SECONDS = 2.0
CANARY_SECONDS = 2.0
PROBE_SECONDS = 1.5
COUNT_SECONDS = 0.5  # it may hang, which the next probe tells
SILENT_PROBES = 2  # one slow answer of a busy machine is no reason to drop it
RESOLVE_EVERY_SECONDS = 5.0


class Replica:
    """One Triton, by its address, and whether it can answer."""

    def __init__(self, address: str, canary: Canary, strange: Callable[[], None]) -> None:
        """strange: called while it answers wrongly and has not been known since it came up"""
        self.address = address
        self._strange = strange
        self.known = False  # whether all its answers were right once since it came up
        self._evidence = Evidence()
        self.identities: dict[Network, Identity] = {}  # read when first asked for, anew after each restart
        self._canary = canary
        self._questioned = -math.inf
        self.ill: set[str] = set()  # canary questions that it fails, whatever it says of itself
        self.wrong: set[str] = set()  # those to which its last answer was wrong
        self._right: set[str] = set()  # those that it has answered rightly since it came up
        self.client = Connection(address, self.answered)
        self.up = False
        self.in_flight = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # done when it is found to hang
        self.probed = asyncio.Event()
        self._poked = asyncio.Event()
        self._silent = 0
        self._watching = asyncio.ensure_future(self._watch())

    @property
    def well(self) -> bool:
        """Whether every model can answer."""
        return self.up and not self.ill

    def can(self, model: str) -> bool:
        """Whether this model can answer, even where another cannot."""
        return self.up and not NEEDS[model] & self.ill

    def asked(self, model: str) -> None:
        """A caller waits for this model."""
        self._evidence.asked(model)

    def answered(self, model: str) -> None:
        """The model answered a caller, if only that the picture is bad."""
        self._evidence.answered(model)

    def poke(self) -> None:
        """Look at it now: a call to it failed."""
        self._poked.set()

    async def close(self) -> None:
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching
        await self._canary.forget(self.client)
        await self.client.close()

    async def _watch(self) -> None:
        while True:
            self._poked.clear()
            before = self.well
            try:
                await self._look()
            except Exception as error:  # whatever it is, the next look must come
                logger.error("looking at Triton at %s failed with %s", self.address, type(error).__name__)
                self.up = False
            if self._silent >= SILENT_PROBES:
                self.lost.set_result(None)
                self.lost = asyncio.get_running_loop().create_future()
            if self.well != before:
                logger.warning("Triton at %s is %s", self.address, "ready" if self.well else "not ready")
            if not self.well:
                self.identities.clear()
            self.probed.set()
            # A timer rather than wait_for, which before Python 3.12 may lose the cancellation that ends this loop.
            pause = 0.0 if self._silent == 1 else PROBE_EVERY_SECONDS
            timer = asyncio.get_running_loop().call_later(pause, self._poked.set)
            try:
                await self._poked.wait()
            finally:
                timer.cancel()

    async def _look(self) -> None:
        """Ask what it says of itself, then its models; one that has just come up is believed only after both."""
        up = await self._probe()
        if up and not self.up:
            self.ill, self._questioned = set(QUESTIONS), -math.inf
            self.wrong, self._right, self._evidence = set(), set(), Evidence()
            await self._canary.forget(self.client)  # answers from before it went
            with contextlib.suppress(InferenceServerException):
                await self.client.meet(PROBE_SECONDS)
                await self._count(COUNT_SECONDS)  # before any question
        self.up = up
        if self.up and not self._silent:  # whether it hangs is asked at once again, and nothing else meanwhile
            self.ill = await self._ill_models()
        self.known = self.up and (self.known or self._right >= QUESTIONS.keys())
        if self.up and not self.known and self.wrong:
            self._strange()

    async def _probe(self) -> bool:
        """Whether it and every model of the contract say that they can answer."""
        asked = [self.client.is_server_ready(client_timeout=PROBE_SECONDS)]
        asked += [self.client.is_model_ready(model, client_timeout=PROBE_SECONDS) for model in MODELS]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        silent = any(isinstance(answer, InferenceServerException) and _timed_out(answer) for answer in answers)
        self._silent = self._silent + 1 if silent else 0
        if silent and self._silent < SILENT_PROBES:
            return self.up
        return all(answer is True for answer in answers)

    async def _ill_models(self) -> set[str]:
        """Models that give no answer or a wrong one, asked now and then. Answers to others prove a busy model well."""
        asked = time.monotonic()
        if asked - self._questioned < CANARY_EVERY_SECONDS:
            return self.ill
        health = await self._canary.ask(self.client, CANARY_SECONDS)
        if all(found is Health.SILENT for found in health.values()):
            self._silent = 1  # it may have stopped in the midst of its questions, which then count as a probe
        try:
            await self._count(COUNT_SECONDS)
        except InferenceServerException as error:
            if _timed_out(error):  # as above, where some questions were answered before
                self._silent = 1
        self._questioned = asked
        silent = self._evidence.silent(health, asked)
        self.wrong = self.wrong & silent | {model for model, found in health.items() if found is Health.FAILING}
        self._right = self._right - self.wrong | {model for model, found in health.items() if found is Health.WELL}
        ill = self.wrong | {model for model in silent if not (self.known and self._evidence.busy(model, asked))}
        if ill:
            logger.warning("Triton at %s does not answer for %s", self.address, ", ".join(sorted(ill)))
        return ill

    async def _count(self, seconds: float) -> None:
        """Learn how many requests each model has answered that were no questions of ours."""
        told = await self.client.get_inference_statistics(client_timeout=seconds)
        own = self._canary.answers
        self._evidence.counted(
            {
                model.name: model.inference_stats.success.count - own(self.client, model.name)
                for model in told.model_stats
            }
        )


def _timed_out(error: InferenceServerException) -> bool:
    return bool(error.status() == str(grpc.StatusCode.DEADLINE_EXCEEDED))


class Replicas:
    """All replicas of a comma-separated list of host:port; a host name stands for each of its addresses."""

    def __init__(self, urls: str, resolve: Callable[[str], Sequence[str]] | None = None) -> None:
        self._urls = [url.strip().removeprefix("dns:///") for url in urls.split(",") if url.strip()]
        self._resolve = resolve or addresses_of
        self._found: dict[str, Sequence[str]] = {}  # what each URL last stood for
        self._replicas: dict[str, Replica] = {}
        self._canary = Canary()  # one for all: replicas whose answers differ serve different weights
        self._turn = 0
        self._resolving: asyncio.Future[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Find the replicas and look at each once."""
        await self._refresh()
        await asyncio.gather(*(replica.probed.wait() for replica in self._replicas.values()))
        self._resolving = asyncio.ensure_future(self._keep_resolving())

    async def close(self) -> None:
        if self._resolving is not None:
            self._resolving.cancel()
        for leaving in self._leaving:
            leaving.cancel()  # which closes it at once
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await asyncio.gather(*(replica.close() for replica in self._replicas.values()))

    def ready(self) -> bool:
        """Whether at least one replica can answer."""
        return any(replica.well for replica in self._replicas.values())

    def live(self) -> bool:
        """Whether at least one calls itself ready, whatever its models answer."""
        return any(replica.up for replica in self._replicas.values())

    def waits_for(self) -> dict[str, set[str]]:
        """The questions whose silence keeps those that are up from being well, where none is answered wrongly.

        Each with the models that it goes through.
        """
        silent = [replica.ill for replica in self._replicas.values() if replica.up and not replica.wrong]
        return {question: set(QUESTIONS[question].runs) for ill in silent for question in ill}

    def pick(self, model: str, but: Replica | None = None) -> Replica | None:
        """The replica that can run `model` with the fewest calls in flight, in turn where several have; never `but`."""
        ready = [replica for replica in self.able(model) if replica is not but]
        if not ready:
            return None
        self._turn += but is None
        start = self._turn % len(ready)
        return min(ready[start:] + ready[:start], key=lambda replica: replica.in_flight + replica.client.left)

    def able(self, model: str) -> list[Replica]:
        """Those that can run `model`."""
        return [replica for replica in self._replicas.values() if replica.can(model)]

    def believed(self) -> list[Replica]:
        """Those that are up and gave the known answers since, though a model of them may fail now."""
        return [replica for replica in self._replicas.values() if replica.up and replica.known]

    def left(self) -> int:
        """How many calls keep a healthy replica busy though nobody waits for them any more."""
        return sum(replica.client.left for replica in self._replicas.values() if replica.well)

    def embedding_size(self, network: Network) -> int | None:
        """How many numbers the embeddings of a network have: the same on every replica, or it is not well."""
        return self._canary.embedding_size(network)

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_EVERY_SECONDS)
            await self._refresh()

    async def _refresh(self) -> None:
        """Take in new addresses and let go of those that are gone; a name that fails to resolve stands for its last."""
        for url in self._urls:
            try:
                self._found[url] = await asyncio.get_running_loop().run_in_executor(None, self._resolve, url)
            except (OSError, UnicodeError):  # UnicodeError: no name of the DNS, which has labels of 1 to 63 characters
                logger.warning("cannot resolve %s", url)
        found = {address for addresses in self._found.values() for address in addresses}
        for address in found - set(self._replicas):
            self._replicas[address] = Replica(address, self._canary, self._look_for_known)
        for address in set(self._replicas) - found:
            leaving = asyncio.ensure_future(_let_go(self._replicas.pop(address)))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def _look_for_known(self) -> None:
        """Where no replica is left that gave the known answers, others serve other weights, and theirs become known."""
        if not any(replica.known for replica in self._replicas.values()):
            self._canary.start_anew()


async def _let_go(replica: Replica) -> None:
    """Close a replica whose address is gone, but not before its calls are over, each of which has its deadline.

    It may be about to end in order; and closing cuts off the calls that `connection` never cuts off.
    """
    try:
        while replica.in_flight or replica.client.left:
            await asyncio.sleep(0.1)
    finally:
        await replica.close()


def addresses_of(url: str) -> list[str]:
    """The `ip:port` of each address that `host:port` stands for; raises OSError."""
    host, _, port = url.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    ips = {str(address[0]) for *_, address in found}
    return sorted(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in ips)

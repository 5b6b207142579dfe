"""Photos through replicas of Triton, simulated from the processor time that each step of a photo takes.

A replica has one core. Its steps share that core in slices, as Linux would have it: the detector takes one photo at a
time, the network all faces that wait, up to 32. The gateway hands a photo to the replica with the fewest in flight.
"""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import simpy

SLICE_SECONDS = 0.004
LARGEST_BATCH = 32
Steps = Generator[Any, Any, None]


@dataclass(frozen=True)
class Times:
    """Seconds of one core: of a photo with one face, and of a batch of faces in the network."""

    detect: float
    embed: float  # of a batch, whatever its size
    embed_face: float  # more for each face
    rest: float  # of Triton: gRPC, copies, ensemble
    gateway: float
    caller: float = 0.0  # where callers run on the replicas' cores, as they do in the check

    @property
    def triton(self) -> float:
        """Of Triton, for a photo that meets no other."""
        return self.rest + self.detect + self.embed + self.embed_face


@dataclass(frozen=True)
class Outcome:
    """Photos a second, and seconds an answer took."""

    rate: float
    mean: float
    p50: float
    p99: float

    @classmethod
    def of(cls, answers: list[float], seconds: float) -> "Outcome":
        ordered = sorted(answers) or [float("inf")]
        p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
        return cls(len(answers) / seconds, sum(ordered) / len(ordered), p50, p99)


class Replica:
    def __init__(self, world: simpy.Environment, times: Times) -> None:
        self.world, self.times = world, times
        self.core, self.detector = simpy.Resource(world), simpy.Resource(world)
        self.faces = simpy.Store(world)
        self.in_flight = 0
        world.process(self._embed())

    def answer(self) -> Steps:
        """One photo, from its arrival to its embedding."""
        self.in_flight += 1
        yield from work(self.world, self.core, self.times.rest)
        with self.detector.request() as turn:
            yield turn
            yield from work(self.world, self.core, self.times.detect)
        done = self.world.event()
        self.faces.put(done)
        yield done
        self.in_flight -= 1

    def _embed(self) -> Steps:
        while True:
            batch = [(yield self.faces.get())]
            while self.faces.items and len(batch) < LARGEST_BATCH:
                batch.append((yield self.faces.get()))
            yield from work(self.world, self.core, self.times.embed + self.times.embed_face * len(batch))
            for done in batch:
                done.succeed()


def work(world: simpy.Environment, core: simpy.Resource, seconds: float) -> Steps:
    """So many seconds of a core that others want too."""
    while seconds > 0:
        with core.request() as turn:
            yield turn
            yield world.timeout(min(SLICE_SECONDS, seconds))
        seconds -= SLICE_SECONDS


def closed(times: Times, replicas: int, callers: int, seconds: float, warm: float = 2.0) -> Outcome:
    """Callers who each send a photo as soon as they have their answer; gateway and callers use the replicas' cores."""

    def start(world: simpy.Environment, answer: Callable[[simpy.Resource], Steps], servers: list[Replica]) -> None:
        def call() -> Steps:
            while True:
                yield from answer(min(servers, key=lambda server: (server.core.count, len(server.core.queue))).core)

        for _ in range(callers):
            world.process(call())

    return _run(times, replicas, seconds, warm, start)


def arriving(times: Times, replicas: int, rate: float, seconds: float, warm: float = 5.0) -> Outcome:
    """Photos that arrive by chance, so many a second; the gateway has a core of its own."""

    def start(world: simpy.Environment, answer: Callable[[simpy.Resource], Steps], servers: list[Replica]) -> None:
        chance, front = random.Random(0), simpy.Resource(world)

        def arrive() -> Steps:
            while True:
                yield world.timeout(chance.expovariate(rate))
                world.process(answer(front))

        world.process(arrive())

    return _run(times, replicas, seconds, warm, start)


def _run(times: Times, replicas: int, seconds: float, warm: float, start: Callable[..., None]) -> Outcome:
    world = simpy.Environment()
    servers = [Replica(world, times) for _ in range(replicas)]
    answers: list[float] = []

    def answer(front: simpy.Resource) -> Steps:
        begun = world.now
        yield from work(world, front, times.gateway + times.caller)
        yield from min(servers, key=lambda server: server.in_flight).answer()
        if world.now >= warm:
            answers.append(world.now - begun)

    start(world, answer, servers)
    world.run(warm + seconds)
    return Outcome.of(answers, seconds)

"""`scripts/load`: what the server does under load, in one line of JSON a phase.

identity    64 callers, 200 pictures: is every answer the caller's own?
capacity    how many answers a second with callers who wait: C
hold        0.7 C, open arrivals at even distances: errors, times, memory; then at random moments
overload    2 C, open arrivals: answers a second, how fast the rest is refused, and whether all is normal 5 s later
faults      every fault of tests/faults under load; writes the table of docs/reliability.md anew
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time

from tests.conftest import PROJECT, Server, serving
from tests.faults.conftest import processes
from tests.hostile.memory import resident
from tests.load.callers import Tally, arrivals, body_of, closed, face, identity, learn

MIB = 1024 * 1024
WORK = ("capacity", "identity", "hold", "overload", "faults")
LOG = PROJECT / ".cache" / "load.log"
REPORT = PROJECT / "docs" / "reliability.md"


def mixed() -> list[tuple[str, bytes]]:
    """FaceNet embeddings of faces as JSON and as they are, and one of ArcFace in ten."""
    single = [("/service/FaceEmbedModel", body_of(face(number))) for number in range(6)]
    raw = [("/service/FaceEmbedModelAutoBatch", face(number)) for number in range(3)]
    return single + raw + [("/service/InsightFaceModel", face(9))]


def say(phase: str, tally: Tally, seconds: float, **more: object) -> None:
    answered = len(tally.seconds.get(200, ()))
    told = {
        "phase": phase,
        "seconds": round(seconds),
        "statuses": tally.statuses,
        "answers_a_second": round(answered / seconds, 1),
        "p50": round(tally.quantile(200, 0.5), 3),
        "p99": round(tally.quantile(200, 0.99), 3),
        **more,
    }
    print(json.dumps(told), flush=True)


def held(server: Server) -> dict[str, int]:
    """MiB of each process of the server, and of all."""
    sizes = resident(server.process.pid)
    named = {name: sizes.get(pid, 0) // MIB for name, pid in processes(server).items()}
    return {**named, "all": sum(sizes.values()) // MIB}


def hold(server: Server, port: int, a_second: float, seconds: float, five_idle_p50: float) -> None:
    """Six parts at even distances, what is promised of all but the first, and one part more at random moments.

    Random arrivals make a queue whatever serves them: at 0.7 C even one that loses no time between two requests has a
    p99 of seven times what each takes. Before all come as many callers as may be in flight: what the largest batches
    need is then there.
    """
    asyncio.run(closed(port, 64, 30, mixed()))
    parts, sizes = [], []
    for part in range(1, 7):
        parts.append(asyncio.run(arrivals(port, a_second, seconds / 6, mixed(), regular=True)))
        sizes.append(held(server))
        say(f"0.7 C, part {part} of 6", parts[-1], seconds / 6, memory_mib=sizes[-1])
    seen = [tally.quantile(200, 0.99) for tally in parts[1:]]
    told = {
        "phase": "after the warm-up",
        "answers": sum(tally.statuses.get(200, 0) for tally in parts[1:]),
        "errors": sum(sum(tally.statuses.values()) - tally.statuses.get(200, 0) for tally in parts[1:]),
        "p99": [round(min(seen), 3), round(max(seen), 3)],
        "five_idle_p50": round(five_idle_p50, 3),
        "memory_last_to_first": round(sizes[-1]["all"] / sizes[1]["all"], 3),
    }
    print(json.dumps(told), flush=True)
    random = asyncio.run(arrivals(port, a_second, seconds / 6, mixed()))
    say("0.7 C at random moments", random, seconds / 6)


def run(server: Server, work: str, minutes: float) -> None:
    port, seconds = int(server.url.rpartition(":")[2]), 60 * minutes
    requests = mixed()
    if work == "identity":
        tally = Tally()
        known = asyncio.run(learn(port, 200))
        end = time.monotonic() + seconds
        asyncio.run(identity(port, 64, known, tally, lambda: time.monotonic() < end))
        say("identity", tally, seconds, wrong=tally.wrong, swapped=tally.swapped)
        return
    idle = asyncio.run(closed(port, 1, 10, requests))
    say("one caller", idle, 10)
    print(json.dumps({"memory_mib": held(server)}), flush=True)
    spent = min(max(seconds, 15.0), 60.0)
    measured = asyncio.run(closed(port, 16, spent, requests))
    capacity = len(measured.seconds.get(200, ())) / spent
    say("capacity", measured, spent)
    if work == "hold":
        hold(server, port, 0.7 * capacity, seconds, five_idle_p50=5 * idle.quantile(200, 0.5))
    if work == "overload":
        tally = asyncio.run(arrivals(port, 2 * capacity, seconds, requests))
        refusals = {
            "refused_p50": round(tally.quantile(503, 0.5), 3),
            "refused_p99": round(tally.quantile(503, 0.99), 3),
        }
        say(
            "2 C",
            tally,
            seconds,
            goodput_of_c=round(len(tally.seconds.get(200, ())) / seconds / capacity, 2),
            **refusals,
        )
        time.sleep(5)
        say("one caller, 5 s later", asyncio.run(closed(port, 1, 5, requests)), 5)


def run_faults() -> int:
    """The tests of faults, whose rows take the place of those in REPORT; pytest's exit status."""
    files = [str(PROJECT / "tests" / "faults" / name) for name in ("test_processes.py", "test_loops.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", *files]
    tests = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    rows = [line for line in tests.stdout.splitlines() if line.startswith("| ")]
    print("\n".join(tests.stdout.splitlines()[-len(rows) - 5 :]))
    if tests.returncode == 0:
        table = "\n".join(rows) + "\n"
        REPORT.write_text(re.sub(r"(?m)^\| fault \|.*\n(?:\|.*\n)*", lambda _: table, REPORT.read_text()))
    return tests.returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/load", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", choices=WORK)
    parser.add_argument("--minutes", type=float, default=1.0, help="of the phase itself (default 1)")
    args = parser.parse_args()
    print(json.dumps({"cores": os.cpu_count(), "load_before": os.getloadavg()}), flush=True)
    if args.work == "faults":
        return run_faults()
    with LOG.open("w") as log, serving(PROJECT / "model_repository", log=log) as server:
        run(server, args.work, args.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())

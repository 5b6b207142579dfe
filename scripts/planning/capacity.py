"""Prints what a photo costs here, whether the simulation foretells two Tritons, and how many a rate of photos needs."""

import argparse
import io
import math
import os
import signal
import sys
from contextlib import ExitStack

from PIL import Image
from skimage.data import astronaut

from scripts.benchmarks.networks import only
from scripts.planning.measurement import LOG, Replicas, measure
from scripts.planning.simulation import Outcome, Times, arriving, closed

CALLERS = (1, 2, 4, 8, 16)
RATES = (1, 10, 100)
CELLS = 100  # of the highest rate: beyond it Tritons are divided among gateways that know nothing of each other
SLOWEST_SECONDS = 1.0  # that one photo in a hundred may take


def photo() -> bytes:
    """A JPEG of 512x512 pixels with one face."""
    file = io.BytesIO()
    Image.fromarray(astronaut()).save(file, "JPEG", quality=90)
    return file.getvalue()


def two_cores() -> list[int]:
    """The first two that this process may run on, as `only(2)` takes them; ends the program where there is one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("capacity: this takes two cores, and it may run on one only; let it run on more (taskset, a cpuset)")
    return cores[:2]


def replicas_for(times: Times, rate: float) -> tuple[int, Outcome]:
    """The fewest replicas that answer all but one in a hundred within SLOWEST_SECONDS."""
    count = max(math.ceil(rate * times.triton), 1)
    while True:
        outcome = arriving(times, count, rate, max(60.0, 2000 / rate))
        if outcome.p99 <= SLOWEST_SECONDS:
            return count, outcome
        count += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="each measurement takes (%(default)s)")
    seconds = parser.parse_args().seconds
    first, second = two_cores()
    LOG.write_text("")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending what was started
    picture = photo()
    with ExitStack() as stack:
        times = measure(Replicas(stack, {first}), picture, seconds)
    print("one photo, milliseconds of one core:")
    for name, value in vars(times).items():
        print(f"  {name:10} {1e3 * value:6.1f}")
    print(f"  one core answers {1 / times.triton:.1f} photos a second; a gateway's core {1 / times.gateway:.0f}")

    print("\ntwo Tritons of one core, with gateway and callers on the same two cores: measured, simulated")
    with only(2), ExitStack() as stack:
        two = Replicas(stack, {first}, {second})
        for callers in CALLERS:
            seen, foretold = two.load(picture, callers, seconds), closed(times, 2, callers, 60.0)
            print(
                f"  {callers:2} callers: {seen.rate:5.1f} {foretold.rate:5.1f} photos a second"
                f" ({foretold.rate / seen.rate - 1:+.0%}); median {1e3 * seen.p50:4.0f} {1e3 * foretold.p50:4.0f} ms,"
                f" 99 % {1e3 * seen.p99:4.0f} {1e3 * foretold.p99:4.0f} ms"
            )

    with only(2), ExitStack() as stack:
        print("\none Triton of both cores, with gateway and callers on them, too: measured")
        one = Replicas(stack, {first, second})
        for callers in CALLERS:
            seen = one.load(picture, callers, seconds)
            print(f"  {callers:2} callers: {seen.rate:5.1f} photos a second; median {1e3 * seen.p50:4.0f} ms")

    print(f"\nreplicas of one core, so that 99 % are answered in {SLOWEST_SECONDS:.0f} s: simulated")
    for rate in RATES:
        count, outcome = replicas_for(times, rate)
        print(
            f"  {rate:5} photos a second: {count:3} replicas, {rate * times.triton / count:.0%} busy;"
            f" median {1e3 * outcome.p50:.0f} ms, 99 % {1e3 * outcome.p99:.0f} ms;"
            f" {rate * times.gateway:.2f} cores of gateways"
        )
    print(f"  {CELLS * rate:5} photos a second: {CELLS} times that, {CELLS * count} replicas")


if __name__ == "__main__":
    main()

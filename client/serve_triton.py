"""Run Triton alone, for gateways elsewhere, as the Triton images do.

Example: python -m client triton --address 10.0.0.5

It ends as soon as one of its models no longer answers, with status 1: whatever runs the container starts it again.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from client.canary import Canary, Health
from client.connection import Connection
from client.embedded import PROJECT, EmbeddedTriton, Ports
from client.installation import LaunchError
from client.serve import interrupt_on_signal, port_number, require_free, require_settings, told
from client.stubs import Stubs
from client.supervisor import START_SECONDS
from client.weights import require_prepared

POLL_SECONDS = 0.5
ASK_EVERY_SECONDS = 5.0
ANSWER_SECONDS = 12.0  # that a question waits in one turn
WRONG_ANSWERS = 2  # in a row: one may be an accident


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = Ports()
    parser.add_argument(
        "--repository",
        type=Path,
        default=PROJECT / "model_repository",
        help="model repository that scripts/prepare-models filled (default: model_repository)",
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="of gRPC and metrics, for a network that is yours alone (%(default)s)"
    )
    parser.add_argument(
        "--http-port", type=port_number, default=ports.http, help="HTTP, on loopback only (%(default)s)"
    )
    parser.add_argument("--grpc-port", type=port_number, default=ports.grpc, help="gRPC (%(default)s)")
    parser.add_argument("--metrics-port", type=port_number, default=ports.metrics, help="metrics (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 1 where Triton does not start, ends, or has a model that does not answer."""
    ports = Ports(args.http_port, args.grpc_port, args.metrics_port)
    triton = EmbeddedTriton(args.repository, ports, args.address)
    signal.signal(signal.SIGTERM, interrupt_on_signal)
    try:
        require_settings()
        require_free(*triton.listeners)
        triton.require_plain_path()
        require_prepared(args.repository)
        triton.start()
        triton.wait_ready(START_SECONDS)
        print("Ready.", flush=True)
        asyncio.run(_watch(triton))
    except (LaunchError, OSError) as error:
        print(f"triton: {told(error)}", file=sys.stderr)
        triton.stop(signal.SIGKILL)  # asked nicely, it would wait for the dead model until its time is up
        return 1
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # nobody may read any more
            print("Stopping ...", flush=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not leave half of it running
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        triton.stop()
    return 0


async def _watch(triton: EmbeddedTriton) -> None:
    """Raises LaunchError as soon as Triton ends or a model dies, hangs or fails."""
    await asyncio.gather(_look(triton), _ask(triton))


async def _look(triton: EmbeddedTriton) -> None:
    """Whether Triton runs and its models work."""
    stubs = Stubs(triton)
    while triton.alive():
        if wrong := stubs.look():
            raise LaunchError(f"the model {wrong}")
        await asyncio.sleep(POLL_SECONDS)
    raise LaunchError("tritonserver ended by itself")


async def _ask(triton: EmbeddedTriton) -> None:
    """Ask every model a question with a known answer, again and again.

    No answer says nothing: many callers may wait before the question. Whether the model works, `_look` sees.
    """
    address = f"{triton.host}:{triton.ports.grpc}"
    client = Connection(address, answered_late=lambda model: None)
    canary = Canary()
    failures: dict[str, int] = {}
    while True:
        health = await canary.ask(client, ANSWER_SECONDS)
        failures = {name: failures.get(name, 0) + 1 for name, state in health.items() if state is Health.FAILING}
        for name, times in failures.items():
            if times >= WRONG_ANSWERS:
                raise LaunchError(f"the model {name} answers wrongly")
        await asyncio.sleep(POLL_SECONDS if failures else ASK_EVERY_SECONDS)

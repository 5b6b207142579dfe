"""Keeps tritonserver and the gateway running: whoever dies is started again, whoever hangs is ended first.

A process supervisor sees only that a process ended. Triton 2.51 leaves a model's dead Python process dead and a hung
one hung, so what counts here is what the gateway's readiness says, which asks every model, and what the models'
processes are seen to do.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPException

from client.embedded import DIRECT, EmbeddedTriton, die_with_parent, reached
from client.installation import LaunchError
from client.stubs import Stubs

log = logging.getLogger("client.supervisor")

POLL_SECONDS = 0.5
NOT_READY_SECONDS = 8.0  # that a running Triton may fail the gateway's questions
NOT_LIVE_SECONDS = 4.0  # that a running gateway may leave /health/live unanswered
START_SECONDS = 180.0  # for Triton to load every model
STOP_SECONDS = 15.0  # for the gateway to finish what is in flight
LONGEST_PAUSE_SECONDS = 30.0  # between two attempts to start what will not start


class Gateway:
    """The gateway's process and what it says of itself."""

    def __init__(self, port: int, triton: str) -> None:
        self.port = port
        self.environment = {**os.environ, "FACE_PORT": str(port), "FACE_TRITON_URL": triton}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        return f"http://{reached(os.environ.get('FACE_HOST') or '127.0.0.1')}:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "client", "gateway"]
        self.process = subprocess.Popen(
            command, env=self.environment, start_new_session=True, preexec_fn=die_with_parent
        )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def live(self) -> bool:
        return self._answers("/health/live")

    def ready(self) -> bool:
        return self._answers("/health/ready")

    def stop(self) -> None:
        """Let it finish what is in flight, then end it."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _answers(self, path: str) -> bool:
        with contextlib.suppress(OSError, HTTPException), DIRECT.open(self.url + path, timeout=2) as answer:
            return bool(answer.status == 200)
        return False


class Patience:
    """How long something has been wrong without a break."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: float | None = None

    def exhausted(self, well: bool) -> bool:
        """Whether it has been wrong for longer than `seconds`; well again, it starts anew."""
        if well:
            self.since = None
            return False
        self.since = time.monotonic() if self.since is None else self.since
        return time.monotonic() - self.since > self.seconds

    def renew(self) -> None:
        self.since = None


def start(triton: EmbeddedTriton, gateway: Gateway) -> None:
    """Start both and return when they can answer; raises LaunchError."""
    triton.start()
    triton.wait_ready(START_SECONDS)
    gateway.start()
    deadline = time.monotonic() + STOP_SECONDS
    while not gateway.ready():
        if not gateway.alive() or time.monotonic() > deadline:
            raise LaunchError("the gateway did not start; its last lines are above")
        time.sleep(0.05)


def supervise(triton: EmbeddedTriton, gateway: Gateway) -> None:
    """Watch both for ever."""
    not_ready, not_live = Patience(NOT_READY_SECONDS), Patience(NOT_LIVE_SECONDS)
    stubs = Stubs(triton)
    again, pause = time.monotonic(), 1.0  # when the gateway may be started again, and how long after that at least
    while True:
        time.sleep(POLL_SECONDS)
        if (not gateway.alive() or not_live.exhausted(gateway.live())) and time.monotonic() >= again:
            log.warning("the gateway is %s; it is started again", "silent" if gateway.alive() else "gone")
            lasted = time.monotonic() - again > LONGEST_PAUSE_SECONDS
            pause = 1.0 if lasted else min(2 * pause, LONGEST_PAUSE_SECONDS)
            again = time.monotonic() + pause
            gateway.kill()
            with contextlib.suppress(OSError):  # no memory for another process: the next attempt may have it
                gateway.start()
            not_live.renew()
            not_ready.renew()
        wrong = stubs.look() if triton.alive() else "it has ended"
        # A gateway that is gone says nothing of Triton, which others may be asking.
        if wrong or not_ready.exhausted(not gateway.alive() or gateway.ready()):
            log.warning("Triton is started again: %s", wrong or "not every model answers")
            restart(triton)
            stubs = Stubs(triton)
            not_ready.renew()


def restart(triton: EmbeddedTriton) -> None:
    """End what is left of Triton and start it until it is ready."""
    pause = 1.0
    while True:
        triton.stop(signal.SIGKILL)
        try:
            triton.start()
            triton.wait_ready(START_SECONDS)
            return
        except (LaunchError, OSError) as error:  # OSError: no memory or no room for another process
            log.error("%s; next attempt in %.0f s", error, pause)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

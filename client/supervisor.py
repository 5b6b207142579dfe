"""Keeps tritonserver and the gateway running: whoever dies is started again, whoever hangs is ended first.

A process supervisor sees only that a process ended. Triton 2.51 leaves a model's dead Python process dead and a hung
one hung, so what counts here is what the gateway's readiness says, which asks every model, and what the models'
processes are seen to do.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPException
from urllib.error import HTTPError

from client.embedded import DIRECT, PROJECT, EmbeddedTriton, die_with_parent, reached
from client.installation import LaunchError
from client.stubs import Stubs

log = logging.getLogger("client.supervisor")

POLL_SECONDS = 0.5
NOT_READY_SECONDS = 8.0  # that a running Triton may fail the gateway's questions
NOT_LIVE_SECONDS = 4.0  # that a running gateway may leave /health/live unanswered
START_SECONDS = 180.0  # for Triton to load every model
STOP_SECONDS = 15.0  # for the gateway to finish what is in flight
LONGEST_PAUSE_SECONDS = 30.0  # between two attempts to start what will not start
# With -m, Python before 3.11 takes packages of the folder it is run in before those of PYTHONPATH.
OURS = f"import sys; sys.path[0] = {str(PROJECT)!r}; from client.__main__ import main; sys.exit(main(sys.argv[2:]))"


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
        command = [sys.executable, "-c", OURS, "client", "gateway"]  # "client": for who lists processes
        self.process = subprocess.Popen(
            command, env=self.environment, start_new_session=True, preexec_fn=die_with_parent
        )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def live(self) -> bool:
        return self._answers("/health/live")

    def ready(self) -> bool:
        return self._answers("/health/ready")

    def waits_for(self) -> list[frozenset[str]]:
        """For each question whose silence alone keeps it from being ready, the models that hang or are busy.

        None where an answer is wrong.
        """
        with contextlib.suppress(OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):
            try:
                with DIRECT.open(self.url + "/health/ready", timeout=2):
                    return []
            except HTTPError as error:
                with error:
                    return [frozenset(models) for models in json.loads(error.read())["waits_for"].values()]
        return []

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
    if gateway.live():  # which has come while the models were loaded
        raise LaunchError(f"another server answers at {gateway.url}; stop it or choose another port (--help)")
    gateway.start()
    stuck, begun = Patience(STOP_SECONDS), time.monotonic()
    while not (gateway.ready() and gateway.alive()):  # one that is gone leaves the answers to another
        late = stuck.exhausted(bool(gateway.waits_for()))  # others may have come to Triton first
        if not gateway.alive() or late or time.monotonic() - begun > START_SECONDS:
            raise LaunchError("the gateway did not start; its last lines are above")
        time.sleep(0.05)


def supervise(triton: EmbeddedTriton, gateway: Gateway) -> None:
    """Watch both for ever. Neither waits for the other: Triton may take minutes to load its models."""
    keeper, triton_keeper = GatewayKeeper(gateway), TritonKeeper(triton, gateway)
    while True:
        time.sleep(POLL_SECONDS)
        if keeper.look():
            triton_keeper.not_ready.renew()
        triton_keeper.look()


class Attempts:
    """When what ends again and again may be started anew: after ever longer pauses, until it lasts."""

    def __init__(self) -> None:
        self._again, self._pause = time.monotonic(), 1.0

    def due(self) -> bool:
        return time.monotonic() >= self._again

    def made(self) -> None:
        lasted = time.monotonic() - self._again > LONGEST_PAUSE_SECONDS
        self._pause = 1.0 if lasted else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._again = time.monotonic() + self._pause


class GatewayKeeper:
    """Starts the gateway again when it has ended or hangs."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._not_live = Patience(NOT_LIVE_SECONDS)
        self._attempts = Attempts()

    def look(self) -> bool:
        """Whether it was started again."""
        gone = not self._gateway.alive()
        if not (gone or self._not_live.exhausted(self._gateway.live())) or not self._attempts.due():
            return False
        log.warning("the gateway is %s; it is started again", "gone" if gone else "silent")
        self._attempts.made()
        self._gateway.kill()
        with contextlib.suppress(OSError):  # no memory for another process: the next attempt may have it
            self._gateway.start()
        self._not_live.renew()
        return True


class TritonKeeper:
    """Starts Triton again when it has ended, or when one of its models has or hangs."""

    def __init__(self, triton: EmbeddedTriton, gateway: Gateway) -> None:
        self.not_ready = Patience(NOT_READY_SECONDS)
        self._triton, self._gateway = triton, gateway
        self._stubs = Stubs(triton)
        self._loading: Patience | None = None  # with a Triton that was started again, until it is ready
        self._attempts = Attempts()

    def look(self) -> None:
        wrong = self._wrong()
        if wrong is None or not self._attempts.due():
            return
        log.warning("Triton is started again: %s", wrong)
        self._attempts.made()
        self._triton.stop(signal.SIGKILL)
        self._loading = Patience(START_SECONDS)
        try:
            self._triton.start()
        except (LaunchError, OSError) as error:  # OSError: no memory or no room for another process
            log.error("%s", error)

    def _wrong(self) -> str | None:
        if self._loading is not None:
            return self._late(self._loading)
        if not self._triton.alive():
            return "it has ended"
        if wrong := self._stubs.look():
            return wrong
        # A gateway that is gone or silent says nothing of Triton, which others may be asking. One that waits for models
        # at work is behind others' requests: whether such a model comes to an end, its process tells.
        # Its life is asked first: one that is stopped then costs this look no second timeout.
        well = not self._gateway.live() or self._gateway.ready() or self._busy()
        return "not every model answers" if self.not_ready.exhausted(well) else None

    def _busy(self) -> bool:
        """Whether of each question that the gateway waits for a model is at work."""
        waited_for = self._gateway.waits_for()
        return bool(waited_for) and all(self._stubs.at_work(models) for models in waited_for)

    def _late(self, loading: Patience) -> str | None:
        """What is wrong with a Triton that loads its models."""
        try:
            loaded = self._triton.loaded()
        except LaunchError as error:
            return str(error)
        if loaded:
            self._loading, self._stubs, self._attempts = None, Stubs(self._triton), Attempts()
            self.not_ready.renew()
        return f"it was not ready after {START_SECONDS:.0f} s" if loading.exhausted(loaded) else None

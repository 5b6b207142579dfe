"""Starts and stops a tritonserver as a child process: the one of an image, or else the nvidia-pytriton wheel's."""

import contextlib
import ctypes
import ipaddress
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from client import installation
from client.installation import Installation, LaunchError

PROJECT = Path(__file__).resolve().parent.parent
EXIT_SECONDS = 10  # for requests in flight when the server is told to stop
PR_SET_PDEATHSIG = 1  # of prctl(2)
MOST_CALLS_A_TRACE = 2**31 - 1  # Triton's sampling, which calls with a `traceparent` pass by, is as good as off
ADMIN_APIS = "shared-memory,model-repository,trace,logging"  # closed: each would let a client read or change the server
PLAIN = re.compile(r"[\w@%+=:,./~#^!-]+", re.ASCII)  # of a path that begins with /, what a shell leaves as it is
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # to this machine, whatever http_proxy says


@dataclass(frozen=True)
class Ports:
    """Ports of Triton's three listeners."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


class EmbeddedTriton:
    """A tritonserver process that serves one model repository; a process of ours runs one of them.

    gRPC and metrics listen on `address`, HTTP always on loopback: it has no TLS, no limits, and only we ask it.
    """

    def __init__(self, repository: Path, ports: Ports, address: str = "127.0.0.1", log: Path | None = None) -> None:
        self.repository, self.ports, self.address = repository.resolve(), ports, address
        self.log = log  # of the last start; None: standard error
        self.shm_prefix = f"face_{os.getpid()}_{secrets.token_hex(4)}_"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Where this machine reaches its gRPC and metrics."""
        return reached(self.address)

    @property
    def listeners(self) -> tuple[tuple[str, int], ...]:
        """The addresses and ports of its HTTP, gRPC and metrics."""
        ports = self.ports
        return ("127.0.0.1", ports.http), (self.address, ports.grpc), (self.address, ports.metrics)

    @property
    def watched(self) -> Path:
        """The folder in which models' processes and client/stubs.py tell each other what preprocess/watched.py says."""
        return self.runtime / "watched"

    def require_plain_path(self) -> None:
        """Raise LaunchError where the repository's path is one that Triton starts no model from."""
        _require_plain(self.repository, "move it to such a path")

    def start(self) -> None:
        """Start the process and return at once; `wait_ready` tells when models can answer."""
        if not self.repository.is_dir():
            raise LaunchError(f"there is no model repository {self.repository}")
        self.require_plain_path()
        _sweep_regions()
        if self.log:
            self.log.unlink(missing_ok=True)
        self.runtime = Path(tempfile.mkdtemp(prefix="face-triton-"))
        try:
            self.watched.mkdir()
            server = installation.find(self.runtime)
            _require_plain(server.backends, "set TMPDIR to such a path")
            self.process = subprocess.Popen(
                self._command(server),
                env={**_environment(server), "FACE_WATCHED": str(self.watched)},
                cwd=PROJECT,  # where the stubs of 2.51 look for `preprocess`; they heed no PYTHONPATH
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which stops the server in order
                preexec_fn=die_with_parent,
            )
            self._guard = _guard(self.process.pid, self.shm_prefix, self.runtime)
        except BaseException:
            if self.process is not None:  # and no memory for its guard
                self.process.kill()
                self.process.wait()
                self.process = None
            shutil.rmtree(self.runtime, ignore_errors=True)
            raise

    def wait_ready(self, seconds: float) -> None:
        """Return when every model is loaded; raise LaunchError if the server ends first or takes longer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.loaded():
                return
            time.sleep(0.05)
        raise LaunchError(f"tritonserver was not ready after {seconds:.0f} s; see {self.log or 'its log above'}")

    def loaded(self) -> bool:
        """Whether every model is loaded; raises LaunchError if the server has ended."""
        if not self.alive():
            raise LaunchError(f"tritonserver could not load the models: {self._last_error()}")
        return self.ready()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ready(self) -> bool:
        url = f"http://127.0.0.1:{self.ports.http}/v2/health/ready"
        with contextlib.suppress(OSError, HTTPException), DIRECT.open(url, timeout=1) as answer:
            return bool(answer.status == 200)
        return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server, its stubs and their shared memory; SIGTERM lets requests in flight finish first."""
        if self.process is None:
            return
        if self.alive():
            self.process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(EXIT_SECONDS + 5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # stubs of a server that did not end by itself
        self.process.wait()
        self._guard.kill()
        self._guard.communicate()
        self.process = None
        for region in Path("/dev/shm").glob(f"{self.shm_prefix}*"):
            region.unlink(missing_ok=True)
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _last_error(self) -> str:
        """What Triton said last of a model that failed to load, and where it said it."""
        if self.log is None:
            return "its reasons are above"
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        told = [
            line.split("] ", 1)[1].strip('"').split(r"\n")[0]
            for line in lines
            if "failed to load" in line and "] " in line
        ]
        return f"{told[-1] if told else 'no reason given'} ({self.log})"

    def _command(self, server: Installation) -> list[str]:
        key = secrets.token_hex(16)  # known to nobody: the restricted APIs are closed for good
        return [
            str(server.binary),
            f"--model-repository={self.repository.resolve()}",
            "--model-config-name=prepared",  # written by prepare-models; models without one use config.pbtxt
            f"--backend-directory={server.backends}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            "--model-control-mode=none",
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={EXIT_SECONDS}",
            "--http-address=127.0.0.1",
            f"--http-port={self.ports.http}",
            f"--http-restricted-api={ADMIN_APIS}:admin-key={key}",
            f"--grpc-address={self.address}",
            f"--grpc-port={self.ports.grpc}",
            f"--grpc-restricted-protocol={ADMIN_APIS}:admin-key={key}",
            "--log-info=false",
            *([f"--log-file={self.log}"] if self.log else []),
            "--pinned-memory-pool-byte-size=0",
            f"--allow-gpu-metrics={str(Path('/dev/nvidiactl').exists()).lower()}",
            f"--metrics-address={self.address}",
            f"--metrics-port={self.ports.metrics}",
            *_tracing(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")),
        ]


def _tracing(endpoint: str) -> list[str]:
    """Flags for spans of calls that come with a `traceparent`, and of no others, where a collector's address is set."""
    if not endpoint:
        return []
    settings = [
        "mode=opentelemetry",
        "level=TIMESTAMPS",  # never TENSORS: those are faces
        f"rate={MOST_CALLS_A_TRACE}",
        f"opentelemetry,url={endpoint.rstrip('/')}/v1/traces",
        "opentelemetry,resource=service.name=face-triton",
    ]
    return [f"--trace-config={setting}" for setting in settings]


def reached(host: str) -> str:
    """How a URL on this machine names a server that listens on an IP address or at a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "[::1]" if address.version == 6 else "127.0.0.1"
    return f"[{address}]" if address.version == 6 else str(address)


def _require_plain(path: Path, remedy: str) -> None:
    """Raise LaunchError for a path that a shell takes apart: the Python backend hands it to one without quotes.

    Models whose processes are not found are waited for until the time is up. Other letters than ASCII's fail later, in
    the models' Python.
    """
    if not PLAIN.fullmatch(str(path)):
        raise LaunchError(
            f"{path}: Triton starts models only from a path of ASCII letters, digits and @%+=:,./~#^!_-; {remedy}"
        )


def die_with_parent() -> None:
    """In a new process, before it becomes a server: be ended by the kernel when the launcher is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _guard(group: int, shm_prefix: str, runtime: Path) -> subprocess.Popen[bytes]:
    """A process that outlives this one for a moment, to clear away what a killed launcher leaves.

    tritonserver dies with its launcher, and models' processes end by themselves when they see that; but one that waits
    for tritonserver just then waits for ever.
    """
    clear = 'read nothing; sleep 2; kill -KILL -"$0"; rm -f "$1"*; rm -rf "$2"'
    command = ["sh", "-c", clear, str(group), f"/dev/shm/{shm_prefix}", str(runtime)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _sweep_regions() -> None:
    """Remove shared memory of servers whose launcher was killed: its process id is in their names.

    In a container that was started again, that launcher had the id of this one.
    """
    for region in Path("/dev/shm").glob("face_*_*"):
        owner = region.name.split("_")[1]
        if owner.isdigit() and (int(owner) == os.getpid() or not Path("/proc", owner).exists()):
            with contextlib.suppress(OSError):  # another user's
                region.unlink()


def _environment(server: Installation) -> dict[str, str]:
    """Of the server and its models. The wheel's server is built for GPUs, the ONNX Runtime beside it for CPUs alone."""
    in_image = server.binary.is_relative_to(installation.IMAGE)
    hidden = {} if in_image or os.environ.get("FACE_GPU") == "yes" else {"CUDA_VISIBLE_DEVICES": ""}
    libraries = [str(server.libraries), sysconfig.get_config_var("LIBDIR") or ""]
    inherited = os.environ.get("LD_LIBRARY_PATH", "")
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(path for path in (*libraries, inherited) if path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(PROJECT),  # every stub imports `preprocess`
        "PYTHONDONTWRITEBYTECODE": "1",
        **hidden,
    }

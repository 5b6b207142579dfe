"""A gateway in a process of its own, and raw sockets to it."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def base64_of(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def body_of(*pictures: bytes, key: str = "images", **others: object) -> bytes:
    """A UAI body holding these pictures."""
    return json.dumps({key: [base64_of(picture) for picture in pictures], **others}).encode()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class LiveGateway:
    """`python -m client gateway` with these settings, from entering to leaving the block.

    ready: whether it is entered only when the gateway's Triton answers
    """

    def __init__(self, triton_url: str, ready: bool = True, **settings: object) -> None:
        self.port = free_port()
        self._begun = "/health/ready" if ready else "/health/live"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FACE_", "UAI_", "OTEL_"))}
        self._environ = {
            **inherited,
            "FACE_PORT": str(self.port),
            "FACE_TRITON_URL": triton_url,
            **{key: str(value) for key, value in settings.items()},
        }

    def __enter__(self) -> "LiveGateway":
        self._log = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "client", "gateway"]
        self.process = subprocess.Popen(command, cwd=PROJECT, env=self._environ, stderr=self._log)
        until = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.request("GET", self._begun).status == 200:
                    return self
            time.sleep(0.02)
        self.__exit__(None, None, None)
        raise RuntimeError(f"the gateway did not start: {self.log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.seek(0)
        self.log = self._log.read().decode()
        self._log.close()

    def lines(self) -> list[dict[str, object]]:
        """The log lines so far, but not one that is being written."""
        whole, _, _ = os.pread(self._log.fileno(), 1 << 24, 0).decode().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def rss(self) -> int:
        """Resident bytes of the process."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def request(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes | None))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes | Iterable[bytes], headers: dict[str, str] | None = None) -> Reply:
        return self.request("POST", path, body, headers)

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(15)
        try:
            connection.connect(("127.0.0.1", self.port))
        except OSError:
            connection.close()
            raise
        return connection

    def exchange(self, *parts: bytes | float, half_close: bool = False, seconds: float = 15) -> bytes:
        """Send the parts as they are, pausing for each number; all that came back until the gateway closed."""
        received = b""
        with self.connect() as connection:
            connection.settimeout(seconds)
            try:
                for part in parts:
                    if isinstance(part, bytes):
                        connection.sendall(part)
                    else:
                        time.sleep(part)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # cut off while sending: what it said before may still be read
            try:
                while chunk := connection.recv(65536):
                    received += chunk
            except ConnectionResetError:
                pass
        return received


def statuses(received: bytes) -> list[int]:
    """The status of every answer in what came back."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]

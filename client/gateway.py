"""Run the HTTP gateway alone, before a Triton that already runs.

Example: FACE_TRITON_URL=127.0.0.1:8001 python -m client gateway
         FACE_TRITON_URL=triton:8001 FACE_HOST=0.0.0.0 FACE_API_KEYS_FILE=keys python -m client gateway

It has no options: all settings are FACE_* variables, listed in docs/operating.md.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.types import ASGIApp

from . import log
from .app import create_app
from .settings import Settings, SettingsError
from .tracing import Traced, Tracing, untraced
from .triton import Triton


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the gateway is configured by FACE_* variables alone."""


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        settings = Settings.from_env(os.environ)
        check_port(settings.host, settings.port)
        uvloop.run(serve(settings))
    except SettingsError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: granian shares ports, so that it would start and get half of the requests."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}") from None


async def serve(settings: Settings) -> None:
    """Serve until a signal, then let what is in flight finish; raises SettingsError before it begins."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tracing = Tracing(settings.otlp_endpoint) if settings.otlp_endpoint else None
    triton = Triton(settings.triton_url, tracing.call if tracing else untraced)
    app = create_app(settings, triton)
    server = create_server(settings, Traced(app, tracing) if tracing else app)
    log.configure()
    await triton.start()
    serving = asyncio.ensure_future(server.serve())
    others = [asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(cut_slow_readers(settings))]
    await asyncio.wait((serving, others[0]), return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait((serving,), timeout=settings.drain_seconds)
    for task in others:
        task.cancel()
    await triton.close()
    if tracing:
        tracing.close()
    if serving.done():
        serving.result()


def create_server(settings: Settings, app: ASGIApp) -> Server:
    """granian, inside this process: HTTP/1.1 only, and silent, because it would log in another form."""
    return Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        backpressure=settings.max_connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(settings.header_seconds * 1000), max_buffer_size=settings.max_header_bytes
        ),
        log_level=LogLevels.error,
    )


async def cut_slow_readers(settings: Settings) -> None:
    """Have the kernel close connections that take nothing of an answer for `send_seconds`.

    granian has no such limit and does not hand out its listener, so it is looked up among the open files. What is
    set on a listener holds for the connections it accepts.
    """
    while (listener := _listener(settings.host, settings.port)) is None:
        await asyncio.sleep(0.01)
    with listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.send_seconds * 1000))


def _at(name: object, host: str, port: int) -> bool:
    """Whether a socket's name is this address, which has more than one spelling in IPv6."""
    if not isinstance(name, tuple):  # a path
        return False
    return bool(name[1] == port and ipaddress.ip_address(name[0]) == ipaddress.ip_address(host))


def _listener(host: str, port: int) -> socket.socket | None:
    """A duplicate of this process's socket that listens at this address."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            number = os.dup(int(entry.name))
        except OSError:
            continue  # closed meanwhile
        try:
            found = socket.socket(fileno=number)
        except OSError:
            os.close(number)
            continue  # no socket
        with contextlib.suppress(OSError):
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and _at(found.getsockname(), host, port):
                return found
        found.close()
    return None

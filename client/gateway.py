"""`python -m client gateway`: the HTTP gateway alone, in front of a Triton that already runs (FACE_TRITON_URL)."""

import argparse
import asyncio
import os
import signal
import socket
import sys

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from . import log
from .app import create_app
from .settings import Settings, SettingsError
from .triton import Triton


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the gateway is configured by FACE_* variables alone."""


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        settings = Settings.from_env(os.environ)
        check_port(settings.host, settings.port)
        log.configure()
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
    """Serve until a signal, then let what is in flight finish."""
    triton = Triton(settings.triton_url)
    server = Server(
        create_app(settings, triton),
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
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    serving = asyncio.ensure_future(server.serve())
    stopping = asyncio.ensure_future(stopped.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        stopping.cancel()
        serving.result()
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait((serving,), timeout=settings.drain_seconds)
    await triton.close()

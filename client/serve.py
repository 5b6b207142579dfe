"""Run Triton and the gateway together, on this machine alone, until Ctrl-C.

Example: python -m client serve
         python -m client serve --repository my-models --port 9000

Limits, keys and the rest are FACE_* variables: see docs/operating.md.
"""

import argparse
import contextlib
import errno
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from client.embedded import PROJECT, EmbeddedTriton, Ports
from client.installation import LaunchError
from client.settings import Settings, SettingsError
from client.supervisor import Gateway, start, supervise
from client.weights import require_prepared

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # an address that this machine does not have


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = Ports()
    parser.add_argument(
        "--repository",
        type=Path,
        default=PROJECT / "model_repository",
        help="model repository that scripts/prepare-models filled (default: model_repository)",
    )
    parser.add_argument(
        "--port", type=port_number, default=os.environ.get("FACE_PORT") or "8080", help="HTTP port (%(default)s)"
    )
    parser.add_argument(
        "--triton-http-port", type=port_number, default=ports.http, help="Triton over HTTP (%(default)s)"
    )
    parser.add_argument(
        "--triton-grpc-port", type=port_number, default=ports.grpc, help="Triton over gRPC (%(default)s)"
    )
    parser.add_argument(
        "--triton-metrics-port", type=port_number, default=ports.metrics, help="Triton's metrics (%(default)s)"
    )


def port_number(text: str) -> int:
    """An option that names a port to listen on: 1 to 65535."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 1 where something cannot start."""
    ports = Ports(args.triton_http_port, args.triton_grpc_port, args.triton_metrics_port)
    triton = EmbeddedTriton(args.repository, ports, log=_log(ports))
    gateway = Gateway(args.port, f"127.0.0.1:{ports.grpc}")
    signal.signal(signal.SIGTERM, interrupt_on_signal)
    try:
        settings = require_settings()
        require_files(settings)
        require_free((settings.host, args.port), *triton.listeners)
        triton.require_plain_path()
        require_prepared(args.repository)
        print("Loading the models ...", flush=True)
        start(triton, gateway)
        print(_welcome(gateway.url, ports, settings), flush=True)
        supervise(triton, gateway)
    except (LaunchError, OSError) as error:
        print(f"serve: {told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone, and that is why we stop
            print("\nStopping ...", flush=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not leave half of it running
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        gateway.stop()
        triton.stop()
    return 0


def interrupt_on_signal(number: int, frame: FrameType | None) -> None:
    """A signal handler that ends a server as Ctrl-C does."""
    raise KeyboardInterrupt


def require_settings() -> Settings:
    """The settings; raises LaunchError for an environment with one that is wrong or that there is not."""
    try:
        return Settings.from_env(os.environ)
    except SettingsError as error:
        raise LaunchError(str(error)) from None


def require_files(settings: Settings) -> None:
    """Raise LaunchError where the gateway could not use its file of keys or its .conf: it starts after the models."""
    try:
        # The gateway's packages are not in the image of Triton alone, and the launcher needs them for nothing else.
        if settings.api_keys_file:
            from client.keys import read_keys

            read_keys(settings.api_keys_file)
        if settings.uai_service_config:
            from client.services import SERVICES
            from client.uai_config import main_class

            main_class(settings.uai_service_config, tuple(SERVICES))
    except SettingsError as error:
        raise LaunchError(str(error)) from None


def told(error: Exception) -> str:
    """An error in a line: a LaunchError is one, the kernel's errors name a file and a reason."""
    if not isinstance(error, OSError):
        return str(error)
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def require_free(*listeners: tuple[str, int]) -> None:
    """Raise LaunchError if a host's port cannot be had; of one that is taken, the answers would pass for ours."""
    ports = [port for _, port in listeners]
    for host, port in listeners:
        if ports.count(port) > 1:
            raise LaunchError(f"port {port} is asked for twice; choose another (--help)")
        try:
            _take(host, port)
        except OSError as error:
            absent = isinstance(error, socket.gaierror) or error.errno in ABSENT
            remedy = "give an address of this machine" if absent else "free it or choose another (--help)"
            raise LaunchError(f"cannot listen on {host} port {port}: {error.strerror}; {remedy}") from None


def _take(host: str, port: int) -> None:
    """Take a port at every address of a host for a moment; raises OSError where it is taken at one of them."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)  # brackets: Triton wants them for IPv6
    absent = []
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            absent.append(error)
    if len(absent) == len(found):  # localhost may have an IPv6 address where there is no IPv6
        raise absent[0]


def _log(ports: Ports) -> Path | None:
    """A file, as complaints about missing GPUs would drown a terminal; None in a container, which may write none."""
    folder = PROJECT / ".cache"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return folder / f"triton-{ports.grpc}.log" if os.access(folder, os.W_OK) else None


def _welcome(url: str, ports: Ports, settings: Settings) -> str:
    if settings.uai_service_config:
        service = f"{url}/service is what UAI_SERVICE_CONFIG says."
    else:
        service = _examples(url, bool(settings.api_keys_file))
    return f"""Ready. {service}

Triton: gRPC 127.0.0.1:{ports.grpc}, HTTP 127.0.0.1:{ports.http}, metrics 127.0.0.1:{ports.metrics}.
Ctrl-C stops all of it."""


def _examples(url: str, keys: bool) -> str:
    """What to ask of a /service that no .conf ties to one class."""
    curl = f"curl -X POST {url}/service" + (' -H "Authorization: Bearer KEY"' if keys else "")
    return f"""Try, from another terminal:

  {curl} -T photo.jpeg     # ArcFace embedding of a face crop
  .venv/bin/python -m client gen_img_json --image_files a.jpg b.jpg        # writes test.json
  {curl} -T test.json      # distance of the two faces"""

"""Say whether a server can answer, and which weights it embeds with; the exit status is 0 only if it can.

Example: python -m client health --url 127.0.0.1:8001
"""

import argparse

from client.cli import terminal
from client.face_client import AsyncFaceClient
from client.faces import NETWORKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    terminal.add_server(parser)


def run(args: argparse.Namespace) -> int:
    async def show(client: AsyncFaceClient) -> int:
        print(f"ready    {args.url}")
        for network in NETWORKS:
            print(f"{network:8} {await client.embedding_id(network)}")
        return 0

    return terminal.ask("health", args, show)

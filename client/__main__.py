"""`python -m client <command>`: each command is a module with a docstring, add_arguments(parser) and run(args)."""

import argparse
import importlib
import sys

COMMANDS = {
    "gateway": "client.gateway",
    "perf": "client.perf",
    "serve": "client.serve",
}


def main(argv: list[str]) -> int:
    """Import the chosen command only, and run it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m client", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = importlib.import_module(COMMANDS[parser.parse_args(argv[:1]).command])
    parser = argparse.ArgumentParser(prog=f"python -m client {argv[0]}", description=command.__doc__)
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(argv[1:])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

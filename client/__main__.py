"""One command line for the server, its request makers and its users."""

import argparse
import importlib
import sys

# Each command is a module with a docstring, add_arguments(parser) and run(args) -> exit status.
COMMANDS = {
    "serve": ("client.serve", "run Triton and the gateway together"),
    "gateway": ("client.gateway", "run the gateway before a Triton that already runs"),
    "triton": ("client.serve_triton", "run Triton alone, for gateways elsewhere"),
    "gen_example_json": ("client.gen_example_json", "pack pictures of faces into test.json for /service"),
    "gen_img_json": ("client.gen_img_json", "find the face in each photo and pack them into test.json"),
    "health": ("client.cli.health", "say whether a server can answer, and with which weights"),
    "detect": ("client.cli.detect", "find the faces in a photo, and draw them"),
    "compare": ("client.cli.compare", "compare the faces of two photos"),
    "embed": ("client.cli.embed", "embed every face of many photos into one table"),
    "embed_ray": ("client.cli.embed_ray", "the same on a Ray cluster"),
    "cluster": ("client.cli.cluster", "group the faces of a folder by person, on a contact sheet"),
    "evaluate": ("client.cli.evaluate", "measure accuracy on labelled faces such as LFW"),
    "perf": ("client.perf", "load a model with perf_analyzer"),
}


def main(argv: list[str]) -> int:
    """Import the chosen command only, and run it; the exit status."""
    parser = _parser("python -m client", __doc__)
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    parser.epilog = "\n".join(["commands:", *lines, "", "python -m client <command> --help shows what each takes."])
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of those below")
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    module, _ = COMMANDS[parser.parse_args(argv[:1]).command]
    command = importlib.import_module(module)
    parser = _parser(f"python -m client {argv[0]}", command.__doc__)
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(argv[1:])))


def _parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """A parser that prints a module's docstring as it is written, examples and all."""
    return argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

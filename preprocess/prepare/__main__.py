"""The command line of scripts/prepare-models."""

import argparse
import signal
import sys
from functools import partial
from pathlib import Path

from preprocess.prepare import networks, repository
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.repository import Wanted


def arguments(argv: list[str]) -> argparse.Namespace:
    """Reads the command line; exits with 2 and the usage where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="prepare-models", description="Fetches, converts and checks the weights that the models serve."
    )
    parser.add_argument("network", nargs="?", default="all", choices=("all", "facenet", "arcface", "mtcnn"))
    parser.add_argument("--repository", type=Path, default=repository.HOME, metavar="DIR")
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH", help="your own checkpoint")
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="of an MXNet checkpoint")
    parser.add_argument("--mtcnn", type=Path, metavar="DIR", help="InsightFace's mtcnn-model folder")
    parser.add_argument("--facenet-engine", choices=("onnxruntime", "tensorflow"))
    parser.add_argument("--arcface-engine", choices=("onnxruntime", "mxnet"))
    options = parser.parse_args(argv)
    if options.source and options.network not in ("facenet", "arcface"):
        parser.error("--from needs the network: prepare-models facenet|arcface --from PATH")
    return options


def wanted(options: argparse.Namespace) -> dict[str, Wanted]:
    """Gives the sources that the command line names, by network."""
    found = {}
    if options.source and options.network == "arcface":
        files = networks.checkpoint_files(options.source, options.epoch)
        make = partial(networks.arcface_from_checkpoint, options.source, options.epoch)
        found["arcface"] = Wanted(networks.hashes(files), {"epoch": str(options.epoch)}, make)
    if options.mtcnn:
        folder = options.mtcnn.resolve()
        make = partial(networks.mtcnn_from_folder, folder)
        found["mtcnn"] = Wanted(networks.hashes(networks.mtcnn_files(folder)), {}, make)
    return found


def main(argv: list[str]) -> int:
    """Runs the command; gives the exit status. Every failure is one line on stderr."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that staging folders are removed
    engines = {"facenet": options.facenet_engine, "arcface": options.arcface_engine}
    try:
        repository.prepare(options.repository.resolve(), wanted(options), engines, print)
    except PreparationError as error:
        print(f"prepare-models: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"prepare-models: {error.filename or 'the disk'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("prepare-models: stopped; nothing is half written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

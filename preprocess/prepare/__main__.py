"""The command line of scripts/prepare-models."""

import argparse
import signal
import sys
from pathlib import Path

from preprocess.engines import PRECISIONS
from preprocess.prepare import calibration, forms, networks, precision, repository
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.networks import Source
from preprocess.prepare.places import HOME
from preprocess.prepare.repository import DEFAULTS, Wanted

_EPILOG = """
A run completes the repository: what is prepared stays, what is missing is taken from the default packages.
  prepare-models                                    everything, by default
  prepare-models facenet --from 20180402-114759.pb  your own FaceNet: .pb, .meta folder, SavedModel, Keras, ONNX
  prepare-models arcface --from dir/model --epoch 3 your own ArcFace: dir/model-symbol.json, dir/model-0003.params
  prepare-models arcface --from w600k_r50.onnx      the same from an ONNX file
  prepare-models --conf insightface_infer.conf      the checkpoint that a .conf of the original names
  prepare-models facenet --from default             back to the default
  prepare-models facenet --precision int8 --calibrate-with photos/   faster on CPUs; other embeddings, a little off
  prepare-models facenet --precision float32        back to the network itself
"""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Reads the command line; exits with 2 and the usage where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="prepare-models",
        description="Fetches, converts and checks the weights that the models serve.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", nargs="?", default="all", choices=("all", "facenet", "arcface", "mtcnn"))
    parser.add_argument("--repository", type=_path, default=HOME, metavar="DIR", help="model repository to complete")
    parser.add_argument("--from", dest="source", type=_path, metavar="PATH", help="your own checkpoint, or 'default'")
    parser.add_argument("--epoch", type=int, metavar="N", help="of an MXNet checkpoint (default 0)")
    parser.add_argument("--conf", type=_path, metavar="FILE", help="take the checkpoint that this .conf names")
    parser.add_argument("--mtcnn", type=_path, metavar="DIR", help="InsightFace's mtcnn-model folder, or 'default'")
    parser.add_argument("--facenet-engine", choices=("onnxruntime", "tensorflow"))
    parser.add_argument("--arcface-engine", choices=("onnxruntime", "mxnet"))
    parser.add_argument("--normalisation", choices=("prewhiten", "fixed"), help="of the pictures FaceNet is given")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="of the embedding networks: float16 for GPUs, int8 for CPUs"
    )
    parser.add_argument("--calibrate-with", type=_path, metavar="FOLDER", help="photos of faces, for int8")
    options = parser.parse_args(argv)
    _refuse_contradictions(parser, options)
    return options


def _path(text: str) -> Path:
    if not text:  # which Path takes for the folder one is in
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def _refuse_contradictions(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.source and options.conf:
        parser.error("--from and --conf both name a checkpoint; give one of them")
    if options.source and options.network not in ("facenet", "arcface"):
        parser.error("--from needs to know the network: prepare-models facenet --from PATH, or arcface")
    own_arcface = options.network == "arcface" and options.source not in (None, Path("default"))
    if options.epoch is not None and not own_arcface:
        parser.error("--epoch goes with the prefix of an MXNet checkpoint: prepare-models arcface --from PREFIX")
    named = forms.PARAMS.fullmatch(options.source.name) if own_arcface else None
    if named and options.epoch not in (None, int(named[2])):
        parser.error(f"{named[0]} and --epoch {options.epoch} name two checkpoints; give one of them")
    if options.precision and options.network == "mtcnn":
        parser.error("--precision is for the embedding networks; the detector computes in float32")
    if (options.precision == "int8") != bool(options.calibrate_with):
        parser.error("--precision int8 and --calibrate-with FOLDER go together")
    native = {options.facenet_engine, options.arcface_engine} - {None, "onnxruntime"}
    if options.precision not in (None, "float32") and native:
        parser.error(
            f"--precision {options.precision} is for the engine onnxruntime; {native.pop()} computes in float32"
        )


def wanted(options: argparse.Namespace) -> dict[str, Wanted]:
    """Gives what the command line asks of each network; raises PreparationError if a checkpoint is not there."""
    network, path, epoch = options.network, options.source, options.epoch or 0
    if options.conf:
        network, path, epoch = forms.conf(options.conf)
        if options.network not in ("all", network):
            raise PreparationError(f"{options.conf}: names a checkpoint of {network}, not of {options.network}")
    sources: dict[str, Source] = {}
    if path == Path("default"):
        sources[network] = DEFAULTS[network]()
    elif path:
        sources[network] = networks.own_facenet(path) if network == "facenet" else networks.own_arcface(path, epoch)
    if options.mtcnn:
        default = options.mtcnn == Path("default")
        sources["mtcnn"] = DEFAULTS["mtcnn"]() if default else networks.own_mtcnn(options.mtcnn.resolve())
    if options.calibrate_with:
        calibration.photos(options.calibrate_with)
    asked = {name: options.precision for name in precision.NETWORKS if options.network in ("all", name)}
    photos = options.calibrate_with
    return {
        "facenet": Wanted(
            sources.get("facenet"), options.facenet_engine, options.normalisation, asked.get("facenet"), photos
        ),
        "arcface": Wanted(sources.get("arcface"), options.arcface_engine, None, asked.get("arcface"), photos),
        "mtcnn": Wanted(sources.get("mtcnn")),
    }


def main(argv: list[str]) -> int:
    """Runs the command; gives the exit status. Every failure is one line on stderr."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that staging folders are removed
    try:
        repository.prepare(options.repository.resolve(), wanted(options), print)
    except PreparationError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.filename2 or error.filename or 'writing'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail("stopped; nothing is half written", 130)
    return 0


def _fail(line: str, status: int) -> int:
    print(f"prepare-models: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

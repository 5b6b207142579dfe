"""Tells in which form a checkpoint comes, and which files it is made of."""

import glob
import json
import re
from dataclasses import dataclass
from pathlib import Path

from preprocess.prepare.errors import PreparationError

PARAMS = re.compile(r"(.+)-(\d{4})\.params")
"""The name of an MXNet checkpoint's weights: its prefix and its epoch."""
ACCEPTED = "a frozen .pb, a folder with .meta, .index and .data files, a SavedModel folder, .keras, .h5 or .onnx"


@dataclass(frozen=True)
class Checkpoint:
    """`form` is frozen, metagraph, savedmodel, keras, onnx or mxnet; `files` are all that it is made of."""

    form: str
    files: tuple[Path, ...]


def facenet(path: Path) -> Checkpoint:
    """Recognises a FaceNet checkpoint; raises PreparationError if it is none of the accepted forms."""
    if (path / "saved_model.pb").is_file():
        return Checkpoint("savedmodel", _saved_model(path))
    if path.is_dir():
        return Checkpoint("metagraph", _metagraph(path))
    forms = {".pb": "frozen", ".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".onnx": "onnx"}
    if not path.is_file():
        raise PreparationError(f"{path}: there is no such file or folder")
    if path.suffix not in forms:
        raise PreparationError(f"{path}: this is not {ACCEPTED}")
    return Checkpoint(forms[path.suffix], _existing(path))


def arcface(path: Path, epoch: int) -> Checkpoint:
    """Recognises an ArcFace checkpoint: an ONNX file, the prefix of an MXNet checkpoint, or its `.params` file."""
    if not path.name:
        raise PreparationError(f"{path}: this is not an .onnx or .params file, or the prefix of an MXNet checkpoint")
    if path.suffix == ".onnx":
        return Checkpoint("onnx", _existing(path))
    if params := PARAMS.fullmatch(path.name):
        return Checkpoint("mxnet", mxnet(path.with_name(params[1]), int(params[2])))
    return Checkpoint("mxnet", mxnet(path, epoch))


def mxnet(prefix: Path, epoch: int) -> tuple[Path, Path]:
    """Gives the two files of an MXNet checkpoint, as MXNet names them: symbol, params."""
    symbol, params = _existing(
        prefix.with_name(f"{prefix.name}-symbol.json"), prefix.with_name(f"{prefix.name}-{epoch:04d}.params")
    )
    return symbol, params


def conf(path: Path) -> tuple[str, Path, int]:
    """Reads a .conf of the original services: gives the network, the checkpoint's path and its epoch.

    `http_server.mxnet` names `model_dir`, `model_name` and `num_epoch`; `http_server.tensorflow` names
    `model_dir`. A relative folder is looked for beside the file and in `code/` beside it, where the original
    image had it.
    """
    try:
        server = json.loads(path.read_text("utf-8"))["http_server"]
        network = next(key for key in ("mxnet", "tensorflow") if key in server)
        section = server[network]
        folder = Path(section["model_dir"])
        folder = next(
            (base / folder for base in (path.parent, path.parent / "code") if (base / folder).is_dir()), folder
        )
        if network == "tensorflow":
            return "facenet", folder, 0
        return "arcface", folder / section["model_name"], int(section["num_epoch"])
    except OSError as error:
        raise PreparationError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise PreparationError(f"{path}: this is not JSON in UTF-8") from None
    except (KeyError, TypeError, StopIteration, OverflowError):
        raise PreparationError(
            f"{path}: needs http_server.mxnet with model_dir, model_name and num_epoch, "
            "or http_server.tensorflow with model_dir"
        ) from None


def _saved_model(folder: Path) -> tuple[Path, ...]:
    prefix = folder / "variables" / "variables"
    graph = _existing(folder / "saved_model.pb")
    # A SavedModel of a frozen graph has no variables, and TensorFlow then leaves the folder for them empty.
    return (*graph, *_variables(prefix)) if list(prefix.parent.glob(f"{prefix.name}.*")) else graph


def _metagraph(folder: Path) -> tuple[Path, ...]:
    metas = sorted(folder.glob("*.meta"))
    if len(metas) != 1:
        raise PreparationError(f"{folder}: holds {len(metas)} .meta files; exactly one is needed")
    return *_existing(*metas), *_variables(_newest(folder))


def _newest(folder: Path) -> Path:
    """Gives the checkpoint's prefix: what the file `checkpoint` names, or else the one of the highest step."""
    state = folder / "checkpoint"
    if state.is_file():
        found = re.search(r'^model_checkpoint_path: "(?:.*[/\\])?([^"/\\]+)"', state.read_text(errors="replace"), re.M)
        if not found:
            raise PreparationError(f"{state}: names no model_checkpoint_path")
        return folder / found[1]
    prefixes = [path.with_suffix("") for path in folder.glob("*.index")]
    if not prefixes:
        raise PreparationError(f"{folder}: holds no .index file beside its .meta")
    return max(prefixes, key=lambda prefix: int((re.findall(r"-(\d+)$", prefix.name) or [-1])[0]))


def _variables(prefix: Path) -> tuple[Path, ...]:
    shards = sorted(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*"))
    if not shards:
        raise PreparationError(f"{prefix}.data-*: there is no such file")
    return _existing(prefix.with_name(f"{prefix.name}.index"), *shards)


def _existing(*paths: Path) -> tuple[Path, ...]:
    for path in paths:
        if not path.is_file():
            raise PreparationError(f"{path}: there is no such file")
        if path.stat().st_size == 0:
            raise PreparationError(f"{path}: the file is empty")
    return paths

"""Brings a model repository to completion: decides what is to be done, does it, and writes it down."""

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from preprocess.prepare import configs, manifest, networks, storage
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.manifest import Entry
from preprocess.prepare.networks import Prepared, Step

ROOT = Path(__file__).parents[2]
HOME = ROOT / "model_repository"
"""The repository that holds the models' definitions."""
CACHE = ROOT / ".cache"

Maker = Callable[[Path, Step], Prepared]
"""Prepares one network in a staging folder."""

_DEFINITIONS = ("config.pbtxt", "1/model.py")


@dataclass(frozen=True)
class Wanted:
    """A network's source as asked for: its files' hashes tell whether it is in the repository already."""

    sources: dict[str, str]
    options: dict[str, str]
    make: Maker


DEFAULTS: dict[str, Maker] = {
    "facenet": partial(networks.default_facenet, CACHE / "packages"),
    "arcface": partial(networks.default_arcface, CACHE / "packages"),
    "mtcnn": partial(networks.default_mtcnn, CACHE / "packages"),
}


def prepare(repository: Path, wanted: dict[str, Wanted], engines: dict[str, str], say: Callable[[str], None]) -> None:
    """Completes `repository`: what is wanted is prepared, the rest kept or else taken from HOME or the packages.

    `say` is told one line for each network. Raises PreparationError; whatever was placed before stays whole.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with storage.locked(CACHE / "prepare.lock"):
        if repository != HOME:
            _copy_definitions(repository)
        before = manifest.read(repository)
        entries = {name: entry for name, entry in before.items() if entry.intact(repository)}
        for name in manifest.NETWORKS:
            entries[name], line = _complete(repository, name, entries.get(name), wanted.get(name))
            if engine := engines.get(name):
                entries[name] = _with_engine(name, entries[name], engine)
            manifest.write(repository, entries)
            configs.write(repository, entries)
            if old := before.get(name):
                for file in set(old.files) - set(entries[name].files):  # such as a landmark network given up
                    (repository / file).unlink(missing_ok=True)
            say(f"{name}: {line}")


def _complete(repository: Path, name: str, entry: Entry | None, wanted: Wanted | None) -> tuple[Entry, str]:
    if entry and (wanted is None or (entry.sources, entry.options) == (wanted.sources, wanted.options)):
        return entry, f"already prepared from {entry.source}"
    if wanted is None and repository != HOME:
        home = manifest.read(HOME).get(name)
        if home and home.intact(HOME):
            storage.place({repository / file: HOME / file for file in home.files})
            return home, f"taken from {HOME.name} ({home.source})"
    make = wanted.make if wanted else DEFAULTS[name]
    with (
        tempfile.TemporaryDirectory(prefix="prepare-", dir=CACHE) as work,
        tqdm(desc=name, bar_format="{desc}: {postfix} ({elapsed})", disable=None, leave=False) as bar,
    ):
        prepared = make(Path(work), bar.set_postfix_str)
        entry = prepared.entry(wanted.options if wanted else {})
        storage.place({repository / file: staged for file, staged in prepared.staged.items()})
    return entry, f"prepared from {entry.source}; ONNX differs by {entry.largest_difference:.1e}"


def _with_engine(name: str, entry: Entry, engine: str) -> Entry:
    if engine not in entry.engines:
        raise PreparationError(f"{name} prepared from {entry.source} runs with {' or '.join(entry.engines)} only")
    return dataclasses.replace(entry, engine=engine)


def _copy_definitions(repository: Path) -> None:
    for model in sorted(path.parent for path in HOME.glob("*/config.pbtxt")):
        (repository / model.name / "1").mkdir(parents=True, exist_ok=True)
        for name in _DEFINITIONS:
            if (model / name).is_file():
                storage.write(repository / model.name / name, (model / name).read_text())

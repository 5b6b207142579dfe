"""Brings a model repository to completion: decides what is to be done, does it, and writes it down."""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocess.engines import FOR_CPUS, weights_file
from preprocess.prepare import configs, manifest, networks, precision, storage
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.manifest import Entry
from preprocess.prepare.networks import Prepared, Source
from preprocess.prepare.places import CACHE, HOME, LOG, PACKAGES
from preprocess.prepare.progress import Progress

DEFAULTS: dict[str, Callable[[], Source]] = {
    "facenet": networks.default_facenet,
    "arcface": networks.default_arcface,
    "mtcnn": networks.default_mtcnn,
}

_DEFINITIONS = ("config.pbtxt", "1/model.py", "1/.gitkeep")


@dataclass(frozen=True)
class Wanted:
    """What a command line asks of one network; None leaves a thing as it is."""

    source: Source | None = None
    engine: str | None = None
    preprocessing: str | None = None
    precision: str | None = None
    photos: Path | None = None
    """The folder that int8 is calibrated with."""


def prepare(repository: Path, wanted: dict[str, Wanted], say: Callable[[str], None]) -> None:
    """Completes `repository`: what is wanted is prepared, the rest kept, or else taken from HOME or the packages.

    `say` is told one line for each network. Raises PreparationError; what was placed before it stays whole.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with storage.locked(CACHE / "prepare.lock", lambda: say("waiting for another preparation to finish")):
        _tidy()
        if repository != HOME:
            _copy_definitions(repository)
        before = manifest.read(repository)
        entries = dict(before)

        def record(name: str, entry: Entry) -> None:
            old, entries[name] = entries.get(name, entry), entry
            manifest.write(repository, entries)
            configs.write(repository, entries)
            for file in set(old.files) - set(entry.files):  # such as a landmark network given up
                (repository / file).unlink(missing_ok=True)

        # Those whose precision changes come last: calibration needs the detector.
        for name in sorted(manifest.NETWORKS, key=lambda name: _converts(wanted.get(name, Wanted()))):
            wish, old = wanted.get(name, Wanted()), before.get(name)
            kept = old.in_float32() if old and wish.precision else old
            entry, line = _complete(repository, name, kept, wish)
            entry = dataclasses.replace(
                entry, engine=wish.engine or entry.engine, preprocessing=wish.preprocessing or entry.preprocessing
            )
            precision.check(name, entry, wish.precision, kept)
            if not _converts(wish) or entry != kept:
                record(name, entry)
            if wish.precision and _converts(wish):
                entry, done = precision.make(repository, name, entry, wish.precision, wish.photos)
                record(name, entry)
                line += f", {done}"
                if remark := precision.caution(wish.precision):
                    say(f"{name}: {remark}")
            elif entry.precision != "float32" or (old and old.precision != "float32"):
                line += f", now in {entry.precision}"
            say(f"{name}: {line}")


def _converts(wish: Wanted) -> bool:
    return wish.precision not in (None, "float32")


def _complete(repository: Path, name: str, entry: Entry | None, wish: Wanted) -> tuple[Entry, str]:
    """Gives the network's entry once its files are in place, and what was done in words."""
    source = wish.source
    if entry and entry.form == manifest.FORM - 1 and entry.unchanged(repository):
        entry = _brought_up_to_date(repository, name, entry)
    if entry and (source is None or source.hashes == entry.sources):
        if entry.intact(repository):
            _check_engine(name, entry.source, entry.engines, wish)
            return entry, f"already prepared from {entry.source}"
        if source is None and entry.precision != "float32":
            photos = " --calibrate-with FOLDER" if entry.precision == "int8" else ""
            raise PreparationError(
                f"{name} was prepared in {entry.precision} and its files have changed since; prepare it again "
                f"(prepare-models {name} --precision {entry.precision}{photos}), or with float32 in its place"
            )
        if source is None and entry.sources != DEFAULTS[name]().hashes:
            option = f"--mtcnn {entry.source}" if name == "mtcnn" else f"{name} --from .../{entry.source}"
            raise PreparationError(
                f"{name} was prepared from {entry.source} and its files have changed since; "
                f"prepare it again (prepare-models {option}), or with 'default' in place of the path"
            )
    if source is None and repository != HOME:
        home = manifest.read(HOME).get(name)
        home = home.in_float32() if home and wish.precision else home
        if home and home.intact(HOME):
            _check_engine(name, home.source, home.engines, wish)
            storage.place({repository / file: HOME / file for file in home.files})
            return home, f"taken from {HOME.name} ({home.source})"
    source = source or DEFAULTS[name]()
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=CACHE) as work, Progress(name) as progress:
        prepared = source.make(Path(work), progress)
        _check_engine(name, source.description, prepared.engines, wish)
        entry = _entry(source, prepared)
        storage.place({repository / file: path for file, path in prepared.staged.items()})
    return entry, f"prepared from {entry.source} (no step differs by more than {entry.largest_difference:.1e})"


def _brought_up_to_date(repository: Path, name: str, entry: Entry) -> Entry:
    """The entry of FORM 3, which had no form for CPUs yet; everything else in it stays as it is."""
    if name not in precision.NETWORKS:
        return dataclasses.replace(entry, form=manifest.FORM)
    file = f"{name}/1/{FOR_CPUS}"
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=CACHE) as work, Progress(name) as progress:
        progress(networks.LAST_STEP, 1, 1)
        target = Path(work) / FOR_CPUS
        model = repository / name / "1" / weights_file("float32")
        difference = networks.for_cpus(name, model, target, entry.input_size)
        storage.place({repository / file: target})
    return dataclasses.replace(
        entry,
        form=manifest.FORM,
        files={**entry.files, file: storage.sha256(repository / file)},
        largest_difference=max(entry.largest_difference, difference),
    )


def _check_engine(name: str, source: str, engines: list[str], wish: Wanted) -> None:
    if wish.engine and wish.engine not in engines:
        raise PreparationError(f"{name} from {source} runs with {' or '.join(engines)} only")


def _entry(source: Source, prepared: Prepared) -> Entry:
    return Entry(
        form=manifest.FORM,
        source=source.description,
        sources=source.hashes,
        files={file: storage.sha256(path) for file, path in prepared.staged.items()},
        engines=prepared.engines,
        engine=prepared.engines[0],
        preprocessing=prepared.preprocessing,
        input_size=prepared.input_size,
        embedding_size=prepared.embedding_size,
        largest_difference=prepared.largest_difference,
    )


def _tidy() -> None:
    """Removes what a killed preparation left behind, and the last one's log."""
    LOG.unlink(missing_ok=True)
    for folder in (*CACHE.glob("prepare-*/"), *PACKAGES.glob("download-*/")):
        shutil.rmtree(folder, ignore_errors=True)


def _copy_definitions(repository: Path) -> None:
    for model in sorted(path.parent for path in HOME.glob("*/config.pbtxt")):
        for name in _DEFINITIONS:
            if (model / name).is_file():
                storage.write(repository / model.name / name, (model / name).read_text())

"""Brings a model repository to completion: decides what is to be done, does it, and writes it down."""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from preprocess import area
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

Staged = Mapping[str, Path]
"""For paths in the repository the files that are to be placed there."""

_MADE_ANEW = (FOR_CPUS, area.FILE)
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
        entries = manifest.read(repository)
        configs.rendered(HOME, {})  # a definition that is broken ends the run before anything changes
        if repository != HOME:
            _copy_definitions(repository, say)
        # Those whose precision changes come last: calibration needs the detector.
        for name in sorted(manifest.NETWORKS, key=lambda name: _converts(wanted.get(name, Wanted()))):
            wish = wanted.get(name, Wanted())
            with tempfile.TemporaryDirectory(prefix="prepare-", dir=CACHE) as work:
                line = _prepare_network(repository, entries, name, wish, Path(work))
            if _converts(wish) and (remark := precision.caution(entries[name].precision)):
                say(f"{name}: {remark}")
            say(f"{name}: {line}{_identity(name, entries[name])}")


def _prepare_network(repository: Path, entries: dict[str, Entry], name: str, wish: Wanted, work: Path) -> str:
    """Completes one network, which `entries` then holds; gives what was done in words. `work` is an empty folder."""
    old = entries.get(name)
    kept = old.in_float32() if old and wish.precision else old
    given, staged, line = _complete(repository, name, kept, wish, work)
    entry = dataclasses.replace(
        given, engine=wish.engine or given.engine, preprocessing=wish.preprocessing or given.preprocessing
    )
    precision.check(name, entry, wish.precision, given)
    # Of a network that stays, the precision that is served stays too until the new one is made.
    served = _completed(old, entry) if old and kept and _converts(wish) and _completed(kept, entry) == entry else entry
    _record(repository, entries, name, served, staged)
    if wish.precision and _converts(wish):
        entry, staged, done = precision.make(repository, name, entry, wish.precision, wish.photos, work)
        _record(repository, entries, name, entry, staged)
        return f"{line}, {done}"
    if old and old.precision != entry.precision:
        return f"{line}, now in {entry.precision}"
    return line if entry.precision == "float32" else f"{line}, in {entry.precision}"


def _completed(old: Entry, new: Entry) -> Entry:
    """The old entry with what an upgrade gave the new one."""
    files = {**old.files, **new.files}
    return dataclasses.replace(old, form=new.form, files=files, largest_difference=new.largest_difference)


def _identity(name: str, entry: Entry) -> str:
    return f"; embeddings are {entry.embedding_id(name)}" if name in precision.NETWORKS else ""


def _converts(wish: Wanted) -> bool:
    return wish.precision not in (None, "float32")


def _record(repository: Path, entries: dict[str, Entry], name: str, entry: Entry, staged: Staged) -> None:
    """Places the network's files with the manifest and the configurations that say so; `entries` then holds it.

    The manifest comes first: whatever ends the rest, a launch finds files that are not those it names, and the next run
    knows what was to be there.
    """
    old, entries[name] = entries.get(name, entry), entry
    texts = configs.rendered(repository, entries)
    files: dict[str, Path | str] = {manifest.NAME: manifest.text(entries, texts), **staged, **texts}
    gone = set(old.files) - set(entry.files)  # such as a landmark network given up
    storage.place({repository / file: content for file, content in files.items()}, [repository / file for file in gone])


def _complete(repository: Path, name: str, entry: Entry | None, wish: Wanted, work: Path) -> tuple[Entry, Staged, str]:
    """Gives the network's entry, those of its files that are yet to be placed, and what was done in words."""
    source = wish.source
    if entry and (source is None or source.hashes == entry.sources):
        entry = _without_lost_forms(repository, entry)
        if entry.intact(repository):
            entry, staged = _brought_up_to_date(repository, name, entry, work)
            _check_engine(name, entry.source, entry.engines, wish)
            return entry, staged, f"already prepared from {entry.source}"
        if source is None:
            _require_default(repository, name, entry)
    if source is None and repository != HOME and (home := _at_home(name, entry, wish)):
        if home.intact(HOME):
            _check_engine(name, home.source, home.engines, wish)
            taken = {file: HOME / file for file in home.files}
            home, made = _brought_up_to_date(HOME, name, home, work)
            return home, {**taken, **made}, f"taken from {HOME.name} ({home.source})"
        _require_default(HOME, name, home)
        entry = home
    source = source or DEFAULTS[name]()
    with Progress(name) as progress:
        prepared = source.make(work, progress)
    _check_engine(name, source.description, prepared.engines, wish)
    entry = _with_settings_of(entry, _entry(source, prepared))
    line = f"prepared from {entry.source} (no step differs by more than {entry.largest_difference:.1e})"
    return entry, prepared.staged, line


def _at_home(name: str, entry: Entry | None, wish: Wanted) -> Entry | None:
    """HOME's network for another repository; only the same one may mend the `entry` there, and with its settings."""
    home = manifest.read(HOME).get(name)
    if home is None or (entry and entry.sources != home.sources):
        return None
    return _with_settings_of(entry, home.in_float32() if entry or wish.precision else home)


def _with_settings_of(old: Entry | None, new: Entry) -> Entry:
    """The same network again keeps the pictures it is given and its engine: other pictures are other embeddings."""
    if old is None or old.sources != new.sources:
        return new
    engine = old.engine if old.engine in new.engines else new.engine
    return dataclasses.replace(new, engine=engine, preprocessing=old.preprocessing)


def _brought_up_to_date(repository: Path, name: str, entry: Entry, work: Path) -> tuple[Entry, Staged]:
    """The entry in today's form, and what it lacked: FORM 3 had no form for CPUs, FORM 4 no compiled loops."""
    if entry.form == manifest.FORM:
        return entry, {}
    made: Staged = {}
    largest = entry.largest_difference
    for_cpus = f"{name}/1/{FOR_CPUS}"
    with Progress(name) as progress:
        if name == "mtcnn":
            progress(networks.COMPILING, 1, 1)
            made = networks.loops(work)
        elif for_cpus not in entry.files:
            progress(networks.LAST_STEP, 1, 1)
            made = {for_cpus: work / FOR_CPUS}
            model = repository / name / "1" / weights_file("float32")
            largest = max(largest, networks.for_cpus(name, model, work / FOR_CPUS, entry.input_size))
    files = {**entry.files, **{file: storage.sha256(path) for file, path in made.items()}}
    return dataclasses.replace(entry, form=manifest.FORM, files=files, largest_difference=largest), made


def _without_lost_forms(repository: Path, entry: Entry) -> Entry:
    """The entry as a form that did not have those of its files yet which are lost or spoilt, and need no source."""
    lost = [file for file in entry.files if file.endswith(_MADE_ANEW) and not entry.holds(repository, file)]
    if not lost:
        return entry
    files = {file: digest for file, digest in entry.files.items() if file not in lost}
    return dataclasses.replace(entry, form=manifest.OLDEST, files=files)


def _require_default(repository: Path, name: str, entry: Entry) -> None:
    """Raises PreparationError for a network, damaged or of an older form, that only its owner can prepare again."""
    where = "" if repository == HOME else f" --repository {repository}"
    damaged = f"and its files in {repository} are not what is prepared today"
    if entry.precision != "float32":
        photos = " --calibrate-with FOLDER" if entry.precision == "int8" else ""
        raise PreparationError(
            f"{name} was prepared in {entry.precision} {damaged}; prepare it again "
            f"(prepare-models {name} --precision {entry.precision}{photos}{where}), or with float32 in its place"
        )
    if entry.sources != DEFAULTS[name]().hashes:
        option = f"--mtcnn {entry.source}" if name == "mtcnn" else f"{name} --from .../{entry.source}"
        raise PreparationError(
            f"{name} was prepared from {entry.source} {damaged}; "
            f"prepare it again (prepare-models {option}{where}), or with 'default' in place of the path"
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


def _copy_definitions(repository: Path, say: Callable[[str], None]) -> None:
    for model in sorted(path.parent for path in HOME.glob("*/config.pbtxt")):
        for name in _DEFINITIONS:
            if (model / name).is_file():
                text, target = (model / name).read_text(), repository / model.name / name
                if target.is_file() and target.read_bytes() != text.encode():
                    say(f"{target}: replaced by that of {HOME}, where definitions are set")
                storage.write(target, text)

"""What a run does where files are damaged or of an older form, in the repository or in the one it takes them from."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.prepare import manifest, networks
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.repository import Wanted
from tests.preprocess.prepare.test_repository import files, run, source
from tests.preprocess.prepare.test_repository import home as home


@pytest.fixture
def earlier(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of the oldest form, FaceNet of one's own and in int8; what it lacks is written in words."""
    with monkeypatch.context() as past:
        past.setattr(manifest, "FORM", manifest.OLDEST)
        files = ["facenet/1/model.onnx", "facenet/1/model.int8.onnx"]
        run(home, facenet=Wanted(source("facenet", "own", files, ("onnxruntime",))))
    entries = manifest.read(home)
    entries["facenet"] = dataclasses.replace(entries["facenet"], precision="int8", mean_cosine=0.99)
    (home / "manifest.json").write_text(manifest.text(entries, {}))

    def for_cpus(name: str, model: Path, target: Path, size: int) -> float:
        assert (name, model.read_text(), size) in [("facenet", "own", 160), ("arcface", "default", 160)]
        target.write_text("for CPUs")
        return 5e-7

    def loops(work: Path) -> dict[str, Path]:
        (work / "area.ll").write_text("loops")
        return {"mtcnn/1/area.ll": work / "area.ll"}

    monkeypatch.setattr(networks, "for_cpus", for_cpus)
    monkeypatch.setattr(networks, "loops", loops)
    return home


def test_a_repository_of_an_older_form_gets_what_it_lacks_and_keeps_the_rest(earlier: Path) -> None:
    before = manifest.read(earlier)
    assert all("already prepared from" in line for line in run(earlier))
    after = manifest.read(earlier)
    for name in ("facenet", "arcface"):
        assert (earlier / name / "1" / "model.cpu.onnx").read_text() == "for CPUs"
        files = {**before[name].files, f"{name}/1/model.cpu.onnx": hashlib.sha256(b"for CPUs").hexdigest()}
        assert after[name] == dataclasses.replace(
            before[name], form=manifest.FORM, files=files, largest_difference=5e-7
        )
    assert (earlier / "mtcnn" / "1" / "area.ll").read_text() == "loops"
    files = {**before["mtcnn"].files, "mtcnn/1/area.ll": hashlib.sha256(b"loops").hexdigest()}
    assert after["mtcnn"] == dataclasses.replace(before["mtcnn"], form=manifest.FORM, files=files)
    assert after["facenet"].embedding_id("facenet") == before["facenet"].embedding_id("facenet")


def test_a_form_for_cpus_that_is_there_is_not_written_again(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(earlier)
    for_cpus = earlier / "facenet" / "1" / "model.cpu.onnx"
    entries = {name: dataclasses.replace(entry, form=4) for name, entry in manifest.read(earlier).items()}
    (earlier / "manifest.json").write_text(manifest.text(entries, {}))
    monkeypatch.setattr(networks, "for_cpus", pytest.fail)
    run(earlier)
    assert {entry.form for entry in manifest.read(earlier).values()} == {manifest.FORM}
    assert for_cpus.read_text() == "for CPUs"


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("damaged")])
def test_what_can_be_made_without_the_source_is_made_again_when_it_is_lost(
    damage: Callable[[Path], object], earlier: Path
) -> None:
    run(earlier)
    made = [earlier / "facenet/1/model.cpu.onnx", earlier / "mtcnn/1/area.ll"]  # facenet is of one's own
    before, texts = manifest.read(earlier), [path.read_text() for path in made]
    for path in made:
        damage(path)
    assert all("already prepared from" in line for line in run(earlier))
    assert manifest.read(earlier) == before
    assert [path.read_text() for path in made] == texts


def spoil(folder: Path, form: int = manifest.FORM) -> None:
    """Leaves FaceNet damaged, or whole and in an older form."""
    if form == manifest.FORM:
        (folder / "facenet/1/model.onnx").unlink()
        (folder / "facenet/1/model.onnx").write_text("damaged")
    entries = manifest.read(folder)
    entries["facenet"] = dataclasses.replace(entries["facenet"], form=form)
    (folder / "manifest.json").write_text(manifest.text(entries, {}))


def test_a_default_file_that_was_damaged_is_made_again(home: Path) -> None:
    run(home)
    (home / "facenet/1/model.onnx").write_text("damaged")
    assert "facenet: prepared" in run(home)[0]
    assert (home / "facenet/1/model.onnx").read_text() == "default"


@pytest.mark.parametrize("form", [manifest.FORM, manifest.OLDEST - 1], ids=["damaged", "of an older form"])
def test_what_is_made_again_keeps_its_pictures_and_its_engine(form: int, home: Path) -> None:
    run(home, facenet=Wanted(engine="two", preprocessing="fixed"))
    before = manifest.read(home)["facenet"]
    spoil(home, form)
    assert "facenet: prepared" in run(home)[0]
    assert manifest.read(home)["facenet"] == before


def test_ones_own_checkpoint_made_again_keeps_its_pictures_and_its_engine_if_it_still_has_it(home: Path) -> None:
    run(home, facenet=Wanted(source("facenet", "own"), engine="two", preprocessing="fixed"))
    before = manifest.read(home)["facenet"]
    spoil(home)
    run(home, facenet=Wanted(source("facenet", "own")))
    assert manifest.read(home)["facenet"] == before
    spoil(home)
    run(home, facenet=Wanted(source("facenet", "own", engines=("one",))))
    entry = manifest.read(home)["facenet"]
    assert (entry.engine, entry.preprocessing) == ("one", "fixed")


def test_other_weights_start_with_their_own_pictures_and_engine(home: Path) -> None:
    run(home, facenet=Wanted(engine="two", preprocessing="fixed"))
    run(home, facenet=Wanted(source("facenet", "own")))
    entry = manifest.read(home)["facenet"]
    assert (entry.engine, entry.preprocessing) == ("one", "prewhiten")


def test_a_damaged_checkpoint_of_ones_own_is_not_replaced_by_the_default(home: Path) -> None:
    run(home, facenet=Wanted(source("facenet", "own")))
    (home / "facenet/1/model.onnx").write_text("damaged")
    with pytest.raises(PreparationError, match=r"\(prepare-models facenet --from \.\.\./facenet-own\), or"):
        run(home)
    assert (home / "facenet/1/model.onnx").read_text() == "damaged"


@pytest.mark.parametrize(
    ("name", "file", "option"),
    [
        ("arcface", "arcface/1/model.onnx", "arcface --from .../arcface-own"),
        ("mtcnn", "mtcnn/1/net.onnx", "--mtcnn mtcnn-own"),
    ],
)
def test_the_remedy_names_the_repository_where_it_is_another(
    name: str, file: str, option: str, home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    run(other, **{name: Wanted(source(name, "own"))})
    (other / file).unlink()
    with pytest.raises(PreparationError) as error:
        run(other)
    assert f"(prepare-models {option} --repository {other})" in str(error.value)


@pytest.mark.parametrize("damaged_here_too", [False, True])
def test_another_repository_is_mended_from_this_one_and_keeps_its_pictures_and_its_engine(
    damaged_here_too: bool, home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    run(home)
    run(other, facenet=Wanted(engine="two", preprocessing="fixed"))
    before = manifest.read(other)["facenet"]
    spoil(other)
    if damaged_here_too:
        spoil(home)
    line = run(other)[0]
    assert ("prepared from facenet-default" if damaged_here_too else "taken from model_repository") in line
    assert manifest.read(other)["facenet"] == before


def test_a_damaged_default_elsewhere_is_not_replaced_by_weights_of_ones_own_here(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(other)
    run(home, facenet=Wanted(source("facenet", "own")))
    before = manifest.read(other)["facenet"]
    spoil(other)
    assert "prepared from facenet-default" in run(other)[0]
    assert manifest.read(other)["facenet"] == before


@pytest.mark.parametrize("form", [manifest.FORM, manifest.OLDEST - 1], ids=["damaged", "of an older form"])
def test_another_repository_gets_no_defaults_for_weights_of_ones_own_that_are_damaged_here(
    form: int, home: Path, tmp_path: Path
) -> None:
    run(home, facenet=Wanted(source("facenet", "own")))
    spoil(home, form)
    with pytest.raises(PreparationError) as error:
        run(tmp_path / "other")
    assert f"its files in {home} are not what is prepared today" in str(error.value)
    assert "(prepare-models facenet --from .../facenet-own), or" in str(error.value)
    assert not (tmp_path / "other" / "manifest.json").exists()


def test_another_repository_gets_the_pictures_of_a_damaged_default(home: Path, tmp_path: Path) -> None:
    run(home, facenet=Wanted(engine="two", preprocessing="fixed"))
    before = manifest.read(home)["facenet"]
    spoil(home)
    assert "prepared from facenet-default" in run(tmp_path / "other")[0]
    assert manifest.read(tmp_path / "other")["facenet"] == before


def test_another_repository_gets_what_this_one_lacks_in_the_form_before(earlier: Path, tmp_path: Path) -> None:
    other, before = tmp_path / "other", files(earlier)
    assert "taken from model_repository (facenet-own), in int8" in run(other)[0]
    assert (other / "facenet/1/model.cpu.onnx").read_text() == "for CPUs"
    assert (other / "facenet/1/model.onnx").samefile(earlier / "facenet/1/model.onnx")
    entry = manifest.read(other)["facenet"]
    assert entry.intact(other)
    assert entry.form == manifest.FORM
    assert files(earlier) == before

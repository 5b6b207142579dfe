"""What a run does with a repository, with makers that write a few bytes in place of networks."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.prepare import manifest, repository
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.networks import Prepared, Source, Step
from preprocess.prepare.repository import Wanted

CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 0
input {{ name: "IMAGE" data_type: TYPE_STRING dims: [ 1 ] }}
output {{ name: "EMBEDDING" data_type: TYPE_FP32 dims: [ -1, -1 ] }}
"""
FILES = {"facenet": ["facenet/1/model.graphdef", "facenet/1/model.onnx"], "arcface": ["arcface/1/model.onnx"]}


def source(
    name: str, content: str, files: list[str] | None = None, engines: tuple[str, ...] = ("one", "two")
) -> Source:
    """A source that writes `content` into every file; its hash is that of the content."""

    def make(work: Path, step: Step) -> Prepared:
        step("writing", 1, 1)
        staged = {}
        for place, file in enumerate(files or FILES.get(name, [f"{name}/1/net.onnx"])):
            staged[file] = work / str(place)
            staged[file].write_text(content)
        return Prepared(staged, list(engines), "prewhiten", 160, 24, 1e-7)

    return Source(f"{name}-{content}", {f"{name}.bin": hashlib.sha256(content.encode()).hexdigest()}, make)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three models and default sources that write "default"."""
    home = tmp_path / "model_repository"
    for name in ("facenet", "arcface", "arcface_photo"):
        (home / name / "1").mkdir(parents=True)
        (home / name / "config.pbtxt").write_text(CONFIG.format(name=name))
        (home / name / "1" / "model.py").write_text("# a model\n")
    monkeypatch.setattr(repository, "HOME", home)
    monkeypatch.setattr(repository, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(repository, "PACKAGES", tmp_path / "cache" / "packages")
    monkeypatch.setattr(repository, "LOG", tmp_path / "cache" / "prepare.log")
    defaults: dict[str, Callable[[], Source]] = {
        name: lambda name=name: source(name, "default") for name in manifest.NETWORKS
    }
    monkeypatch.setattr(repository, "DEFAULTS", defaults)
    return home


def run(folder: Path, **wanted: Wanted) -> list[str]:
    said: list[str] = []
    repository.prepare(folder, wanted, said.append)
    return said


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_first_run_prepares_everything_and_a_second_nothing(home: Path) -> None:
    first = run(home)
    assert [line.split()[1] for line in first] == ["prepared"] * 3
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    for line, name in zip(run(home), manifest.NETWORKS, strict=True):
        assert line.startswith(f"{name}: already prepared from {name}-default")
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == before


def test_ones_own_checkpoint_stays_until_the_default_is_asked_for(home: Path) -> None:
    run(home, facenet=Wanted(source("facenet", "own")))
    assert "already prepared from facenet-own" in run(home)[0]
    assert (home / "facenet/1/model.onnx").read_text() == "own"
    run(home, facenet=Wanted(source("facenet", "default")))
    assert (home / "facenet/1/model.onnx").read_text() == "default"


def test_the_same_checkpoint_again_is_not_prepared_again(home: Path) -> None:
    run(home, facenet=Wanted(source("facenet", "own")))
    assert "already prepared" in run(home, facenet=Wanted(source("facenet", "own")))[0]


def test_files_the_new_network_does_not_have_go(home: Path) -> None:
    run(home)
    run(home, facenet=Wanted(source("facenet", "own", ["facenet/1/model.onnx"])))
    assert not (home / "facenet/1/model.graphdef").exists()


def test_another_repository_is_filled_from_this_one_without_copies(home: Path, tmp_path: Path) -> None:
    run(home)
    other = tmp_path / "other"
    lines = run(other, arcface=Wanted(source("arcface", "own")))
    assert "taken from model_repository" in lines[0]
    assert "prepared from arcface-own" in lines[1]
    assert (other / "facenet/1/model.onnx").samefile(home / "facenet/1/model.onnx")
    assert (other / "facenet/1/model.py").read_text() == "# a model\n"
    assert (home / "arcface/1/model.onnx").read_text() == "default"


def test_another_repository_can_be_prepared_first(home: Path, tmp_path: Path) -> None:
    assert "prepared from facenet-default" in run(tmp_path / "other")[0]
    assert not (home / "manifest.json").exists()


@pytest.mark.parametrize("failure", [PreparationError("no good"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_whatever_stops_a_preparation_leaves_the_old_one_whole(failure: BaseException, home: Path) -> None:
    def make(work: Path, step: Step) -> Prepared:
        (work / "half").write_text("half")
        raise failure

    run(home)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(type(failure)):
        run(home, arcface=Wanted(Source("broken", {"a": "b"}, make)))
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    assert not list((home.parent / "cache").glob("prepare-*/"))


def test_what_a_killed_preparation_left_is_removed(home: Path) -> None:
    left = home.parent / "cache" / "prepare-abc"
    left.mkdir(parents=True)
    (left / "half").touch()
    run(home)
    assert not left.exists()


def test_the_prepared_configuration_says_what_runs_and_what_its_numbers_are(home: Path) -> None:
    run(home, facenet=Wanted(engine="two", preprocessing="fixed"))
    digest = hashlib.sha256(b"default").hexdigest()
    text = " ".join((home / "facenet/configs/prepared.pbtxt").read_text().split())
    for key, value in {
        "ENGINE": "two",
        "EMBEDDING_ID": f"facenet-{digest[:12]}-fixed",
        "PREPROCESSING": "fixed",
        "WEIGHTS_SHA256": digest,
        "WEIGHTS_SOURCE": "facenet-default",
    }.items():
        assert f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' in text
    assert "dims: -1 dims: 24" in text


def test_every_network_that_embeds_says_which_embeddings_are_its_own(home: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"default").hexdigest()[:12]
    run(home)
    lines = run(tmp_path / "other", facenet=Wanted(preprocessing="fixed"))
    assert lines == [
        f"facenet: taken from model_repository (facenet-default); embeddings are facenet-{digest}-fixed",
        f"arcface: taken from model_repository (arcface-default); embeddings are arcface-{digest}-prewhiten",
        "mtcnn: taken from model_repository (mtcnn-default)",
    ]


def test_settings_stay_until_they_are_changed(home: Path) -> None:
    run(home, facenet=Wanted(engine="two", preprocessing="fixed"))
    run(home)
    entry = manifest.read(home)["facenet"]
    assert (entry.engine, entry.preprocessing) == ("two", "fixed")


def test_an_engine_that_cannot_run_the_network_is_refused(home: Path) -> None:
    run(home)
    with pytest.raises(PreparationError, match="facenet from facenet-own runs with one only"):
        run(home, facenet=Wanted(source("facenet", "own", engines=("one",)), engine="two"))
    assert (home / "facenet/1/model.onnx").read_text() == "default"
    with pytest.raises(PreparationError, match="facenet from facenet-default runs with one or two only"):
        run(home, facenet=Wanted(engine="three"))


def test_a_detecting_model_says_which_detector(home: Path) -> None:
    run(home)
    text = (home / "arcface_photo/configs/prepared.pbtxt").read_text()
    assert "MTCNN_SHA256" in text
    assert "EMBEDDING_ID" in text


def test_a_changed_configuration_is_taken_over(home: Path) -> None:
    run(home)
    config = home / "facenet/config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 0", "max_batch_size: 0\ninstance_group { count: 7 }"))
    run(home)
    assert "count: 7" in (home / "facenet/configs/prepared.pbtxt").read_text()


def test_a_definition_that_was_changed_in_another_repository_is_replaced_and_named(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert not [line for line in run(other) if "replaced" in line]
    config = other / "facenet/config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 0", "max_batch_size: 7"))
    assert [line.split(": replaced")[0] for line in run(other) if "replaced" in line] == [str(config)]
    assert config.read_text() == (home / "facenet/config.pbtxt").read_text()


def test_a_broken_configuration_is_named(home: Path) -> None:
    (home / "facenet/config.pbtxt").write_text('name: "facenet')
    with pytest.raises(PreparationError, match=r"facenet/config\.pbtxt: "):
        run(home)


def test_a_broken_configuration_ends_the_run_before_anything_changes(home: Path, tmp_path: Path) -> None:
    run(home)
    other = tmp_path / "other"
    run(other, facenet=Wanted(source("facenet", "mine")))
    (other / "mine").mkdir()
    (other / "mine/config.pbtxt").write_text("name: ")
    (home / "arcface_photo/config.pbtxt").write_text('name: "arcface_photo')
    before = files(tmp_path)
    for folder in (home, other):
        with pytest.raises(PreparationError, match=r"model_repository/arcface_photo/config\.pbtxt: "):
            run(folder, facenet=Wanted(source("facenet", "own")))
        assert files(tmp_path) == before
    (home / "arcface_photo/config.pbtxt").write_text(CONFIG.format(name="arcface_photo"))
    with pytest.raises(PreparationError, match=r"other/mine/config\.pbtxt: "):
        run(other, facenet=Wanted(source("facenet", "own")))
    assert files(other) == {path: content for path, content in before.items() if other in path.parents}

"""Another precision than float32: that it is asked for, stated, bounded and given up again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocess import engines
from preprocess.prepare import manifest, native, networks, precision, repository
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.precision import Drift
from preprocess.prepare.repository import Wanted
from tests.preprocess.prepare import made
from tests.preprocess.prepare.test_repository import home as home
from tests.preprocess.prepare.test_repository import run, source

ORT = ("onnxruntime", "tensorflow")


@pytest.fixture
def ready(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared repository of engines that exist, where a conversion writes a few bytes and hardly drifts."""
    names: dict[str, Callable[[], Any]] = {
        name: lambda name=name: source(name, "default", engines=ORT) for name in manifest.NETWORKS
    }
    monkeypatch.setattr(repository, "DEFAULTS", names)
    converting(monkeypatch, Drift(0.99, 0.98))
    run(home)
    return home


def converting(monkeypatch: pytest.MonkeyPatch, drift: Drift) -> None:
    def in_child(function: Callable[..., Drift], name: str, source: Path, target: Path, *args: object) -> Drift:
        target.write_bytes(function.__name__.encode() + source.read_bytes())
        return drift

    monkeypatch.setattr(precision, "in_child", in_child)
    monkeypatch.setitem(precision.BOUNDS, "float16", Drift(0.98, 0.95))


def int8(**more: Any) -> Wanted:
    return Wanted(precision="int8", photos=Path("photos"), **more)


def identity(home: Path, network: str = "facenet") -> str:
    return manifest.read(home)[network].embedding_id(network)


def files(home: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_without_asking_everything_is_float32(ready: Path) -> None:
    assert {entry.precision for entry in manifest.read(ready).values()} == {"float32"}
    digest = manifest.read(ready)["facenet"].weights_sha256
    assert identity(ready) == f"facenet-{digest[:12]}-prewhiten"
    assert 'string_value: "float32"' in (ready / "facenet/configs/prepared.pbtxt").read_text()


@pytest.mark.parametrize("wish", [int8(), Wanted(precision="float16")], ids=["int8", "float16"])
def test_another_precision_is_another_embedding_and_says_how_far_off(wish: Wanted, ready: Path) -> None:
    before, weights = identity(ready), (ready / "facenet/1/model.onnx").read_bytes()
    lines = run(ready, facenet=wish)
    assert lines[-1] == (
        f"facenet: already prepared from facenet-default, now in {wish.precision}: "
        "cosine to float32's embeddings 0.99000, of the worst face 0.98000; "
        f"embeddings are {identity(ready)}"
    )
    entry = manifest.read(ready)["facenet"]
    assert (entry.precision, entry.mean_cosine, entry.worst_cosine) == (wish.precision, 0.99, 0.98)
    assert identity(ready).startswith(f"{before}-{wish.precision}-")
    for model in ("facenet", "arcface_photo"):
        said = (ready / model / "configs/prepared.pbtxt").read_text()
        assert (identity(ready) in said, f'"{wish.precision}"' in said) == ((model == "facenet"),) * 2
    assert (ready / "facenet/1/model.onnx").read_bytes() == weights
    assert (ready / f"facenet/1/model.{wish.precision}.onnx").is_file()


def test_it_stays_until_float32_is_asked_for(ready: Path) -> None:
    before = files(ready)
    run(ready, facenet=int8())
    assert "already prepared from facenet-default, in int8; " in run(ready)[0]
    assert manifest.read(ready)["facenet"].precision == "int8"
    assert "now in float32" in run(ready, facenet=Wanted(precision="float32"))[0]
    assert files(ready) == before


def test_one_precision_takes_the_place_of_another(ready: Path) -> None:
    run(ready, facenet=int8())
    run(ready, facenet=Wanted(precision="float16"))
    assert [path.name for path in (ready / "facenet/1").glob("model.*.onnx")] == ["model.float16.onnx"]


def test_too_much_drift_stops_the_preparation_and_changes_nothing(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ready, facenet=int8())
    before = files(ready)
    for drift in (Drift(0.99, 0.9), Drift(0.9, 0.99), Drift(float("nan"), 1)):
        converting(monkeypatch, drift)
        with pytest.raises(PreparationError, match="too far from float32"):
            run(ready, facenet=int8())
        assert files(ready) == before


def test_an_older_form_whose_new_calibration_fails_is_served_as_before(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ready, facenet=int8())
    before, served = identity(ready), (ready / "facenet/1/model.int8.onnx").read_bytes()
    entries = {name: dataclasses.replace(entry, form=4) for name, entry in manifest.read(ready).items()}
    (ready / "manifest.json").write_text(manifest.text(entries, {}))
    converting(monkeypatch, Drift(0.5, 0.5))
    monkeypatch.setattr(networks, "for_cpus", lambda name, model, target, size: target.write_text("CPUs") * 0.0)
    monkeypatch.setattr(networks, "loops", lambda work: {})
    with pytest.raises(PreparationError, match="too far from float32"):
        run(ready, facenet=int8())
    assert (identity(ready), (ready / "facenet/1/model.int8.onnx").read_bytes()) == (before, served)
    entry = manifest.read(ready)["facenet"]
    assert (entry.form, entry.intact(ready)) == (manifest.FORM, True)


def test_new_weights_whose_form_drifts_too_far_are_served_in_float32(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converting(monkeypatch, Drift(0.5, 0.5))
    with pytest.raises(PreparationError, match="too far"):
        run(ready, facenet=int8(source=source("facenet", "own", engines=ORT)))
    entry = manifest.read(ready)["facenet"]
    assert (entry.source, entry.precision, entry.intact(ready)) == ("facenet-own", "float32", True)


def test_new_weights_are_in_float32_until_calibrated(ready: Path) -> None:
    run(ready, facenet=int8())
    lines = run(ready, facenet=Wanted(source("facenet", "own", engines=ORT)))
    assert lines[0].endswith(f"now in float32; embeddings are {identity(ready)}")
    assert not (ready / "facenet/1/model.int8.onnx").exists()


@pytest.mark.parametrize("first", [False, True], ids=["engine-later", "engine-first"])
def test_a_native_engine_and_a_lower_precision_are_refused(first: bool, ready: Path) -> None:
    wishes = [int8(), Wanted(engine="tensorflow")]
    one, other = reversed(wishes) if first else wishes
    run(ready, facenet=one)
    before = files(ready)
    with pytest.raises(PreparationError, match=r"int8 runs with onnxruntime only.*--facenet-engine onnxruntime or"):
        run(ready, facenet=other)
    assert files(ready) == before


def test_pictures_it_was_not_calibrated_with_are_refused(ready: Path) -> None:
    run(ready, facenet=int8())
    with pytest.raises(PreparationError, match=r"calibrated with prewhiten pictures; add --precision int8"):
        run(ready, facenet=Wanted(preprocessing="fixed"))
    run(ready, facenet=int8(preprocessing="fixed"))
    assert "-fixed-int8-" in identity(ready)


def test_pictures_that_another_repository_was_not_calibrated_with_are_refused_too(ready: Path, tmp_path: Path) -> None:
    run(ready, facenet=int8())
    with pytest.raises(PreparationError, match=r"calibrated with prewhiten pictures; add --precision int8"):
        run(tmp_path / "other", facenet=Wanted(preprocessing="fixed"))
    run(tmp_path / "other", facenet=Wanted(preprocessing="fixed", precision="float32"))
    assert identity(tmp_path / "other").endswith("-fixed")


def test_a_float32_network_elsewhere_is_not_mended_with_the_int8_form_from_here(ready: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(other, facenet=Wanted(preprocessing="fixed"))
    run(ready, facenet=int8())
    before = identity(other)
    (other / "facenet/1/model.onnx").unlink()
    assert "taken from model_repository" in run(other)[0]
    assert identity(other) == before


def test_a_damaged_form_here_is_no_float32_elsewhere(ready: Path, tmp_path: Path) -> None:
    run(ready, facenet=int8())
    (ready / "facenet/1/model.int8.onnx").write_text("damaged")
    with pytest.raises(PreparationError, match=r"\(prepare-models facenet --precision int8 --calibrate-with FOLDER\)"):
        run(tmp_path / "other")


def test_a_damaged_form_is_not_replaced_by_float32_in_silence(ready: Path) -> None:
    run(ready, facenet=int8())
    (ready / "facenet/1/model.int8.onnx").write_text("damaged")
    with pytest.raises(PreparationError, match=r"--precision int8 --calibrate-with FOLDER\), or with float32"):
        run(ready)
    run(ready, facenet=Wanted(precision="float32"))
    assert run(ready)[0] == f"facenet: already prepared from facenet-default; embeddings are {identity(ready)}"


def test_the_remedy_of_a_damaged_form_names_the_repository_where_it_is_another(ready: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", facenet=Wanted(precision="float16"))
    (tmp_path / "other/facenet/1/model.float16.onnx").unlink()
    with pytest.raises(PreparationError) as error:
        run(tmp_path / "other")
    assert f"(prepare-models facenet --precision float16 --repository {tmp_path / 'other'})" in str(error.value)


def test_another_repository_takes_the_precision_over_unless_told_otherwise(ready: Path, tmp_path: Path) -> None:
    run(ready, facenet=int8())
    assert "taken from model_repository (facenet-default), in int8; " in run(tmp_path / "one")[0]
    assert identity(tmp_path / "one") == identity(ready)
    run(tmp_path / "two", facenet=Wanted(precision="float32"))
    assert not (tmp_path / "two/facenet/1/model.int8.onnx").exists()


def test_a_manifest_from_before_means_float32(ready: Path) -> None:
    path = ready / "manifest.json"
    lines = [line for line in path.read_text().splitlines() if "precision" not in line and "_cosine" not in line]
    path.write_text("\n".join(lines))
    assert all("already prepared" in line and "now in" not in line for line in run(ready))
    assert manifest.read(ready)["facenet"].precision == "float32"


@pytest.mark.parametrize("network", ["facenet", "arcface"])
def test_float16_computes_in_float16_between_float32(network: str, tmp_path: Path) -> None:
    import onnx

    folder = tmp_path / "made"
    folder.mkdir()
    (made.onnx_facenets if network == "facenet" else made.onnx_arcfaces)(folder)
    original = folder / ("channels-last.onnx" if network == "facenet" else "scaled-inside.onnx")
    target = tmp_path / engines.weights_file("float16")
    drift = precision.to_float16(network, original, target, made.SIZE)
    assert drift.mean >= precision.BOUNDS["float16"].mean
    assert drift.worst >= precision.BOUNDS["float16"].worst
    model = onnx.load(target)
    (kernel,) = (tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    assert kernel.data_type == onnx.TensorProto.FLOAT16
    faces = made.faces() if network == "facenet" else made.aligned()
    embeddings = engines.load_embedder("onnxruntime", tmp_path, 1, precision="float16")(faces)
    assert embeddings.dtype == np.float32
    assert 0 < native.largest_difference(embeddings, native.onnxruntime(original, faces)[0]) < 0.01


def test_numbers_that_are_not_finite_count_as_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"one": np.ones((1, 4), np.float32), "other": np.full((1, 4), np.nan, np.float32)}
    monkeypatch.setattr(native, "onnxruntime", lambda path, face: [rows[path.name]])
    assert precision.drift_of(tmp_path / "one", tmp_path / "other", np.zeros((3, 1), np.float32)).worst == -1


@pytest.mark.parametrize(
    ("wanted", "flags", "said"),
    [("int8", "sse avx2", "no VNNI"), ("int8", "avx512_vnni", ""), ("float32", "sse", ""), ("float16", "", "GPUs")],
)
def test_what_a_processor_makes_of_a_precision_is_said(
    wanted: str, flags: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(precision, "_CPU", tmp_path / "cpuinfo")
    assert (said in precision.caution(wanted)) if said else (precision.caution(wanted) == "")

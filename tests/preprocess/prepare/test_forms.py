"""Recognising what somebody brought."""

from pathlib import Path

import pytest

from preprocess.prepare import forms
from preprocess.prepare.errors import PreparationError


def touched(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("something")
    return [folder / name for name in names]


CHECKPOINT = ("model-20180402-114759.ckpt-275.index", "model-20180402-114759.ckpt-275.data-00000-of-00001")


@pytest.mark.parametrize(
    ("name", "form"), [("a.pb", "frozen"), ("a.keras", "keras"), ("a.h5", "keras"), ("a.onnx", "onnx")]
)
def test_a_file_is_known_by_its_ending(name: str, form: str, tmp_path: Path) -> None:
    (path,) = touched(tmp_path, name)
    assert forms.facenet(path) == forms.Checkpoint(form, (path,))


def test_a_saved_model_is_its_graph_and_its_variables(tmp_path: Path) -> None:
    files = touched(tmp_path, "saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")
    assert forms.facenet(tmp_path) == forms.Checkpoint("savedmodel", tuple(files))


def test_a_saved_model_of_a_frozen_graph_has_no_variables(tmp_path: Path) -> None:
    (path,) = touched(tmp_path, "saved_model.pb")
    (tmp_path / "variables").mkdir()
    assert forms.facenet(tmp_path) == forms.Checkpoint("savedmodel", (path,))


@pytest.mark.parametrize("kept", ["variables.index", "variables.data-00000-of-00001"])
def test_a_saved_model_with_half_of_its_variables_is_refused(kept: str, tmp_path: Path) -> None:
    touched(tmp_path, "saved_model.pb", f"variables/{kept}")
    with pytest.raises(PreparationError, match="there is no such file"):
        forms.facenet(tmp_path)


def test_a_training_folder_is_its_meta_and_its_checkpoint(tmp_path: Path) -> None:
    files = touched(tmp_path, "model-20180402-114759.meta", *CHECKPOINT)
    touched(tmp_path, "20180402-114759.pb")
    assert forms.facenet(tmp_path) == forms.Checkpoint("metagraph", tuple(files))


def test_the_file_checkpoint_decides_which_one(tmp_path: Path) -> None:
    touched(tmp_path, "m.meta", "m.ckpt-1.index", "m.ckpt-1.data-0", "m.ckpt-2.index", "m.ckpt-2.data-0")
    assert forms.facenet(tmp_path).files[1].name == "m.ckpt-2.index"
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/home/david/models/m.ckpt-1"\n')
    assert forms.facenet(tmp_path).files[1].name == "m.ckpt-1.index"


@pytest.mark.parametrize("metas", [(), ("a.meta", "b.meta")])
def test_exactly_one_meta_is_needed(metas: tuple[str, ...], tmp_path: Path) -> None:
    touched(tmp_path, *CHECKPOINT, *metas)
    with pytest.raises(PreparationError, match=f"holds {len(metas)} .meta files; exactly one"):
        forms.facenet(tmp_path)


@pytest.mark.parametrize("missing", CHECKPOINT)
def test_a_checkpoint_with_a_part_missing_is_refused(missing: str, tmp_path: Path) -> None:
    touched(tmp_path, "model.meta", *(name for name in CHECKPOINT if name != missing))
    with pytest.raises(PreparationError, match=r"no such file|holds no \.index"):
        forms.facenet(tmp_path)


def test_what_is_not_accepted_is_told_what_is(tmp_path: Path) -> None:
    (path,) = touched(tmp_path, "model.pth")
    with pytest.raises(PreparationError, match=r"not a frozen \.pb, a folder with \.meta"):
        forms.facenet(path)
    with pytest.raises(PreparationError, match="no such file or folder"):
        forms.facenet(tmp_path / "absent.pb")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (path,) = touched(tmp_path, "model.pb")
    path.write_bytes(b"")
    with pytest.raises(PreparationError, match=r"model\.pb: the file is empty"):
        forms.facenet(path)


def test_an_mxnet_checkpoint_may_be_named_by_its_params_file(tmp_path: Path) -> None:
    files = touched(tmp_path, "model-r100-symbol.json", "model-r100-0003.params")
    assert forms.arcface(files[1], 0) == forms.Checkpoint("mxnet", tuple(files))


def test_an_mxnet_checkpoint_is_named_by_prefix_and_epoch(tmp_path: Path) -> None:
    files = touched(tmp_path, "model-r100-symbol.json", "model-r100-0003.params")
    assert forms.arcface(tmp_path / "model-r100", 3) == forms.Checkpoint("mxnet", tuple(files))
    with pytest.raises(PreparationError, match=r"model-r100-0000\.params: there is no such file"):
        forms.arcface(tmp_path / "model-r100", 0)


INSIGHTFACE_CONF = """{
    "http_server" : {
        "exec" : {"main_class": "InsightFaceModel", "main_file": "insightface_infer"},
        "mxnet" : {"model_dir" : "./checkpoint_dir", "model_name" : "model-r100-aceFace", "num_epoch" : 3}
    }
}"""


@pytest.mark.parametrize("place", ["checkpoint_dir", "code/checkpoint_dir"])
def test_a_conf_of_the_original_names_the_checkpoint(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(parents=True)
    conf = tmp_path / "insightface_infer.conf"
    conf.write_text(INSIGHTFACE_CONF)
    assert forms.conf(conf) == ("arcface", tmp_path / place / "model-r100-aceFace", 3)
    conf.write_text('{"http_server": {"exec": {}, "tensorflow": {"model_dir": "./checkpoint_dir"}}}')
    assert forms.conf(conf) == ("facenet", tmp_path / place, 0)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"http_server": {"exec": {}}}', '{"http_server": {"mxnet": {"model_dir": "."}}}', "\udcff"],
)
def test_a_conf_without_a_checkpoint_is_refused(text: str, tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text(text, errors="surrogateescape")
    with pytest.raises(PreparationError, match=r"a\.conf: "):
        forms.conf(conf)


@pytest.mark.parametrize("epoch", ["1e400", "null", "[]"])
def test_a_conf_whose_epoch_is_no_number_of_one_is_refused(epoch: str, tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text(INSIGHTFACE_CONF.replace(": 3}", f": {epoch}}}"))
    with pytest.raises(PreparationError, match=r"a\.conf: needs http_server\.mxnet with .* num_epoch"):
        forms.conf(conf)


@pytest.mark.parametrize("path", [".", "/"])
def test_a_folder_is_no_prefix_of_a_checkpoint(path: str) -> None:
    with pytest.raises(PreparationError, match=r": this is not an \.onnx or \.params file, or the prefix"):
        forms.arcface(Path(path), 0)

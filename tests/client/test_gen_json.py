"""The two makers of test.json."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from client.__main__ import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which holds a photo with a face and one without."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut()).save("face.png")
    Image.new("RGB", (200, 160), "grey").save("wall.png")
    return tmp_path


def packed() -> list[np.ndarray]:
    """The pictures in test.json as uint8[h, w, 3], each checked to be a PNG of three channels."""
    images = [
        Image.open(io.BytesIO(base64.b64decode(text))) for text in json.loads(Path("test.json").read_text())["images"]
    ]
    assert {(image.format, image.mode) for image in images} <= {("PNG", "RGB")}
    return [np.asarray(image) for image in images]


def test_the_body_has_the_keys_order_and_separators_of_the_original():
    assert main(["gen_example_json", "--image_files", "face.png", "wall.png"]) == 0
    text = Path("test.json").read_text()
    images = json.loads(text)["images"]
    assert text == f'{{"images": ["{images[0]}", "{images[1]}"], "cnt": 2}}'


def test_a_picture_is_scaled_whole_by_pillows_bilinear_filter():
    main(["gen_example_json", "--image_files", "face.png"])
    want = Image.open("face.png").resize((160, 160), Image.Resampling.BILINEAR)
    assert np.array_equal(packed()[0], np.asarray(want))


def test_the_size_is_an_option():
    main(["gen_example_json", "--image_files", "wall.png", "--image_size", "96"])
    assert packed()[0].shape == (96, 96, 3)


def test_a_grey_picture_becomes_rgb():
    Image.new("L", (160, 160), 9).save("grey.png")
    main(["gen_example_json", "--image_files", "grey.png"])
    assert np.all(packed()[0] == 9)


def test_a_missing_file_is_one_clear_line(capsys):
    assert main(["gen_example_json", "--image_files", "face.png", "absent.png"]) == 1
    assert capsys.readouterr().err == "gen_example_json: absent.png: No such file or directory\n"
    assert not Path("test.json").exists()


def test_a_file_that_is_no_picture_is_one_clear_line(capsys):
    Path("notes.png").write_text("not a picture")
    assert main(["gen_img_json", "--image_files", "notes.png"]) == 1
    assert capsys.readouterr().err == (
        "gen_img_json: notes.png: image_format: not a picture; send JPEG, PNG, WebP or BMP\n"
    )


@pytest.mark.parametrize("command", ["gen_example_json", "gen_img_json"])
def test_a_test_json_that_cannot_be_written_is_one_clear_line(command, repository, capsys):
    Path("test.json").mkdir()
    assert main([command, "--image_files", "face.png"]) == 1
    assert capsys.readouterr().err == f"{command}: test.json: Is a directory\n"


@pytest.mark.parametrize("size", ["0", "-160", "5000", "big"])
def test_a_size_that_makes_no_picture_is_refused(size, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["gen_example_json", "--image_files", "face.png", "--image_size", size])
    assert f"--image_size: {size!r} is no size; give a whole number of pixels from 1 to 4096" in capsys.readouterr().err


def test_the_best_face_is_cut_out_with_a_margin(repository):
    assert main(["gen_img_json", "--image_files", "face.png", "face.png", "--gpu_memory_fraction", "0.5"]) == 0
    first, second = packed()
    assert first.shape == (160, 160, 3)
    assert np.array_equal(first, second)
    assert main(["gen_img_json", "--image_files", "face.png", "--margin", "0"]) == 0
    assert not np.array_equal(packed()[0], first)


def test_a_photo_without_a_face_is_named_and_left_out(repository, capsys):
    assert main(["gen_img_json", "--image_files", "wall.png", "face.png"]) == 1
    assert capsys.readouterr().err == "gen_img_json: wall.png: no face found, left out\n"
    assert len(packed()) == 1


def test_without_any_face_nothing_is_written(repository, capsys):
    assert main(["gen_img_json", "--image_files", "wall.png"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "gen_img_json: no face to write, test.json is left as it was"
    assert not Path("test.json").exists()


@pytest.mark.parametrize("there", [[], ["pnet.onnx", "rnet.onnx", "onet.onnx"]], ids=["nothing", "no loops"])
def test_a_detector_that_is_not_prepared_is_one_clear_line(there, repository, tmp_path, monkeypatch, capsys):
    for name in there:
        shutil.copy(repository / "face_detect" / "1" / name, tmp_path)
    monkeypatch.setattr("client.gen_img_json.WEIGHTS", tmp_path)
    assert main(["gen_img_json", "--image_files", "face.png"]) == 1
    said = "gen_img_json: the detector is not prepared, or by an older version; run scripts/prepare-models\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("request_file", "photos", "allowed"),
    [
        # These two photos decode alike with the libjpeg of the recording and with ours; img12 and img25 nearly so.
        pytest.param("gen_img_json-1.json", ["img5.jpg", "img6.jpg"], 1, id="img5-img6"),
        pytest.param("gen_img_json-2.json", ["img12.jpg", "img25.jpg"], 16, id="img12-img25"),
    ],
)
def test_the_crops_are_those_that_the_original_recorded(request_file, photos, allowed, golden, repository):
    assert main(["gen_img_json", "--image_files", *(str(golden / "images" / photo) for photo in photos)]) == 0
    recorded = json.loads((golden / "requests" / request_file).read_text())["images"]
    for crop, text in zip(packed(), recorded, strict=True):
        want = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        difference = np.abs(crop.astype(int) - want)
        assert difference.max() <= allowed
        assert difference.mean() < 0.5

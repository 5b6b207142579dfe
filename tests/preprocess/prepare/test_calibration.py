"""From a folder of photos to the faces that calibrate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from preprocess import cascade, engines, facenet, image, mtcnn, photo
from preprocess.prepare import calibration
from preprocess.prepare.errors import PreparationError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many photos as are needed, a folder each, with one face that moves."""
    folder = tmp_path_factory.mktemp("photos")
    whole = Image.fromarray(astronaut())
    for number in range(calibration.LEAST):
        (folder / f"person {number:02}").mkdir()
        whole.crop((140 + number, 40, 300 + number, 200)).save(folder / f"person {number:02}" / "photo.PNG")
    return folder


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match=r"absent: there is no such folder of photos"):
        calibration.photos(tmp_path / "absent")


def test_too_few_photos_are_counted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes((folder / "person 00" / "photo.PNG").read_bytes())
    (tmp_path / "list.txt").touch()
    with pytest.raises(PreparationError, match=r"holds 1 photos; 48 with a face are needed"):
        calibration.photos(tmp_path)


@pytest.mark.parametrize(
    ("count", "first"),
    [
        (calibration.MOST - 1, ["0000", "0001", "0002"]),
        (calibration.MOST + 1, ["0000", "0001", "0002"]),
        (3 * calibration.MOST, ["0000", "0003", "0006"]),
    ],
)
def test_of_many_photos_as_many_as_are_looked_at_are_taken_evenly_apart(
    count: int, first: list[str], tmp_path: Path
) -> None:
    for number in range(count):
        (tmp_path / f"{number:04}.jpg").touch()
    taken = [path.stem for path in calibration.photos(tmp_path)]
    assert taken[:3] == first
    assert len(set(taken)) == min(count, calibration.MOST)


def test_photos_without_a_face_and_broken_ones_do_not_count(
    repository: Path, make_picture: Callable[..., bytes], tmp_path: Path
) -> None:
    for number in range(calibration.LEAST):
        (tmp_path / f"{number}.png").write_bytes(make_picture(seed=number) if number % 2 else b"no picture")
    with pytest.raises(PreparationError, match=r"0 photos show a face; 48 are needed"):
        calibration.faces("arcface", tmp_path, repository / "face_crops" / "1", facenet.Form())


@pytest.mark.parametrize("network", ["facenet", "arcface"])
def test_faces_are_what_the_models_make_of_the_photos(network: str, folder: Path, repository: Path) -> None:
    detector, form = repository / "face_crops" / "1", facenet.Form(96, "fixed")
    calibrating, judging = calibration.faces(network, folder, detector, form)
    assert (len(calibrating), len(judging)) == (36, 12)
    picture = image.decode((folder / "person 04" / "photo.PNG").read_bytes())
    seen = mtcnn.detect(picture, mtcnn.load(detector, engines.cores()), cascade.Options())
    options = photo.Options(cascade.Options(), apply_exif=True, case_study=False, facenet=form)
    made = photo.facenet_faces(picture, seen, options) if network == "facenet" else photo.arcface_faces(picture, seen)
    np.testing.assert_array_equal(judging[1], made[0])

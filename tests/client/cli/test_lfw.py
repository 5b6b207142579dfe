"""LFW's pairs and whose face is meant."""

from pathlib import Path

import numpy as np
import pytest

from client.cli.lfw import Pair, read_pairs, subject
from client.cli.terminal import Failure
from client.faces import EmbeddedFaces


@pytest.fixture
def folder(tmp_path):
    for name, count in (("Ada", 2), ("Bo_Diaz", 2)):
        (tmp_path / name).mkdir()
        for number in range(1, count + 1):
            (tmp_path / name / f"{name}_{number:04}.jpg").touch()
    return tmp_path


def pairs(folder, text):
    (folder / "pairs.txt").write_text(text)
    return read_pairs(folder / "pairs.txt", folder)


def photo(folder, name, number):
    return folder / name / f"{name}_{number:04}.jpg"


def test_pairs_of_two_folds_are_read(folder):
    text = "2\t1\nAda\t1\t2\nAda\t1\tBo_Diaz\t2\nBo_Diaz\t1\t2\nBo_Diaz\t1\tAda\t2\n"
    ada1, ada2 = photo(folder, "Ada", 1), photo(folder, "Ada", 2)
    bo1, bo2 = photo(folder, "Bo_Diaz", 1), photo(folder, "Bo_Diaz", 2)
    assert pairs(folder, text) == [
        Pair(ada1, ada2, True, 0),
        Pair(ada1, bo2, False, 0),
        Pair(bo1, bo2, True, 1),
        Pair(bo1, ada2, False, 1),
    ]


def test_one_number_in_the_first_line_is_one_fold(folder):
    assert [pair.fold for pair in pairs(folder, "1\nAda 1 2\nAda 1 Bo_Diaz 2\n")] == [0, 0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "the first line must hold", id="empty"),
        pytest.param("ten 300\n", "the first line must hold", id="words"),
        pytest.param("1 2\nAda 1 2\n", "1 folds of 2 x 2 pairs announced, 1 pairs found", id="short"),
        pytest.param("1 1\nAda 1 2\nAda 1 Bo_Diaz\n", "line 3: neither", id="no-number"),
        pytest.param("1 1\nAda 1 2\nAda 1 Bo Diaz 2\n", "line 3: neither", id="five-fields"),
        pytest.param("1 1\nAda 1 9\nAda 1 Bo_Diaz 2\n", "Ada: no photo 9", id="missing-photo"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(folder, text, reason):
    with pytest.raises(Failure, match=reason):
        pairs(folder, text)


def test_the_shared_fold_is_read(shared):
    found = read_pairs(shared / "lfw-fold1" / "pairs.txt", shared / "lfw-fold1")
    assert len(found) == 600
    assert sum(pair.same for pair in found) == 300
    assert len({photo for pair in found for photo in (pair.first, pair.second)}) == 807


def faces(*corners):
    boxes = np.array([[*corner, 0.9] for corner in corners], np.float32).reshape(-1, 5)
    return EmbeddedFaces(boxes, np.zeros((len(boxes), 5, 2), np.float32), np.eye(9, dtype=np.float32)[: len(boxes)], 0)


@pytest.mark.parametrize(
    ("corners", "chosen"),
    [
        pytest.param([(80, 80, 170, 170), (90, 90, 160, 160)], 0, id="larger-of-two-central"),
        pytest.param([(0, 0, 100, 100), (90, 90, 160, 160)], 1, id="central-before-larger"),
        pytest.param([(0, 0, 240, 240), (120, 120, 130, 130)], 0, id="much-larger-before-central"),
    ],
)
def test_the_large_and_central_face_is_meant(corners, chosen):
    assert np.argmax(subject(faces(*corners), 250, 250)) == chosen


def test_no_face_is_nobody():
    assert subject(faces(), 250, 250) is None


def test_the_path_of_a_photo_may_be_a_png(tmp_path):
    (tmp_path / "Ada").mkdir()
    for name in ("Ada_0001.jpg", "Ada_0002.png", "Ada_0003.png"):
        (tmp_path / "Ada" / name).touch()
    found = pairs(tmp_path, "1 1\nAda 1 2\nAda 1 Ada 3\n")
    assert Path(found[0].second).suffix == ".png"

import shutil
from pathlib import Path

import numpy as np
import pytest

from preprocess import networks


def test_networks_that_are_not_prepared_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pnet\.onnx is missing; run scripts/prepare-models"):
        networks.load(tmp_path, threads=1)


def test_the_networks_give_log_odds_offsets_and_landmarks(repository: Path) -> None:
    loaded = networks.load(repository / "face_detect" / "1", threads=3)
    assert loaded.workers.threads == 3
    assert loaded.pnet(np.zeros((30, 40, 3), np.uint8)).shape == (5, 10, 15)
    assert loaded.rnet(np.zeros((2, 3, 24, 24), np.float32)).shape == (2, 5)
    assert loaded.onet(np.zeros((3, 3, 48, 48), np.float32)).shape == (3, 15)


def test_a_part_of_a_picture_is_seen_as_a_copy_of_it(repository: Path) -> None:
    loaded = networks.load(repository / "face_detect" / "1", threads=1)
    picture = np.random.default_rng(12).integers(0, 256, (60, 80, 3), np.uint8)
    part = picture[7:50, 9:60]
    np.testing.assert_array_equal(loaded.pnet(part), loaded.pnet(part.copy()))


def test_without_the_landmark_network_there_is_none(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "face_detect" / "1" / "pnet.onnx", tmp_path)
    assert networks.load_landmark_network(tmp_path) is None

from pathlib import Path

import numpy as np
import pytest
import skimage

from preprocess import networks, pyramid
from preprocess.cascade import Networks
from preprocess.workers import Workers

PHOTO: np.ndarray = skimage.data.astronaut()[:231, 100:401]


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers(2)


@pytest.fixture(scope="module")
def loaded(repository: Path) -> Networks:
    return networks.load(repository / "face_detect" / "1", threads=2)


def sure(picture: np.ndarray) -> np.ndarray:
    """A network that is sure of a face wherever it sees one white pixel at the top left."""
    height, width = pyramid.outputs(picture)
    seen = picture[: 2 * height : 2, : 2 * width : 2, 0].astype(np.float32)
    return np.concatenate([seen[None] - 254, np.zeros((4, height, width), np.float32)])


def test_levels_shrink_by_the_factor_until_they_hold_one_cell() -> None:
    factors = pyramid.scales(np.empty((250, 300, 3), np.uint8), 20, 0.709)
    assert factors == pytest.approx([0.6 * 0.709**power for power in range(8)])
    assert 12 <= 250 * factors[-1] < 12 / 0.709


@pytest.mark.parametrize(("side", "count"), [(19, 0), (20, 1), (28, 1), (29, 2)])
def test_a_picture_smaller_than_the_smallest_face_has_no_levels(side: int, count: int) -> None:
    assert len(pyramid.scales(np.empty((side, 500, 3), np.uint8), 20, 0.709)) == count


def test_sides_of_levels_are_rounded_up() -> None:
    assert [pyramid.size(PHOTO, factor) for factor in (0.6, 0.1)] == [(139, 181), (24, 31)]


@pytest.mark.parametrize("size", [(139, 181), (140, 182), (13, 12), (11, 12)], ids=str)
def test_the_outputs_are_as_many_as_the_network_gives(loaded: Networks, size: tuple[int, int]) -> None:
    level = PHOTO[: size[0], : size[1]]
    assert loaded.pnet(level).shape == (5, *pyramid.outputs(level))


def test_tiles_give_what_the_whole_level_gives(
    loaded: Networks, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loaded.pnet(PHOTO)
    monkeypatch.setattr(pyramid, "TILE", 16)
    cells = pyramid.scan([PHOTO], loaded.pnet, workers, 0.0)
    assert len(cells.row) == whole[0].size
    np.testing.assert_allclose(cells.log_odds, whole[0, cells.row, cells.column], atol=1e-4)
    np.testing.assert_allclose(cells.offsets, whole[1:, cells.row, cells.column].T, atol=1e-4)


def test_cells_come_level_by_level_and_row_by_row(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "TILE", 3)
    level = np.zeros((40, 50, 3), np.uint8)
    level[[4, 4, 20], [30, 2, 10]] = 255
    cells = pyramid.scan([level, level], sure, workers, 0.6)
    assert cells.level.tolist() == [0, 0, 0, 1, 1, 1]
    assert cells.row.tolist() == [2, 2, 10] * 2
    assert cells.column.tolist() == [1, 15, 5] * 2
    assert cells.corners().tolist() == [[2, 4], [30, 4], [10, 20]] * 2


def test_of_too_many_cells_the_best_are_kept(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "MAX_CELLS", 7)
    ramp = np.arange(40, dtype=np.uint8).repeat(2)[None, :, None].repeat(30, 0).repeat(3, 2)
    cells = pyramid.scan([ramp], sure, workers, 0.0)
    assert len(cells.row) == 7
    assert (cells.column == cells.column.max()).all()


def test_thresholds_of_nought_and_one_pass_all_and_none(workers: Workers) -> None:
    level = np.full((30, 30, 3), 255, np.uint8)
    assert len(pyramid.scan([level], sure, workers, 0.0).row) == 100
    assert len(pyramid.scan([level], sure, workers, 1.0).row) == 0

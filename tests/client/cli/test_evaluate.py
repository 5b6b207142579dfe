"""The evaluate command, on a server that says what it is told to."""

import sys
from pathlib import Path

import pytest

from client.__main__ import main
from client.cli.evaluate import require_enough
from client.cli.lfw import Pair
from client.cli.terminal import Failure


@pytest.fixture
def lfw(tmp_path, monkeypatch, make_picture):
    """A current folder with three pictures of each of two people."""
    monkeypatch.chdir(tmp_path)
    for name in ("Ada", "Bo"):
        Path(name).mkdir()
        for number in (1, 2, 3):
            picture = make_picture(size=(160, 160), seed=10 * ord(name[0]) + number)
            Path(f"{name}/{name}_000{number}.png").write_bytes(picture)
    return tmp_path


def evaluate(url, *options):
    return main(["evaluate", "--lfw", ".", "--pairs", "pairs.txt", "--url", url, *options])


def pairs(*kinds_and_folds):
    return [Pair(Path("a"), Path("b"), same, fold) for same, fold in kinds_and_folds]


def test_two_pairs_of_each_kind_can_be_measured(lfw, fake, capsys):
    Path("pairs.txt").write_text("2\nAda 1 2\nAda 2 3\nAda 1 Bo 1\nAda 2 Bo 2\n")
    assert evaluate(fake.url) == 0
    assert "4 pairs of 5 photos" in capsys.readouterr().out


def test_one_pair_of_each_kind_cannot_and_the_fewest_are_named(lfw, fake, capsys):
    Path("pairs.txt").write_text("1\nAda 1 2\nAda 1 Bo 1\n")
    assert evaluate(fake.url) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "evaluate: faces were found in too few pairs, 1 of one person and 1 of two people;"
        " give at least 2 of each kind, in different folds if there are several"
    )


@pytest.mark.parametrize(
    "few",
    [
        pytest.param([(True, 0), (True, 0), (False, 0)], id="one pair of two people"),
        pytest.param([(True, 0), (True, 0), (False, 0), (False, 1)], id="one person in one fold only"),
    ],
)
def test_a_kind_that_one_fold_holds_alone_cannot_be_measured(few):
    with pytest.raises(Failure, match="at least 2 of each kind"):
        require_enough(pairs(*few))


@pytest.mark.parametrize("folds", [[0, 0], [0, 1]])
def test_two_of_each_kind_are_enough(folds):
    require_enough(pairs(*((same, fold) for same in (True, False) for fold in folds)))


def test_a_missing_package_is_told_before_the_server_is_asked(lfw, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert evaluate("127.0.0.1:1", "-o", "out") == 1
    assert capsys.readouterr().err == "evaluate: a plot needs the package matplotlib; run scripts/setup tools\n"
    assert evaluate("127.0.0.1:1") == 1  # nothing is to be drawn
    assert "no server is ready" in capsys.readouterr().err

"""What a run that was killed leaves, a launch refuses and the next run mends."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.installation import LaunchError
from client.weights import require_prepared
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.repository import Wanted
from tests.preprocess.prepare.test_repository import home as home
from tests.preprocess.prepare.test_repository import run, source


class Killed(BaseException):
    """What SIGKILL does: nothing after it is run."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], bool]:
    """Runs something that is killed when it has removed and renamed that many files; tells whether it was."""

    def attempt(count: int, something: Callable[[], object]) -> bool:
        left: Iterator[int] = iter(range(count))

        def counted(original: Callable[..., object]) -> Callable[..., object]:
            def step(*args: object, **options: object) -> object:
                if next(left, None) is None:
                    raise Killed
                return original(*args, **options)

            return step

        with monkeypatch.context() as living:
            for name in ("replace", "unlink"):
                living.setattr(Path, name, counted(getattr(Path, name)))
            try:
                something()
            except Killed:
                return True
        return False

    return attempt


def named_rightly(home: Path) -> bool:
    """Whether FaceNet's embeddings go by the name of the weights that make them."""
    digest = hashlib.sha256((home / "facenet/1/model.onnx").read_bytes()).hexdigest()
    return f'"facenet-{digest[:12]}-' in (home / "facenet/configs/prepared.pbtxt").read_text()


NEW = Wanted(source("facenet", "new", ["facenet/1/model.onnx"]), preprocessing="fixed")


@pytest.fixture(params=[True, False], ids=["configurations listed", "not yet"])
def before(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Path:
    """A copy of a repository with weights of one's own, by this preparation or by one that listed no configurations."""
    run(home, facenet=Wanted(source("facenet", "own")))
    if not request.param:
        written = json.loads((home / "manifest.json").read_text())
        del written["configurations"]
        (home / "manifest.json").write_text(json.dumps(written))
    return Path(shutil.copytree(home, tmp_path / "before"))


@pytest.mark.parametrize(
    ("again", "remedies"),
    # A plain run says what to prepare again: the old weights if they lost a file, the new if they are to come.
    [(NEW, []), (Wanted(), [".../facenet-own)", ".../facenet-new)"])],
    ids=["the same command", "a plain one"],
)
def test_whenever_it_is_killed_no_wrong_name_is_served_and_the_next_run_finishes_or_says_how(
    again: Wanted,
    remedies: list[str],
    home: Path,
    before: Path,
    killed_after: Callable[[int, Callable[[], object]], bool],
) -> None:
    refused, said = 0, []
    for count in itertools.count():
        shutil.rmtree(home)
        shutil.copytree(before, home)
        if not killed_after(count, lambda: run(home, facenet=NEW)):
            break
        try:
            require_prepared(home)
        except LaunchError:
            refused += 1
        else:
            assert named_rightly(home)
        try:
            run(home, facenet=again)
        except PreparationError as error:
            said.append(str(error))
        else:
            require_prepared(home)
            assert named_rightly(home)
    assert refused == 3  # after a file is removed, the manifest is renamed, the weights are renamed
    assert len(said) == len(remedies)
    assert all(remedy in line for remedy, line in zip(remedies, said, strict=True))

"""What is compiled; tests/preprocess/test_area.py tests what it computes."""

import subprocess
import sys
from pathlib import Path

import pytest

from preprocess import area
from preprocess.prepare import loops, mtcnn
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / area.FILE
    in_child(mtcnn.write_loops, path)
    return path


def test_a_detector_that_is_prepared_holds_todays_loops(repository: Path, compiled: Path) -> None:
    """Else they were changed and manifest.FORM was not raised."""
    for model in ("face_detect", "face_crops"):
        assert (repository / model / "1" / area.FILE).read_text() == compiled.read_text()


def test_a_server_needs_no_numba_for_them(compiled: Path) -> None:
    program = "import pathlib, sys; sys.modules['numba'] = None; from preprocess.area import Scaler"
    load = f"Scaler(pathlib.Path({str(compiled.parent)!r}))"
    subprocess.run([sys.executable, "-c", f"{program}; {load}"], check=True, cwd=PROJECT)


def test_a_loop_that_calls_numbas_own_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def named(count: int) -> None:
        print(count)

    monkeypatch.setattr(loops, "_LOOPS", {named: "void(int64)"})
    with pytest.raises(PreparationError, match=r"call .*, which a server may not have"):
        loops.write(tmp_path / "area.ll")
    assert not (tmp_path / "area.ll").exists()

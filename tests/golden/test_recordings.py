"""The recorded exchanges of the original services, replayed against real servers, with each engine."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Server, serving


def replay(shared: Path, server: Server, *options: str) -> str:
    """The conformance tool's report, which must close on no failure."""
    command = [sys.executable, str(shared / "tools" / "uai_conformance.py"), "--url", server.url, *options]
    report = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert report.returncode == 0, report.stdout + report.stderr
    return report.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def recorded_repository(shared: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the ArcFace checkpoint and the MTCNN folder of the recordings, as a user brings his own."""
    directory = tmp_path_factory.mktemp("recorded") / "model_repository"
    models = shared / "models"
    prepare(
        *("arcface", f"--from={models}/arcface-y1-random/model-y1-random", "--epoch=3"),
        *(f"--mtcnn={models}/mtcnn-mxnet", f"--repository={directory}"),
    )
    return directory


def prepare(*arguments: str) -> None:
    subprocess.run([PROJECT / "scripts" / "prepare-models", *arguments], check=True, timeout=600)


@pytest.fixture(scope="module")
def recorded_server(recorded_repository: Path) -> Iterator[Server]:
    with serving(recorded_repository) as running:
        yield running


def test_the_default_models_answer_every_recording_but_those_of_arcface(shared: Path, server: Server) -> None:
    assert replay(shared, server, "--skip", "InsightFaceModel") == "total: 146 passed, 0 failed"


def test_the_recordings_own_checkpoint_answers_all_of_arcface(shared: Path, recorded_server: Server) -> None:
    assert replay(shared, recorded_server, "--class", "InsightFaceModel") == "total: 64 passed, 0 failed"


def test_the_native_engines_answer_every_recording(shared: Path, recorded_repository: Path) -> None:
    prepare(f"--repository={recorded_repository}", "--facenet-engine=tensorflow", "--arcface-engine=mxnet")
    with serving(recorded_repository) as native:
        assert replay(shared, native) == "total: 210 passed, 0 failed"

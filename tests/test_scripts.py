"""What commands of scripts/ run, in a checkout whose programs only say how they were called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SAY = '#!/bin/sh\necho "$0 $*"\n'
PYTHON = """#!/bin/sh
case "$*" in
"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
"-m pip"*--target*) mkdir -p .cache/gpu/nvidia/cublas/lib .cache/gpu/nvidia/cudnn/lib ;;
esac
echo "$0 $*"
case "$*" in *scripts.benchmarks*) echo "$PYTHONPATH|$LD_LIBRARY_PATH" ;; esac
"""
ELSEWHERE = "#!/the/folder/before/it/was/moved/.venv/bin/python\n"
STEPS = ("scripts/setup", "scripts/prepare-models", "scripts/check-deploy", ".venv/bin/ruff")


def said(home: Path, script: str, *options: str, **environment: str) -> list[str]:
    """Lines of a script of ours whose steps are not ours; programs of .venv but Python and ruff cannot be run."""
    for folder in ("scripts", ".venv/bin", ".cache"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "scripts" / script, home / "scripts" / script)
    programs = {**dict.fromkeys(STEPS, SAY), ".venv/bin/python": PYTHON, ".venv/bin/mypy": ELSEWHERE}
    for name, text in programs.items():
        (home / name).write_text(text)
        (home / name).chmod(0o755)
    if not (home / "requirements").exists():
        (home / "requirements").mkdir()
        (home / "requirements/nvidia.txt").touch()
        subprocess.run(["git", "init", "--quiet"], cwd=home, check=True)
    done = subprocess.run(
        [home / "scripts" / script, *options], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_checkout_that_was_moved_is_checked(tmp_path: Path) -> None:
    assert ".venv/bin/python -m mypy" in said(tmp_path, "check")


def test_an_audit_runs_on_a_python_that_the_locks_are_meant_for(tmp_path: Path) -> None:
    setup, venv, install, name, audit = said(tmp_path, "audit", "--verbose")
    assert setup.startswith("scripts/setup")
    assert venv == ".venv/bin/python -m venv --clear .cache/audit"
    assert install == ".cache/audit/bin/python -m pip install --quiet pip-audit"
    assert name == "requirements/nvidia.txt:"
    assert audit.startswith(".cache/audit/bin/python -m pip_audit ")
    assert audit.endswith("--requirement requirements/nvidia.txt --verbose")


@pytest.mark.parametrize("gpu", [["--gpu", "0"], ["--rounds", "1", "--gpu=0"]], ids=" ".join)
def test_networks_on_a_gpu_find_its_onnx_runtime_and_cuda_first(gpu: list[str], tmp_path: Path) -> None:
    home = tmp_path / "check out"
    *_, install, _, run, paths = said(home, "bench", "networks", *gpu, LD_LIBRARY_PATH="/theirs")
    assert "--target .cache/gpu -r requirements/nvidia.txt" in install
    assert run.endswith(" ".join(["/.venv/bin/python -m scripts.benchmarks.networks", *gpu]))
    libraries = [f"{home}/.cache/gpu/nvidia/{name}/lib" for name in ("cublas", "cudnn")]
    assert paths == f"{home}/.cache/gpu:{home}|{':'.join(libraries)}:/theirs"
    again = said(home, "bench", "networks", *gpu, LD_LIBRARY_PATH="")
    assert install not in again
    assert again[-1] == f"{home}/.cache/gpu:{home}|{':'.join(libraries)}"


def test_networks_on_the_cpu_bring_nothing_for_gpus(tmp_path: Path) -> None:
    lines = said(tmp_path, "bench", "networks", "--rounds", "1", LD_LIBRARY_PATH="")
    assert not any("pip" in line for line in lines)
    assert lines[-1] == f"{tmp_path}|"

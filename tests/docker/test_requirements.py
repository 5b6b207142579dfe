"""The images hold what their programs import: a package that is missing there is missed here, without building one."""

import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.conftest import PROJECT

MODELS = sorted(path.relative_to(PROJECT) for path in PROJECT.glob("model_repository/*/1/model.py"))
PROGRAMS = {
    "gateway": ["import client.gateway"],
    "triton": [
        "import client.serve_triton, onnxruntime, sys, tests.fakes.pb_utils as fake",
        "sys.modules['triton_python_backend_utils'] = fake",
        *(f"exec(compile(open({str(path)!r}).read(), {str(path)!r}, 'exec'))" for path in MODELS),
    ],
}
OURS = {"client", "preprocess", "tests"}


def locked(name: str) -> set[str]:
    """name==version of each package in a lock file."""
    lines = (PROJECT / "requirements" / f"{name}.txt").read_text().splitlines()
    return {line.split(" ")[0] for line in lines if "==" in line and line[0].isalnum()}


def names(packages: set[str]) -> set[str]:
    return {package.partition("==")[0] for package in packages}


@pytest.mark.parametrize("image", PROGRAMS)
def test_a_program_runs_with_no_other_packages_than_its_image_holds(image):
    held = names(locked(image))
    absent = [
        module
        for module, owners in packages_distributions().items()
        if module not in OURS and not held & {owner.lower().replace("_", "-") for owner in owners}
    ]
    assert {"tensorflow", "mxnet"} <= set(absent)
    hide = f"import sys; sys.modules.update(dict.fromkeys({absent}))"  # each then raises ModuleNotFoundError
    program = "\n".join([hide, *PROGRAMS[image]])
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("image", PROGRAMS)
def test_an_image_holds_the_versions_that_are_tested(image):
    assert locked(image) <= locked("serve") | locked("tracing")


def test_the_gateway_image_holds_no_engine():
    engines = {"tensorflow-cpu", "mxnet", "onnxruntime", "onnx", "nvidia-pytriton", "opencv-python-headless"}
    assert not names(locked("gateway")) & engines


def test_the_image_on_nvidias_triton_holds_the_same_but_for_onnx_runtimes_build():
    ours, theirs = locked("triton"), locked("nvidia")
    version = next(package for package in ours if package.startswith("onnxruntime==")).removeprefix("onnxruntime==")
    assert names(ours - theirs) == {"nvidia-pytriton", "onnxruntime"}
    more = {package for package in theirs - ours if not package.startswith("nvidia-")}
    assert more == {f"onnxruntime-gpu=={version}"}

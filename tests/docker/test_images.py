"""The image that holds everything, run as in production: its answers, its rights, how it starts, breaks and stops.

`scripts/images` builds it; -s prints the seconds that were measured.
"""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT, free_ports
from tests.docker.containers import KILL_A_MODEL, ask, podman, require_images, running, seconds_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

IMAGE = "face-all-in-one"
MAY = """
import pathlib
lines = pathlib.Path("/proc/1/status").read_text().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
print(status["Uid"].split()[1], int(status["CapEff"], 16), status["NoNewPrivs"])
for folder in ("/", "/face", "/models/facenet/1", "/venv", "/opt/tritonserver"):
    try:
        pathlib.Path(folder, "written").touch()
        print(folder)
    except OSError:
        pass
"""


@pytest.fixture
def served() -> Iterator[tuple[str, str]]:
    """A container that is ready, and its address."""
    require_images(IMAGE)
    (port,) = free_ports(1)
    url, start = f"http://127.0.0.1:{port}", time.monotonic()
    with running(IMAGE, f"--publish=127.0.0.1:{port}:8080") as container:
        seconds_until(url + "/health/ready")
        print(f"\n{IMAGE}: ready {time.monotonic() - start:.1f} s after podman run")
        yield container, url


def test_every_recording_is_answered(served, shared):
    command = [sys.executable, str(shared / "tools" / "uai_conformance.py"), "--url", served[1]]
    report = subprocess.run([*command, "--skip", "InsightFaceModel"], capture_output=True, text=True)
    assert report.stdout.splitlines()[-1] == "total: 146 passed, 0 failed", report.stdout


def test_it_is_no_root_holds_no_capability_and_can_write_nothing(served):
    assert podman("exec", served[0], "python", "-c", MAY) == "10001 0 1"


def test_a_model_that_dies_is_started_again(served):
    container, url = served
    podman("exec", container, "python", "-c", KILL_A_MODEL)
    noticed = seconds_until(url + "/health/ready", 503)
    print(f"a model died: noticed after {noticed:.1f} s, ready {seconds_until(url + '/health/ready'):.1f} s later")


def test_sigterm_ends_it_in_order(served):
    start = time.monotonic()
    podman("kill", "--signal=TERM", served[0])
    status = podman("wait", served[0])
    print(f"SIGTERM: exit status {status} after {time.monotonic() - start:.1f} s")
    assert status == "0"


def test_its_health_check_passes(served):
    podman("healthcheck", "run", served[0])


def test_its_list_of_parts_names_packages_and_weights(served):
    parts = json.loads(podman("exec", served[0], "cat", "/sbom.cdx.json"))["components"]
    names = {part["name"] for part in parts}
    assert {"libc6", "onnxruntime", "granian"} <= names and any("model.onnx" in name for name in names)


def pair(*pictures: bytes) -> bytes:
    """The body that the originals' gen_example_json.py wrote."""
    return json.dumps({"cnt": 2, "images": [base64.b64encode(picture).decode() for picture in pictures]}).encode()


@pytest.mark.parametrize("service", ["facenet-compare", "facenet-embed", "facenet-mtcnn", "insightface_infer"])
def test_an_original_image_has_its_counterpart(service, tmp_path: Path, make_picture):
    """docs/migrating.md: build with SERVICE, run with nothing but -p, and post as the original's README says."""
    require_images(IMAGE)
    podman("build", "--file=docker/Dockerfile", f"--build-arg=SERVICE={service}", f"--tag={service}:test", str(PROJECT))
    faces = [make_picture(seed=seed, size=(160, 160)) for seed in (1, 2)]
    body = pair(*faces) if service in ("facenet-compare", "facenet-embed") else faces[0]
    (port,) = free_ports(1)
    container = podman("run", "--detach", f"--publish=127.0.0.1:{port}:8080", f"{service}:test")
    try:
        seconds_until(f"http://127.0.0.1:{port}/health/ready")
        status, answer = ask(f"http://127.0.0.1:{port}/service", body)
    finally:
        podman("rm", "--force", "--time=0", container)
    assert status == 200
    match service:
        case "facenet-compare":
            assert 0 < float(answer) < 2 and len(answer) <= 10
        case "facenet-embed":
            assert [len(row) for row in json.loads(answer)] == [512, 512]
        case "facenet-mtcnn":
            assert json.loads(answer) == []  # noise has no face
        case "insightface_infer":
            assert answer == b"None"

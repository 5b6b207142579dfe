"""What docker/sbom.py lists of an image, told from folders made as an image has them."""

import json
from pathlib import Path
from typing import Any

import pytest

from docker import sbom

RELEASES = {
    "ubuntu": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nVERSION_ID="24.04"\n# a comment\n\nID=ubuntu\nID_LIKE=debian\n',
    "debian": 'VERSION_ID="12"\nVERSION="12 (bookworm)"\nID=debian\n',
    "sid": 'PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n',
}
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.39-0ubuntu8.6
Description: GNU C Library
 Version: of nothing

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 1:14.2.0+1~24

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where sbom.py finds an image's files; nothing is there yet."""
    for name in ("DPKG", "OS_RELEASE", "TRITON", "MANIFEST"):
        monkeypatch.setattr(sbom, name, tmp_path / getattr(sbom, name).relative_to("/"))
    monkeypatch.delenv("NVIDIA_TRITON_SERVER_VERSION", raising=False)
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """The components that are printed, by name."""
    sbom.main()
    return {part["name"]: part for part in json.loads(capsys.readouterr().out)["components"]}


@pytest.mark.parametrize(
    ("release", "vendor", "distro"),
    [
        ("ubuntu", "ubuntu", "&distro=ubuntu-24.04"),
        ("debian", "debian", "&distro=debian-12"),
        ("sid", "debian", ""),
    ],
)
def test_a_package_of_the_system_is_named_after_the_system_that_it_is_of(
    release: str, vendor: str, distro: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(sbom.OS_RELEASE, RELEASES[release])
    write(sbom.DPKG, STATUS)
    parts = listed(capsys)
    assert parts["libc6"]["purl"] == f"pkg:deb/{vendor}/libc6@2.39-0ubuntu8.6?arch=amd64{distro}"
    assert parts["libstdc++6"]["purl"] == f"pkg:deb/{vendor}/libstdc%2B%2B6@1%3A14.2.0%2B1~24?arch=amd64{distro}"
    assert parts["libstdc++6"]["version"] == "1:14.2.0+1~24"
    assert "gone" not in parts


def test_nvidias_tritonserver_is_listed_with_its_version_and_release(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(sbom.TRITON / "TRITON_VERSION", "2.62.0\n")
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "25.10")
    part = listed(capsys)["tritonserver"]
    assert (part["version"], part["purl"]) == ("2.62.0", "pkg:generic/tritonserver@2.62.0")
    assert part["description"] == "NVIDIA's release 25.10"


def test_where_only_the_release_of_tritonserver_is_known_that_is_its_version(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sbom.TRITON.mkdir(parents=True)
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "25.10")
    assert listed(capsys)["tritonserver"]["version"] == "25.10"


def test_a_tritonserver_that_a_package_brought_is_listed_as_that_package_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images for CPUs: nvidia-pytriton's files are moved, its metadata stays."""
    (sbom.TRITON / "bin").mkdir(parents=True)
    parts = listed(capsys)
    assert "tritonserver" not in parts and "nvidia-pytriton" in parts


def test_an_image_without_packages_of_the_system_triton_and_models_has_pythons_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "25.10")  # of no use without its files
    parts = listed(capsys)
    assert "numpy" in parts and all(part["purl"].startswith("pkg:pypi/") for part in parts.values())

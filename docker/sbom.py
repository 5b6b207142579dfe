"""Prints what an image holds as CycloneDX JSON: Debian's or Ubuntu's packages, Python's, NVIDIA's tritonserver, and the
models' weights with their hashes.

Made inside the image from what is installed there, so it needs no scanner and cannot name what is not in it.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")
OS_RELEASE = Path("/etc/os-release")
TRITON = Path("/opt/tritonserver")
MANIFEST = Path("/models/manifest.json")


def dpkg() -> Iterator[dict[str, Any]]:
    if not DPKG.is_file():
        return
    lines = shlex.split(OS_RELEASE.read_text("utf-8"), comments=True)  # quoted as in a shell
    system = dict(line.split("=", 1) for line in lines)
    distro = f"&distro={system['ID']}-{system['VERSION_ID']}" if "VERSION_ID" in system else ""  # Debian's sid has none
    for paragraph in DPKG.read_text("utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/{system['ID']}/{quote(name)}@{quote(version)}?arch={machine}{distro}"
            yield {"type": "library", "name": name, "version": version, "purl": purl}


def python() -> Iterator[dict[str, Any]]:
    for found in distributions():
        name, version = found.metadata["Name"], found.version
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version.replace('+', '%2B')}"
        yield {"type": "library", "name": name, "version": version, "purl": purl}


def tritonserver() -> Iterator[dict[str, Any]]:
    """NVIDIA's, which no package brings; where it came with nvidia-pytriton, it says no version, and that is listed."""
    file, release = TRITON / "TRITON_VERSION", os.environ.get("NVIDIA_TRITON_SERVER_VERSION")
    version = file.read_text("utf-8").strip() if file.is_file() else release
    if TRITON.is_dir() and version:
        part = {"type": "application", "name": "tritonserver", "version": version}
        part["purl"] = f"pkg:generic/tritonserver@{quote(version)}"
        yield {**part, "description": f"NVIDIA's release {release}"} if release else part


def weights() -> Iterator[dict[str, Any]]:
    networks = json.loads(MANIFEST.read_text("utf-8"))["networks"] if MANIFEST.is_file() else {}
    for network, entry in networks.items():
        for file, digest in entry["files"].items():
            yield {
                "type": "machine-learning-model",
                "name": file,
                "description": f"{network} from {entry['source']}",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }


def main() -> None:
    parts = [*dpkg(), *python(), *tritonserver(), *weights()]
    components = [{"bom-ref": str(number), **part} for number, part in enumerate(parts)]
    json.dump({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}, sys.stdout)


if __name__ == "__main__":
    main()

"""Prints what an image holds as CycloneDX JSON: Debian's packages, Python's, and the models' weights with their hashes.

Made inside the image from what is installed there, so it needs no scanner and cannot name what is not in it.
"""

import json
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

DPKG = Path("/var/lib/dpkg/status")
MANIFEST = Path("/models/manifest.json")


def debian() -> Iterator[dict[str, Any]]:
    for paragraph in DPKG.read_text("utf-8").split("\n\n") if DPKG.is_file() else ():
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/debian/{name}@{version.replace(':', '%3A').replace('+', '%2B')}?arch={machine}"
            yield {"type": "library", "name": name, "version": version, "purl": purl}


def python() -> Iterator[dict[str, Any]]:
    for found in distributions():
        name, version = found.metadata["Name"], found.version
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version.replace('+', '%2B')}"
        yield {"type": "library", "name": name, "version": version, "purl": purl}


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
    components = [{"bom-ref": str(number), **part} for number, part in enumerate([*debian(), *python(), *weights()])]
    json.dump({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}, sys.stdout)


if __name__ == "__main__":
    main()

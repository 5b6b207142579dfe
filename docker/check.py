"""Holds the compose files and the manifests of every Kubernetes overlay against their schemas; prints what is wrong.

scripts/check-deploy runs it where podman-compose, kubectl and the schemas are installed. Exits with 1 if anything is.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import yaml
from compose_spec import PyCompose

DOCKER = Path(__file__).resolve().parent
VERSIONS = set(kubernetes_validate.utils.all_versions())
NEWEST = sorted(VERSIONS, key=lambda version: [int(number) for number in version.split(".")])[-3:]
PROFILES = ("tls", "metrics")
COMPOSED = (("compose.yml",), ("compose.yml", "compose.gpu.yml"))
WITHOUT_SCHEMA = {"InferenceService"}  # KServe's; Kubernetes has no schema of it


def compose(files: tuple[str, ...]) -> Iterator[str]:
    """Faults of compose files taken together, their variables filled in."""
    # It asks podman for its version before all else; echo answers as well.
    options = [
        "--podman-path=/bin/echo",
        *(f"--profile={profile}" for profile in PROFILES),
        *(f"--file={DOCKER / file}" for file in files),
    ]
    filled = _run(sys.executable, "-m", "podman_compose", *options, "config")
    try:
        PyCompose.from_yaml(filled).validate()
    except ValueError as error:
        yield f"{', '.join(files)}: {error}"


def manifests(overlay: Path) -> Iterator[str]:
    """Faults of what one overlay makes, by each of the newest versions of Kubernetes."""
    for manifest in yaml.safe_load_all(_run("kubectl", "kustomize", str(overlay))):
        name = f"{overlay.name}: {manifest['kind']} {manifest['metadata']['name']}"
        for version in NEWEST if manifest["kind"] not in WITHOUT_SCHEMA else ():
            yield from (f"{name}, Kubernetes {version}: {fault}" for fault in _faults(manifest, version))


def _faults(manifest: dict[str, Any], version: str) -> Iterator[str]:
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        yield "it has no such kind"


def _run(*command: str) -> str:
    """What a command prints; it must not reach a cluster or podman, which may be absent."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "KUBECONFIG": os.devnull}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> int:
    overlays = sorted((DOCKER / "kubernetes" / "overlays").iterdir())
    faults = [fault for files in COMPOSED for fault in compose(files)]
    faults += [fault for overlay in overlays for fault in manifests(overlay)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

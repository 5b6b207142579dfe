"""Whether weights and configurations in a model repository are those that prepare-models wrote there.

Weights that were spoilt or exchanged may still load, and then embed faces into a space of their own; with the
configurations of other weights embeddings go by a wrong name.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from client.installation import LaunchError
from preprocess.prepare.form import FORM

BLOCK = 1024 * 1024


def require_prepared(repository: Path) -> None:
    """Raise LaunchError for a folder that today's prepare-models has not filled, or whose files are not what it wrote.

    The 310 MB of the default models take 0.2 s.
    """
    remedy = f"run scripts/prepare-models --repository {repository}"
    try:
        written = json.loads((repository / "manifest.json").read_text())
        files, forms = _listed(written), {network["form"] for network in written["networks"].values()}
    except FileNotFoundError:
        raise LaunchError(f"{repository} is not prepared; {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LaunchError(
            f"{repository / 'manifest.json'} cannot be read; put back a copy of it, or delete it and {remedy}, "
            "with --from for weights of your own"
        ) from None
    if forms - {FORM}:
        raise LaunchError(f"{repository} was prepared by another version of this server; {remedy}")
    for name, digest in files.items():
        try:
            found = _sha256(repository / name)
        except OSError:
            raise LaunchError(f"{repository / name} is missing or unreadable; {remedy}") from None
        if found != digest:
            raise LaunchError(f"{repository / name} is not the file that was prepared; {remedy}")


def _listed(written: dict[str, Any]) -> dict[str, str]:
    """The SHA-256 of each file that a manifest names, by its path."""
    files = [network["files"] for network in written["networks"].values()] + [written.get("configurations", {})]
    return {name: digest for group in files for name, digest in group.items()}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()

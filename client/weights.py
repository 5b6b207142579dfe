"""Whether the weights in a model repository are those that prepare-models wrote there.

A file that was spoilt or exchanged may still load, and then embeds faces into a space of its own.
"""

import hashlib
import json
from pathlib import Path

from client.installation import LaunchError

BLOCK = 1024 * 1024


def require_prepared(repository: Path) -> None:
    """Raise LaunchError for a folder that prepare-models has not filled, or whose files are no longer what it wrote.

    The 200 MB of the default models take 0.2 s.
    """
    remedy = f"run scripts/prepare-models --repository {repository}"
    try:
        networks = json.loads((repository / "manifest.json").read_text())["networks"]
        files = {name: digest for network in networks.values() for name, digest in network["files"].items()}
    except OSError:
        raise LaunchError(f"{repository} is not prepared; {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LaunchError(f"{repository / 'manifest.json'} cannot be read; {remedy}") from None
    for name, digest in files.items():
        try:
            found = _sha256(repository / name)
        except OSError:
            raise LaunchError(f"{repository / name} is missing or unreadable; {remedy}") from None
        if found != digest:
            raise LaunchError(f"{repository / name} is not the file that was prepared; {remedy}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()

"""The original's own .conf files choose the class that answers /service."""

import json
from pathlib import Path

from .settings import SettingsError


def main_class(path: Path, classes: tuple[str, ...]) -> str:
    """The `http_server.exec.main_class` of a UAI configuration, one of `classes`; raises SettingsError.

    The other sections (`tensorflow`, `mxnet`, `backend`) name weights and servers, which Triton's model repository
    decides here; they may be there and are not read.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"UAI_SERVICE_CONFIG={path}: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"UAI_SERVICE_CONFIG={path} is not JSON in UTF-8") from None
    try:
        name = document["http_server"]["exec"]["main_class"]
    except (KeyError, TypeError):
        raise SettingsError(f"UAI_SERVICE_CONFIG={path} has no http_server.exec.main_class") from None
    if name not in classes:
        raise SettingsError(
            f"UAI_SERVICE_CONFIG={path} names the class {name!r}; known are {', '.join(sorted(classes))}"
        )
    return str(name)

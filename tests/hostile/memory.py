"""How much memory a server's processes hold, and held at most."""

import contextlib
from pathlib import Path


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for child in (int(line) for line in _read(f"/proc/{pid}/task/{pid}/children").split()):
        found += family(child)
    return found


def resident(pid: int) -> dict[int, int]:
    """Bytes that each process of the family holds."""
    return {member: _status(member, "VmRSS") for member in family(pid)}


def forget_peaks(pid: int) -> None:
    for member in family(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{member}/clear_refs").write_text("5")


def peaks(pid: int) -> dict[int, int]:
    """Bytes that each process held at most since `forget_peaks`."""
    return {member: _status(member, "VmHWM") for member in family(pid)}


def _status(pid: int, key: str) -> int:
    lines = _read(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""

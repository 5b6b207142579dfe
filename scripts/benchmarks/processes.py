"""What the processes of a server hold and spend, by name, as Linux counts it."""

import os
import subprocess
from collections import defaultdict
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # a second


def memory(launcher: int) -> dict[str, float]:
    """Megabytes that each process under the launcher holds, pages that several hold shared out among them, and all.

    The last figure counts such pages in each process, as `ps` and `top` do.
    """
    names = named(launcher)
    sizes: dict[str, float] = {}
    for pid, name in names.items():
        sizes[name] = sizes.get(name, 0) + _held(pid, "Pss:")  # a model may have two
    counted_in_each = sum(_held(pid, "Rss:") for pid in names)
    return sizes | {"all": sum(sizes.values()), "all, shared pages counted in each": counted_in_each}


def processor_seconds(launcher: int) -> dict[str, float]:
    """What each process under the launcher has spent since it began."""
    spent: dict[str, float] = defaultdict(float)
    for pid, name in named(launcher).items():
        spent[name] += cpu_seconds(pid)
    return spent


def cpu_seconds(pid: int) -> float:
    """What one process has spent since it began; 0 where it has ended."""
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(user) + int(system)) / TICKS


def named(launcher: int) -> dict[int, str]:
    """The processes under the launcher, itself among them, by number; a model's has the model's name."""
    listing = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
    names: dict[int, str] = {}
    for line in sorted(listing.splitlines(), key=lambda line: int(line.split()[0])):
        pid, parent, command = line.split(maxsplit=2)
        if int(pid) == launcher or int(parent) in names:
            names[int(pid)] = _name(command)
    return names


def _name(command: str) -> str:
    if "client gateway" in command:
        return "gateway"
    if "client serve" in command:
        return "launcher"
    words = command.split()
    return Path(words[1]).parents[1].name if "/1/model.py" in command else Path(words[0]).name


def _held(pid: int, which: str) -> float:
    """Megabytes of a process: `Rss:` of all its pages, `Pss:` of each shared one its share; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(which)), 0.0)

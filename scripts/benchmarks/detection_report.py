"""The figures of `scripts/bench mtcnn` as JSON, tables for people, and plots."""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from scripts.benchmarks.tables import table

Row = dict[str, Any]

NAMES = {
    "ours": "ours",
    "reference": "original on TensorFlow 2.18",
    "mtcnn_package": "mtcnn 1.0.0",
    "facenet_pytorch": "facenet-pytorch 2.6.0",
}


def report(folder: Path, figures: dict[str, Any], docs: Path | None) -> None:
    """Write mtcnn.json, mtcnn.md and two plots, and print the tables; with `docs`, put them into detection.md too."""
    folder.mkdir(exist_ok=True)
    (folder / "mtcnn.json").write_text(json.dumps(figures, indent=1))
    sections = {
        "machine": figures["machine"] + ".",
        "sizes": by_size(figures["sizes"]),
        "crowds": by_faces(figures["crowds"]),
        "triton": triton(figures["triton"]),
        "memory": memory(figures["memory"], figures["soak"]),
    }
    text = "\n\n".join(sections.values()) + "\n"
    (folder / "mtcnn.md").write_text(text)
    print(text)
    for place in (folder, docs):
        if place:
            plot_sizes(figures["sizes"], place / "detection-sizes.svg")
            plot_faces(figures["crowds"], place / "detection-faces.svg")
    if docs:
        page = docs / "detection.md"
        page.write_text(filled(page.read_text(), sections))


def filled(page: str, sections: dict[str, str]) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- end -->`."""
    for name, text in sections.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page, count = re.subn(pattern, partial(_replaced, text), page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"detection.md has no place for {name}")
    return page


def _replaced(text: str, match: re.Match[str]) -> str:
    return f"{match[1]}{text}\n{match[2]}"


def by_size(rows: list[Row]) -> str:
    lines: list[list[str]] = []
    means: dict[str, list[float]] = defaultdict(list)
    for size, group in _grouped(rows).items():
        cells = [size, f"{median(median(row['times']['ours']) for row in group):.0f}"]
        for name in list(NAMES)[1:]:
            ratios = [ratio for row in group for ratio in over(row, name)]
            means[name].append(median(ratios))
            cells.append(f"{median(median(row['times'][name]) for row in group):.0f} ms, {spread(ratios)}")
        cells.append("; ".join("/".join(str(row["faces"][name]) for name in NAMES) for row in group))
        lines.append(cells)
    overall = ["all sizes, geometric mean", ""]
    overall += [f"{prod(means[name]) ** (1 / len(means[name])):.1f} times" for name in list(NAMES)[1:]]
    head = ["photo", "ours, ms", *(NAMES[name] for name in list(NAMES)[1:]), "faces found, in that order, by photo"]
    return table(head, [*lines, [*overall, ""]])


def by_faces(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        cells = [row["name"], f"{median(row['times']['ours']):.0f}"]
        cells += [f"{median(row['times'][name]):.0f} ms, {spread(over(row, name))}" for name in list(NAMES)[1:]]
        lines.append([*cells, "/".join(str(row["faces"][name]) for name in NAMES)])
    return table(["1000x1500 with", "ours, ms", *(NAMES[name] for name in list(NAMES)[1:]), "faces found"], lines)


def triton(rows: list[Row]) -> str:
    callers = [name for name in rows[0]["rates"] if name != "in process"]
    lines = []
    for size, group in _grouped(rows).items():
        cells = [size, f"{median(median(row['rates']['in process']) for row in group):.1f}"]
        for name in callers:
            rate = median(median(row["rates"][name]) for row in group)
            cells.append(f"{rate:.1f}, {spread([ratio for row in group for ratio in served_over(row, name)])}")
        lines.append(cells)
    overall = [f"all {len(rows)} photos, median", ""]
    overall += [f"{median(median(served_over(row, name)) for row in rows):.2f} times" for name in callers]
    head = ["photos a second", "in one process", *(f"Triton, {name}" for name in callers)]
    return table(head, [*lines, overall])


def served_over(row: Row, callers: str) -> list[float]:
    """How many times the rate in one process Triton's is, round by round."""
    return [rate / base for rate, base in zip(row["rates"][callers], row["rates"]["in process"], strict=True)]


def _grouped(rows: list[Row]) -> dict[str, list[Row]]:
    """By the size of the photo."""
    sizes: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sizes[f"{row['height']}x{row['width']}"].append(row)
    return sizes


def memory(rows: list[Row], soak: list[Row] | None) -> str:
    lines = [
        [f"{row['name']}, {row['megapixels']:.0f} MP", str(row["faces"]), f"{row['loaded']:.0f}", f"{row['peak']:.0f}"]
        for row in rows
    ]
    text = table(["photo", "faces", "MB when loaded", "MB at the peak"], lines)
    if soak:
        steps = ", ".join(f"{row['megabytes']:.0f} after {row['photos']:.0f}" for row in soak if row["photos"] in SOAK)
        text += f"\n\nMB resident over photos of {soak[-1]['photos']:.0f} different sizes: {steps}."
    return text


SOAK = (10, 100, 500, 1000, 1500, 2000)


def over(row: Row, name: str) -> list[float]:
    """How many times as long as ours another detector takes, round by round."""
    return [other / ours for other, ours in zip(row["times"][name], row["times"]["ours"], strict=True)]


def spread(values: list[float]) -> str:
    """Median, and the range that holds the middle eight tenths."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"{median(values):.1f} times ({low:.1f} to {high:.1f})"


def plot_sizes(rows: list[Row], file: Path) -> None:
    def megapixels(row: Row) -> float:
        return float(row["height"] * row["width"] / 1e6)

    sizes = sorted({megapixels(row) for row in rows})
    _plot(
        file,
        "megapixels",
        sizes,
        lambda name: [median(median(row["times"][name]) for row in rows if megapixels(row) == size) for size in sizes],
    )


def plot_faces(rows: list[Row], file: Path) -> None:
    counts = [float(row["name"].split()[0]) for row in rows]
    _plot(file, "faces in 1.5 megapixels", counts, lambda name: [median(row["times"][name]) for row in rows])


def _plot(file: Path, label: str, places: list[float], values: Callable[[str], list[float]]) -> None:
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "detection"})  # letters as text, same names
    chart, axes = plt.subplots(figsize=(8, 5))
    for name, text in NAMES.items():
        axes.plot(places, values(name), marker="o", label=text)
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="milliseconds")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    chart.savefig(file, metadata={"Date": None})
    plt.close(chart)

"""What `evaluate` found, as JSON, as a table for people, as a section of a document and as a plot."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from client.cli import accuracy
from client.cli.accuracy import Bools, Floats, Operation


@dataclass(frozen=True)
class Report:
    """The figures of one network on one set of pairs. Rates are shares, 0..1; the speed is that of the whole way."""

    embedding_id: str
    pairs: int
    pairs_without_face: int  # left out of all rates
    folds: int
    accuracy: float  # mean over folds
    accuracy_deviation: float  # over folds
    area_under_curve: float
    accepted_at_one_in_thousand: float  # pairs of one person accepted where at most 0.1 % of pairs of two are
    best_threshold: float
    operations: dict[str, Operation]
    photos: int
    seconds: float
    photos_per_second: float


def measure(
    embedding_id: str,
    distance: Floats,
    same: Bools,
    fold: np.ndarray[tuple[int], np.dtype[np.int64]],
    pairs_without_face: int,
    photos: int,
    seconds: float,
) -> Report:
    """All figures of pairs at these distances float[n]."""
    accuracies = accuracy.cross_validated(distance, same, fold)
    strict = accuracy.at_false_accepts(distance, same, 1e-3)
    best = accuracy.best_threshold(distance, same)
    return Report(
        embedding_id=embedding_id,
        pairs=len(same),
        pairs_without_face=pairs_without_face,
        folds=len(np.unique(fold)),
        accuracy=float(accuracies.mean()),
        accuracy_deviation=float(accuracies.std()),
        area_under_curve=accuracy.area(distance, same),
        accepted_at_one_in_thousand=1 - strict.false_rejects,
        best_threshold=best,
        operations={
            "at most 0.1 % false accepts": strict,
            "at most 1 % false accepts": accuracy.at_false_accepts(distance, same, 1e-2),
            "highest accuracy": accuracy.error_rates(distance, same, best),
            "equal errors": accuracy.equal_errors(distance, same),
        },
        photos=photos,
        seconds=seconds,
        photos_per_second=photos / seconds,
    )


def as_json(report: Report) -> str:
    return json.dumps(asdict(report), indent=2) + "\n"


def as_markdown(report: Report) -> str:
    """A section for docs/accuracy.md, which reads well in a terminal too."""
    parts = f"{report.folds} folds" if report.folds > 1 else f"one fold, split in {accuracy.PARTS} for the accuracy"
    left_out = f", {report.pairs_without_face} more left out for want of a face" if report.pairs_without_face else ""
    headline = (
        f"{report.accuracy:.2%} ± {report.accuracy_deviation:.2%}",
        f"{report.area_under_curve:.4f}",
        f"{report.accepted_at_one_in_thousand:.2%}",
        f"{report.best_threshold:.3f}",
    )
    return f"""### {report.embedding_id}

{report.pairs} pairs of {report.photos} photos ({parts}{left_out}).

| accuracy | area under ROC | accepted at 0.1 % false accepts | best threshold |
| --- | --- | --- | --- |
| {" | ".join(headline)} |

| threshold for | distance | false accepts | false rejects |
| --- | --- | --- | --- |
{_rows(report)}
"""


def _rows(report: Report) -> str:
    return "\n".join(
        f"| {name} | {found.threshold:.3f} | {found.false_accepts:.2%} | {found.false_rejects:.2%} |"
        for name, found in report.operations.items()
    )


def update_document(path: Path, report: Report) -> None:
    """Put the section in its place, between comments that name the embedding; at the end where it is new."""
    begin, end = (f"<!-- {word} {report.embedding_id} -->" for word in ("evaluated", "end of"))
    section = f"{begin}\n{as_markdown(report)}{end}\n"
    text = path.read_text("utf-8") if path.exists() else ""
    before, found, rest = text.partition(begin)
    if found:
        section = before + section + rest.partition(f"{end}\n")[2]
    else:
        section = f"{text}\n{section}" if text else section
    path.write_text(section, "utf-8")


def plot_roc(path: Path, report: Report, distance: Floats, same: Bools) -> None:
    """The ROC with its operations, false accepts on a logarithmic scale, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _, accepts, hits = accuracy.curve(distance, same)
    least = 0.5 / int((~same).sum())  # where "none" is drawn on a logarithmic scale
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.step(np.maximum(accepts, least), hits, where="post", color="tab:blue")
    for (name, found), mark in zip(report.operations.items(), "ovsD", strict=True):
        label = f"{name}: {found.threshold:.3f}"
        axes.plot(max(found.false_accepts, least), 1 - found.false_rejects, mark, label=label, linestyle="none")
    axes.set(
        xscale="log",
        xlim=(least, 1),
        ylim=(min(0.8, float(hits[accepts > 0].min(initial=1))), 1.002),
        xlabel="pairs of two people accepted",
        ylabel="pairs of one person accepted",
        title=f"{report.embedding_id}\n{report.pairs} pairs, area {report.area_under_curve:.4f}",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title="threshold")
    figure.savefig(path, dpi=120)

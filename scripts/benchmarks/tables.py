"""The figures of `scripts/bench serving` as JSON, tables for people, and a plot."""

import json
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from preprocess.engines import cores

Figures = dict[str, list[float]]


def report(folder: Path, machine: str, figures: Figures, steps: dict[str, dict[str, float]]) -> None:
    """Write serving.json, serving.md and serving.png, and print the tables."""
    folder.mkdir(exist_ok=True)
    (folder / "serving.json").write_text(json.dumps({"machine": machine, "figures": figures, "steps": steps}, indent=1))
    parts = [machine, rates(figures), ratios(figures), processor(figures), step_table(steps), memory(figures)]
    text = "\n\n".join(parts) + "\n"
    (folder / "serving.md").write_text(text)
    print(text)
    plot(figures, folder / "serving.png")


def spread(values: list[float], digits: int = 1) -> str:
    """Median, lowest and highest."""
    middle, low, high = (f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def rates(figures: Figures) -> str:
    rows = []
    for name, values in figures.items():
        if name.startswith("engine/") and "batch" in name:
            rows.append([name, spread(values), "", ""])
        if name.endswith("/faces per second"):
            base = name.removesuffix("/faces per second")
            times = [spread(figures[f"{base}/{which} ms"]) for which in ("p50", "p99")]
            rows.append([base, spread(values), *times])
    failed = {name.removesuffix("/errors"): sum(values) for name, values in figures.items() if name.endswith("/errors")}
    errors = [f"{base}: {count:.0f} errors" for base, count in failed.items() if count]
    return "\n\n".join([table(["what", "faces or photos per second", "p50 ms", "p99 ms"], rows), *errors])


def ratios(figures: Figures) -> str:
    """The goals: each round's ratio, so that a noisy minute hits both sides of it. None of what was not measured."""

    def best(model: str, engine: str) -> list[float]:
        runs = [values for name, values in figures.items() if name.startswith(f"engine/{model}/{engine}/batch")]
        return [max(round_) for round_ in zip(*runs, strict=True)]

    def rate(name: str) -> list[float]:
        return figures[f"{name}/faces per second"]

    def over(one: list[float], other: list[float]) -> str:
        return spread([a / b for a, b in zip(one, other, strict=True)], 2)

    limit = best("facenet", "onnxruntime")
    alone = [
        1e3 * 2 / rate
        for rate in figures.get("engine/facenet/onnxruntime/batch 2", figures["engine/facenet/onnxruntime/batch 1"])
    ]
    extra = [a - b for a, b in zip(figures["http/service compare/callers 1/p50 ms"], alone, strict=True)]
    rows = [
        [
            "/service compare, 8 callers, over the engine's limit",
            over(rate("http/service compare/callers 8"), limit),
            "0.85",
        ],
        ["/service compare, 1 caller: p50 less the engine's own ms", spread(extra), "at most 6"],
        ["facenet_embed, 8 callers, over the limit", over(rate("grpc/facenet_embed/callers 8"), limit), "0.92"],
        [
            "arcface_embed, 8 callers, over the limit",
            over(rate("grpc/arcface_embed/callers 8"), best("arcface", "onnxruntime")),
            "0.92",
        ],
    ]
    if "http/peer compare/callers 8/faces per second" in figures:
        ratio = over(rate("http/service compare/callers 8"), rate("http/peer compare/callers 8"))
        rows.append(["/service compare over the peer, 8 callers", ratio, "2.2"])
    if (native := figures.get("engine/facenet/tensorflow/batch 1")) is not None:
        ratio = over(figures["engine/facenet/onnxruntime/batch 1"], native)
        rows.append(["facenet one at a time, onnxruntime over tensorflow", ratio, "1.5"])
    return table(["ratio", "median (range over the rounds)", "goal"], rows)


def step_table(steps: dict[str, dict[str, float]]) -> str:
    columns = ["queue", "compute_input", "compute_infer", "compute_output", "all", "batch"]
    rows = [[model, *(f"{row[column]:.2f}" for column in columns)] for model, row in steps.items()]
    return table(["ms a request", *columns], rows)


def processor(figures: Figures) -> str:
    """Where the cores' time goes beside eight callers, and what the network takes of it alone."""
    asked = {
        "facenet_embed": ("facenet", "grpc/facenet_embed"),
        "facenet_compare": ("facenet", "http/service compare"),
        "arcface_embed": ("arcface", "grpc/arcface_embed"),
    }
    sums = ("all", "the cores' time", "the network alone, batch 8")
    rows: dict[str, dict[str, str]] = {}
    for model, (network, base) in asked.items():
        spent = {name.rpartition("/")[2]: values for name, values in figures.items() if f"processor/{model}/" in name}
        spent[sums[2]] = figures[f"processor/{network}/alone"]
        spent[sums[1]] = [1e3 * cores() / rate for rate in figures[f"{base}/callers 8/faces per second"]]
        for name, values in spent.items():
            rows.setdefault(name, {})[model] = f"{median(values):.2f}"
    names = [*sorted(rows.keys() - set(sums)), *sums]
    cells = [[name, *(rows[name].get(model, "0") for model in asked)] for name in names]
    return table(["ms of processor a face, 8 callers", *asked], cells)


def memory(figures: Figures) -> str:
    idle = {name.split("/", 1)[1]: values[0] for name, values in figures.items() if name.startswith("memory idle/")}
    after = {name.split("/", 1)[1]: values[0] for name, values in figures.items() if name.startswith("memory/")}
    rows = [[name, f"{idle.get(name, 0):.0f}", f"{size:.0f}"] for name, size in after.items()]
    start = f"ready after {figures['start/seconds to ready'][0]:.1f} s"
    return table(["MB, of shared pages each its share", "idle", "after the load"], rows) + f"\n\n{start}"


def plot(figures: Figures, file: Path) -> None:
    chart, axes = plt.subplots(figsize=(8, 5))
    for base in ("grpc/facenet_embed", "grpc/arcface_embed", "http/service compare", "http/peer compare"):
        points = sorted(
            (int(name.split("callers ")[1].split("/")[0]), median(values))
            for name, values in figures.items()
            if name.startswith(f"{base}/callers") and name.endswith("faces per second")
        )
        if points:
            axes.plot([callers for callers, _ in points], [rate for _, rate in points], marker="o", label=base)
    axes.set(xscale="log", xlabel="callers", ylabel="faces per second", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    chart.savefig(file, dpi=120)

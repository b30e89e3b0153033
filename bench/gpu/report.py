"""The results as a Markdown table and two pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.timing import table

ORDER = ("gradengine", "pytorch", "torch.compile", "jax")


def markdown(found: dict[str, Any]) -> str:
    """One table for each group, then CPU against GPU."""
    parts = [
        f"# {found['device']}\n\nCopy bandwidth {found['copy'] / 1e12:.3f} TB/s. `share` is of it, "
        "`speed` is PyTorch eager's time over ours in the same run; a miss is marked."
    ]
    rows: list[dict[str, Any]] = found["rows"]
    for group in dict.fromkeys(row["group"] for row in rows):
        parts.append(f"## {group}\n\n{_group([r for r in rows if r['group'] == group])}")
    points = found["crossing"]["points"]
    lines = [
        [str(p["width"]), *(f"{1e3 * p[d]:.3f}" for d in ("cpu", "cuda")), _ratio(p)]
        for p in points
    ]
    where = found["crossing"]["crossing"]
    shown = (
        "no crossing in this range" if where is None else f"the GPU overtakes at width {where:.0f}"
    )
    head = table(["width", "CPU, ms", "GPU, ms", "CPU / GPU"], lines)
    parts.append(f"## CPU against GPU, one training step\n\n{head}\n\nResult: {shown}.")
    return "\n\n".join(parts)


def _ratio(point: dict[str, float]) -> str:
    return f"{point['cpu'] / point['cuda']:.2f}"


def _group(rows: list[dict[str, Any]]) -> str:
    names = [n for n in ORDER if any(n in row["seconds"] for row in rows)]
    header = ["what", *(f"{n}, us" for n in names), "share", "aim", "speed", "aim", "TFLOP/s"]
    lines: list[list[str]] = []
    for row in rows:
        times = [f"{1e6 * row['seconds'][n]:.1f}" if n in row["seconds"] else "" for n in names]
        flops = row.get("TFLOP/s", {}).get("gradengine")
        share = _against(row.get("share"), row.get("share aim"), percent=True)
        speed = _against(row.get("speed"), row.get("speed aim"), percent=False)
        lines.append([row["name"], *times, *share, *speed, "" if flops is None else f"{flops:.0f}"])
    return table(header, lines)


def _against(value: float | None, aim: float | None, *, percent: bool) -> list[str]:
    def show(x: float) -> str:
        return f"{100 * x:.0f} %" if percent else f"{x:.2f}"

    if value is None:
        return ["", "" if aim is None else show(aim)]
    missed = aim is not None and value < aim
    return [show(value) + (" (miss)" if missed else ""), "" if aim is None else show(aim)]


def draw(found: dict[str, Any], stem: Path) -> list[Path]:
    """CPU against GPU by width, and the share of the copy bandwidth of every kernel."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    points = found["crossing"]["points"]
    figure, axes = plt.subplots(figsize=(7, 4.5))
    widths = [p["width"] for p in points]
    axes.loglog(widths, [1e3 * p["cpu"] for p in points], "o-", label="CPU (NumPy)")
    axes.loglog(widths, [1e3 * p["cuda"] for p in points], "s-", label=found["device"])
    where = found["crossing"]["crossing"]
    if where is not None:
        axes.axvline(where, color="grey", linestyle=":", label=f"equal at {where:.0f}")
    axes.set_xlabel("width of the four layers")
    axes.set_ylabel("one training step, ms")
    axes.set_title("One training step, CPU against GPU")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    first = stem.with_name(f"{stem.name}-crossing.png")
    figure.savefig(first, dpi=100)
    plt.close(figure)

    rows = [row for row in found["rows"] if "share" in row]
    figure, axes = plt.subplots(figsize=(8, 0.2 * len(rows) + 1.5))
    axes.barh([r["name"] + " " + r["group"] for r in rows], [100 * r["share"] for r in rows])
    for i, row in enumerate(rows):
        if row["share aim"] is not None:
            axes.plot([100 * row["share aim"]] * 2, [i - 0.4, i + 0.4], color="black")
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("share of the copy bandwidth, % (black: the aim)")
    axes.set_title(f"Memory-bound kernels on {found['device']}")
    figure.tight_layout()
    second = stem.with_name(f"{stem.name}-bandwidth.png")
    figure.savefig(second, dpi=100)
    plt.close(figure)
    return [first, second]

"""The picture for the README: a start of each candidate as a bar, ours in its phases."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.results import NAMES, Results

PHASES = ("gateway", "image", "container", "server", "ready")
SHORT = 0.01
"""Seconds under which a phase would be no more than a line."""


def draw(results: Results, path: Path) -> None:
    # The same samples give the same bytes: no date of the drawing, no random ids.
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "jupyter_launcher", "font.size": 9})
    names = results.candidates("start")
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(names) + 1.3), layout="constrained")
    colours = dict(zip(PHASES, ("#8e8e8e", "#c5b0d5", "#1f77b4", "#ff7f0e", "#2ca02c"), strict=True))
    named: set[str] = set()
    for name in names:
        total, left = results.median(f"start/{name}"), 0.0
        for phase in PHASES:
            key = f"start/{name}/{phase}"
            seconds = results.median(key) if key in results.samples else 0.0
            if seconds >= SHORT:
                axes.barh(NAMES[name], seconds, left=left, color=colours[phase], label="" if phase in named else phase)
                named.add(phase)
                left += seconds
        axes.barh(NAMES[name], max(total - left, 0.0), left=left, color="#c7c7c7")
        axes.text(max(total, left), names.index(name), f" {total:.2f} s", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("seconds from the call until the server answers, median")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="phases of jupyter_launcher", loc="upper right", frameon=False)
    versions = {key: value for key, value in results.versions.items() if key != "cores"}
    line = ", ".join(f"{name} {version}" for name, version in versions.items())
    axes.set_title(
        f"{results.date}, {results.versions.get('cores', '?')} cores\n{fill(line, 90)}", fontsize=7, loc="left"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

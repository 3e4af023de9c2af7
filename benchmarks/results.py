"""What was measured, and how it is read: medians, ratios, goals."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.metadata
import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Keys are paths: what, (how many,) candidate, (which part of it).
NAMES = {
    "session": "jupyter_launcher",
    "session-gateway": "jupyter_launcher, with a gateway",
    "session-untuned": "jupyter_launcher, untuned image",
    "session-warm": "jupyter_launcher, from a pool",
    "raw-ours": "raw docker-py, our image",
    "raw-ours-gateway": "raw docker-py, our image, with a gateway",
    "raw-untuned": "raw docker-py, untuned image",
    "testcontainers": "testcontainers as shipped (looks each second)",
    "testcontainers-10ms": "testcontainers, looks each 10 ms",
    "dockerspawner": "JupyterHub with DockerSpawner",
    "raw": "raw docker-py",
    "bare": "a bare websocket client",
    "process": "a process beside the gateway",
    "environment": 'in its image\'s container (`isolation="environment"`)',
    "container": 'in a container of its own (`isolation="kernel"`)',
    "eg-docker": "Enterprise Gateway's DockerProcessProxy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run: samples in seconds by key."""

    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def begin(cls, client: Any) -> Results:
        return cls(date=dt.datetime.now(dt.timezone.utc).date().isoformat(), versions=versions(client))

    @classmethod
    def read(cls, path: Path) -> Results:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        rounded = {key: [round(value, 5) for value in values] for key, values in sorted(self.samples.items())}
        path.write_text(json.dumps({**dataclasses.asdict(self), "samples": rounded}, indent=1) + "\n")

    def add(self, key: str, seconds: float) -> None:
        self.samples.setdefault(key, []).append(seconds)

    def median(self, key: str) -> float:
        return statistics.median(self.samples[key])

    def candidates(self, what: str) -> list[str]:
        """Who was measured at this, in the order of NAMES."""
        return [name for name in NAMES if f"{what}/{name}" in self.samples]

    def counts(self, what: str) -> list[int]:
        """For how many at once, or with how many sessions, something was measured."""
        found = {key.split("/")[1] for key in self.samples if key.startswith(f"{what}/")}
        return sorted(int(count) for count in found if count.isdigit())


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio of medians that shall not be more than a bound."""

    what: str
    over: str
    at_most: float
    text: str

    def ratio(self, results: Results) -> float | None:
        """None when one of the two was not measured."""
        if self.what not in results.samples or self.over not in results.samples:
            return None
        return results.median(self.what) / results.median(self.over)


def goals() -> list[Goal]:
    return [
        Goal(what=what, over=over, at_most=at_most, text=text)
        for what, over, at_most, text in (
            ("start/session", "start/raw-untuned", 0.5, "start / raw, untuned image"),
            ("start/session", "start/raw-untuned", 0.3, "start / raw, untuned image: the next goal"),
            ("start/session-untuned", "start/raw-untuned", 0.34, "start, untuned image / raw, untuned image"),
            (
                "start/session-warm",
                "start/raw-untuned",
                0.03 if os.geteuid() == 0 else 0.08,
                "start from a pool / raw, untuned image",
            ),
            ("start/session", "start/raw-ours", 1.05, "start / raw, our image"),
            ("start/session", "start/testcontainers-10ms", 0.5, "start / testcontainers each 10 ms"),
            ("start/session", "start/dockerspawner", 0.33, "start / DockerSpawner"),
            ("start/session-gateway", "start/raw-untuned", 0.5, "start with a gateway / raw, untuned image"),
            ("together/16/session", "together/16/raw-ours", 1.1, "16 starts at once / raw, our image, 2 in flight"),
            ("together/16/session/first", "together/1/session", 1.5, "the first of 16 / a single start"),
            ("stop/session", "stop/raw-ours", 1.0, "stop / raw, graceful"),
            ("stop/session", "stop/raw-ours", 0.55, "stop / raw, graceful: the next goal"),
            (
                "stop/session-gateway",
                "stop/raw-ours-gateway",
                1.0,
                "stop with 3 kernels on the gateway / raw, graceful",
            ),
            (
                "stop/session-gateway",
                "stop/raw-ours-gateway",
                0.65,
                "stop with 3 kernels on the gateway / raw, graceful: the next goal",
            ),
            ("get-again/100/session", "get-again/100/raw", 1.5, "`get` again / raw inspect and one request"),
            ("list/100/session", "list/100/raw", 1.3, "`list` of 100 / raw list that inspects each"),
            ("code/session", "code/bare", 2.0, "`execute` of `1 + 1` / a bare websocket client"),
            (
                "kernel-start/environment",
                "kernel-start/process",
                1.1,
                "a kernel's start in its image's container / as a process",
            ),
            ("kernel-start/container", "kernel-start/process", 2.0, "in a container of its own / as a process"),
            (
                "kernel-start/container",
                "kernel-start/eg-docker",
                0.55,
                "in a container of its own / Enterprise Gateway's DockerProcessProxy",
            ),
        )
    ]


IMPORT_GOAL = 0.030
"""Seconds that ``import jupyter_launcher`` may take more than a bare Python."""


def versions(client: Any) -> dict[str, str]:
    packages = ("docker", "testcontainers", "jupyterhub", "dockerspawner")
    return {
        "Docker": client.version()["Version"],
        "Python": platform.python_version(),
        "jupyter_launcher": importlib.metadata.version("jupyter-launcher"),
        **{name: importlib.metadata.version(name) for name in packages},
        "cores": str(os.cpu_count()),
    }

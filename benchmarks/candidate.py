"""What is compared: each candidate starts a JupyterLab in a container, and ends it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from jupyter_launcher import Launcher

TOKEN = "of-the-benchmark"  # noqa: S105 - for one run on loopback
LABEL = "jupyter-launcher.benchmark"
LAB = (
    "jupyter",
    "lab",
    "--ip=0.0.0.0",
    "--port=8888",
    "--notebook-dir=/pipeline-dir",
    "--port-retries=0",
    "--no-browser",
    "--allow-root",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all candidates of a run share."""

    run: str
    """The value of the label on every container that is not a session's."""
    client: Any
    launcher: Launcher
    folder: Path
    untuned: str
    """The image of a JupyterLab as pip installs it."""
    hub_image: str

    @property
    def user(self) -> str:
        owner = self.folder.stat()
        return f"{owner.st_uid}:{owner.st_gid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server that answers."""

    stop: Callable[[], object]
    url: str = ""
    token: str = field(default=TOKEN, repr=False)
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds of each part of the start, for a candidate that knows them."""


Start = Callable[[], Started]


def until_it_answers(url: str, poll: float, seconds: float = 180.0) -> None:
    """Ask every ``poll`` seconds until the answer is a 200."""
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            last = requests.get(url, timeout=5).status_code
        except requests.RequestException as error:
            last = error
        if last == 200:
            return
        time.sleep(poll)
    msg = f"{url} did not answer in {seconds:.0f} s: {last}"
    raise TimeoutError(msg)

"""Where a start of ours goes: read off the engine's events and the server's log, which one clock stamps.

The server runs as ever; only its Python says when it begins, from a module beside the image's own.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import tempfile
import time
from pathlib import Path

from benchmarks.candidate import Setting
from benchmarks.results import Results
from jupyter_launcher import Mount, Session

BEGINS = "its Python begins"
PARTS = (
    "until the engine has created the container",
    "until the engine has started it",
    "until the exec runs",
    "until the server's Python runs",
    "imports, configuration",
    "Jupyter's own set-up",
    "until its ready signal, and its first answer to the token",
)


def measure(results: Results, setting: Setting, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "sitecustomize.py").write_text(f"print({BEGINS!r}, flush=True)\n")
        for number in range(rounds + 1):
            print(f"a start taken apart, round {number} of {rounds}", flush=True)
            before = time.time()
            session = setting.launcher.start(
                setting.folder,
                mounts=[Mount(source=name, target="/benchmark", read_only=True)],
                environment={"PYTHONPATH": "/benchmark"},
            )
            answered = time.time()
            moments = [before, *moments_of(setting, session, before), answered]
            session.stop()
            if number:
                for part, (begin, end) in zip(PARTS, itertools.pairwise(moments), strict=True):
                    results.add(f"apart/{part}", end - begin)


def moments_of(setting: Setting, session: Session, before: float) -> list[float]:
    """Seconds since the epoch at which one part ended and the next began."""
    events = setting.client.events(
        since=int(before), until=time.time() + 0.01, filters={"container": session.container_id}, decode=True
    )
    at = {event["Action"].partition(":")[0]: event["timeNano"] / 1e9 for event in reversed(list(events))}
    log = setting.client.containers.get(session.container_id).logs(timestamps=True).decode()
    # Of the lines that Jupyter writes with its time, the first comes when all is imported.
    lines = [BEGINS, r"\[I ", ".*Serving notebooks from"]
    return [at["create"], at["start"], at["exec_start"], *(stamp(log, line) for line in lines)]


def stamp(log: str, line: str) -> float:
    found = re.search(rf"^(\S+?)(\.\d+)Z {line}", log, re.MULTILINE)
    if found is None:
        msg = f"the server's log has no line that begins with {line!r}:\n{log}"
        raise ValueError(msg)
    return dt.datetime.fromisoformat(f"{found[1]}+00:00").timestamp() + float(found[2])

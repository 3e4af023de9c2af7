"""How events are shown: as lines, as a drawing, or not at all."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jupyter_launcher import Event, EventKind, Phase
from jupyter_launcher.cli.progress import choose_progress


def event(kind: EventKind, **changes: Any) -> Event:
    return Event(**{"session_id": "one", "phase": Phase.IMAGE, "kind": kind, "seconds": 1.5, **changes})


EVENTS = [
    event(EventKind.STARTED),
    event(EventKind.PROGRESS, detail="Step 1/2", done=1, total=2),
    event(EventKind.PROGRESS, detail="unknown total"),
    event(EventKind.FINISHED, detail="built"),
    event(EventKind.STARTED, phase=Phase.SERVER),
    event(EventKind.WARNING, phase=Phase.SERVER, detail="[not] tuned"),
    event(EventKind.FAILED, phase=Phase.SERVER, detail="ServerStartError"),
]


def shown(kind: str, capsys: pytest.CaptureFixture[str]) -> str:
    progress = choose_progress(kind)
    for item in EVENTS:
        progress.show(item)
    progress.stop_drawing()
    progress.stop_drawing()
    output, errors = capsys.readouterr()
    assert output == ""
    return errors


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_lines_for_what_ended_and_for_warnings(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(kind, capsys).splitlines() == [
        "image: Step 1/2",
        "image: finished after 1.50 s built",
        "warning: [not] tuned",
        "server: failed after 1.50 s ServerStartError",
    ]


def test_progress_is_a_line_once_a_second(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("jupyter_launcher.cli.progress.time.monotonic", lambda: now)
    progress = choose_progress("plain")
    for second in (0.0, 0.5, 1.1, 1.2):
        now = 1000.0 + second
        progress.show(event(EventKind.PROGRESS, detail=f"at {second}", total=9))
    assert capsys.readouterr().err.splitlines() == ["image: at 0.0", "image: at 1.1"]


def test_nothing_when_it_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("none", capsys) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_drawing_has_a_line_for_each_phase(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,  # noqa: FBT001 - pytest's
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown("rich", capsys))
    lines = [line.split() for line in text.splitlines()]
    assert ["✓", "image", "1.50", "s", "built"] in lines
    assert ["✗", "server", "1.50", "s", "ServerStartError"] in lines
    assert "warning: [not] tuned" in text


def test_after_a_stop_it_is_drawn_below(capsys: pytest.CaptureFixture[str]) -> None:
    progress = choose_progress("rich")
    progress.show(event(EventKind.STARTED))
    progress.show(event(EventKind.PROGRESS, detail="half", done=1, total=2))
    progress.stop_drawing()
    progress.show(event(EventKind.FINISHED, detail="done"))
    progress.stop_drawing()
    assert "✓ image" in capsys.readouterr().err

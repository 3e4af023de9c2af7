"""What happens to sessions, as the engine tells it."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import SessionEvent, SessionEventKind
from jupyter_launcher.engine.shapes import ContainerEvent
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.events import follow_sessions
from tests.unit.fakes import NOW, FakeEngine, FakeEvents, session_labels


def happened(action: str, exit_code: int | None = None, **changes: Any) -> ContainerEvent:
    labels = session_labels()
    known: dict[str, Any] = {"id": "c" * 64, "name": labels.name, "labels": {**labels.to_labels(), "image": "i"}}
    return ContainerEvent(action=action, time=NOW, exit_code=exit_code, **{**known, **changes})


def test_events_are_of_the_sessions_of_this_namespace(engine: FakeEngine, context: Context) -> None:
    assert list(follow_sessions(context, NOW)) == []
    assert engine.calls == [("events", f"jupyter-launcher.namespace=unit {NOW}")]


@pytest.mark.parametrize(
    ("action", "code", "kind", "shown"),
    [
        ("die", 0, SessionEventKind.ENDED, 0),
        ("died", 1, SessionEventKind.ENDED, 1),
        ("die", None, SessionEventKind.ENDED, None),
        ("die", 137, SessionEventKind.KILLED, 137),
        ("oom", None, SessionEventKind.OUT_OF_MEMORY, None),
        ("destroy", 137, SessionEventKind.REMOVED, None),
        ("remove", None, SessionEventKind.REMOVED, None),
    ],
)
def test_an_end_is_told(
    engine: FakeEngine, context: Context, action: str, code: int | None, kind: SessionEventKind, shown: int | None
) -> None:
    engine.happened = FakeEvents(happened(action, code))
    assert list(follow_sessions(context, None)) == [
        SessionEvent(kind=kind, session_id="one", container_id="c" * 64, owner="me", time=NOW, exit_code=shown)
    ]


def test_what_is_no_matter_of_sessions_is_left_out(engine: FakeEngine, context: Context) -> None:
    copied, unreadable = happened("die", name="a-copy"), happened("die", labels={})
    others = [happened(action) for action in ("create", "exec_die", "kill", "what comes later")]
    engine.happened = FakeEvents(copied, unreadable, *others, happened("die", 0))
    assert [event.kind for event in follow_sessions(context, None)] == [SessionEventKind.ENDED]


def test_leaving_the_block_closes_the_stream(engine: FakeEngine, context: Context) -> None:
    engine.happened = FakeEvents(happened("die"), happened("destroy"))
    with follow_sessions(context, None) as events:
        assert next(events).kind is SessionEventKind.ENDED
    assert engine.happened.closed
    assert list(events) == []

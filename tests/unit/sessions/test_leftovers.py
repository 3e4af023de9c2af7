"""Gateways of ours and short-lived containers: listed, and removed where nobody needs them any more."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jupyter_launcher import EngineError, Gateway, GatewaySummary, ReapedSession, StopMethod
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.sessions import leftovers
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.leftovers import list_gateways, reap_leftovers
from jupyter_launcher.spec.labels import gateway_labels, helper_labels
from tests.unit.fakes import NOW, FakeEngine, container, refusal, session_info, session_labels

DAY = 86400.0
ALIVE = process_mark()
DEAD = ":".join([*ALIVE.split(":")[:3], "1"])  # its process id is another process's by now
ELSEWHERE = "other-boot:4026531836:7:1"


def add(engine: FakeEngine, mark: str, *, kind: str = "gateway", age: float = 100.0, **changes: Any) -> ContainerInfo:
    """A gateway or a helper, of a process with this mark."""
    labels = helper_labels("look", mark) if kind == "helper" else gateway_labels("unit", "me", mark)
    made = container(**{"id": "9" * 64, "name": "gw", "labels": labels, **changes})
    engine.known[made.id] = made
    engine.born[made.id] = NOW - age
    return made


def reap(context: Context, **changes: Any) -> list[ReapedSession]:
    return reap_leftovers(context, **{"min_age": 60.0, "keep": None, "owner": None, "dry_run": False, **changes})


def test_gateways_are_listed(context: Context, engine: FakeEngine) -> None:
    add(engine, ALIVE, state="exited", exit_code=3)
    add(engine, ALIVE, id="8" * 64, name="others", labels=gateway_labels("other", "", ""))
    assert list_gateways(context) == [
        GatewaySummary(
            name="gw",
            container_id="9" * 64,
            image="image",
            created=NOW - 100.0,
            owner="me",
            state="exited",
            status="Exited (3) 5 seconds ago",
            exit_code=3,
        )
    ]


@pytest.mark.parametrize("kind", ["gateway", "helper"])
@pytest.mark.parametrize(
    ("mark", "state", "age", "reason"),
    [
        (DEAD, "running", 100.0, "orphaned"),
        (DEAD, "exited", 100.0, "exited"),
        (DEAD, "created", 100.0, "created"),
        (DEAD, "running", 50.0, ""),
        (ALIVE, "running", 2 * DAY, ""),
        (ELSEWHERE, "running", DAY - 1, ""),
        (ELSEWHERE, "running", DAY, "orphaned"),
        (ELSEWHERE, "exited", 100.0, "exited"),
        ("", "running", DAY, "orphaned"),
        ("", "running", 100.0, ""),
    ],
    ids=itertools.count(),
)
def test_what_nobody_needs(
    context: Context, engine: FakeEngine, kind: str, mark: str, state: str, age: float, reason: str
) -> None:
    made = add(engine, mark, kind=kind, state=state, age=age)
    found = reap(context)
    assert [(item.reason, item.kind, item.name, item.container_id, item.session_id) for item in found] == (
        [(reason, kind, "gw", made.id, "")] if reason else []
    )
    assert bool(engine.known) != bool(reason)
    for item in found:
        assert item.report is not None
        assert item.report.method is (StopMethod.KILLED if state == "running" else StopMethod.ALREADY_STOPPED)


def test_what_has_ended_belongs_to_its_process_while_that_reads_it(context: Context, engine: FakeEngine) -> None:
    add(engine, ALIVE, kind="helper", state="exited", age=2 * DAY)
    assert reap(context, min_age=0.0) == []
    add(engine, ELSEWHERE, kind="helper", state="exited", age=30.0)
    assert reap(context, min_age=0.0) == []
    add(engine, ALIVE, state="exited")  # a gateway that has ended answers nobody
    assert [item.reason for item in reap(context)] == ["exited"]


def test_a_dry_run_removes_nothing(context: Context, engine: FakeEngine) -> None:
    add(engine, DEAD)
    (found,) = reap(context, dry_run=True)
    assert (found.report, found.error, found.reason) == (None, "", "orphaned")
    assert engine.removed == []


def test_owners_and_names_that_are_kept(context: Context, engine: FakeEngine) -> None:
    add(engine, DEAD)
    add(engine, DEAD, kind="helper", id="8" * 64, name="look")
    assert reap(context, owner="them") == []
    assert reap(context, keep=["gw"], owner="me") == []
    assert [item.name for item in reap(context, keep=["gw"])] == ["look"]
    assert [item.name for item in reap(context, keep=[], owner="me")] == ["gw"]


NAMED: list[Callable[[ContainerInfo], Gateway]] = [
    lambda info: Gateway(name="other-name", url="http://10.0.0.1:8888", container_id=info.id),
    lambda _: Gateway(name="http://172.17.0.9:8888", url="http://172.17.0.9:8888"),
    lambda _: Gateway(name="http://gw:8888", url="http://gw:8888"),
]


@pytest.mark.parametrize("named", NAMED)
def test_a_gateway_that_a_running_session_names_stays(
    context: Context, engine: FakeEngine, named: Callable[[ContainerInfo], Gateway]
) -> None:
    gateway = add(engine, DEAD, age=2 * DAY)
    labels = replace(session_labels(named(gateway)), namespace="another")
    session = session_info(labels)
    engine.known[session.id] = session
    assert reap(context) == []
    engine.change(session.id, labels={**session.labels, "jupyter-launcher.options": "cut off"})
    assert reap(context) == []
    engine.end(session.id)
    assert [item.name for item in reap(context)] == ["gw"]


def test_sessions_with_other_gateways_keep_none(context: Context, engine: FakeEngine) -> None:
    add(engine, DEAD)
    session = session_info(session_labels(Gateway(name="gw2", url="http://10.0.0.1:8888", container_id="8" * 64)))
    engine.known[session.id] = session
    assert [item.name for item in reap(context)] == ["gw"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda engine, info: engine.known.pop(info.id), "somebody else removed it meanwhile"),
        (lambda engine, info: engine.change(info.id, state="running"), "its container is running by now"),
        (lambda engine, _: engine.fail("remove", refusal(500, "busy")), "busy"),
        (lambda engine, _: engine.fail("remove", ValueError("odd")), "ValueError: odd"),
    ],
)
def test_another_look_comes_first_and_errors_are_reported(
    context: Context,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[FakeEngine, ContainerInfo], object],
    error: str,
) -> None:
    first, second = add(engine, DEAD, state="exited"), add(engine, DEAD, id="8" * 64, name="second", state="exited")
    found = list(leftovers._find_leftovers(context, 60.0, (), None))
    monkeypatch.setattr(leftovers, "_find_leftovers", lambda *_: found)
    change(engine, first)
    failed, removed = reap(context)
    assert error in failed.error
    assert failed.report is None
    assert (removed.container_id, removed.error) == (second.id, "")


def test_a_gateway_that_is_wanted_by_now_stays(
    context: Context, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(engine, DEAD)
    found = list(leftovers._find_leftovers(context, 60.0, (), None))
    monkeypatch.setattr(leftovers, "_find_leftovers", lambda *_: found)
    (left,) = reap(context, keep=["gw"])
    assert "it is wanted by now" in left.error
    assert engine.removed == []


def test_an_engine_that_does_not_answer(context: Context, engine: FakeEngine) -> None:
    engine.fail("containers", refusal(500))
    with pytest.raises(EngineError):
        reap(context)

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
from jupyter_launcher.spec.labels import gateway_labels, gateway_name, helper_labels, helper_name
from tests.unit.fakes import NOW, FakeEngine, container, refusal, session_info, session_labels

DAY = 86400.0
ALIVE = process_mark()
DEAD = ":".join([*ALIVE.split(":")[:3], "1"])  # its process id is another process's by now
ELSEWHERE = "other-boot:4026531836:7:1"
NAME, SECOND = gateway_name("unit", "0" * 12), gateway_name("unit", "2" * 12)
LOOK = helper_name("look", "3" * 12)


def add(
    engine: FakeEngine, mark: str, *, kind: str = "gateway", age: float = 100.0, may_stay: bool = False, **changes: Any
) -> ContainerInfo:
    """A gateway or a helper, of a process with this mark."""
    labels = helper_labels("look", mark) if kind == "helper" else gateway_labels("unit", "me", mark, may_stay=may_stay)
    name = LOOK if kind == "helper" else NAME
    made = container(**{"id": "9" * 64, "name": name, "labels": labels, **changes})
    engine.known[made.id] = made
    engine.born[made.id] = NOW - age
    return made


def reap(context: Context, **changes: Any) -> list[ReapedSession]:
    return reap_leftovers(context, **{"min_age": 60.0, "keep": None, "owner": None, "dry_run": False, **changes})


def test_gateways_are_listed(context: Context, engine: FakeEngine) -> None:
    add(engine, ALIVE, state="exited", exit_code=3)
    other = gateway_name("other", "0" * 12)
    add(engine, ALIVE, id="8" * 64, name=other, labels=gateway_labels("other", "", ""))
    add(engine, ALIVE, id="7" * 64, name="alices-own-database")
    assert list_gateways(context) == [
        GatewaySummary(
            name=NAME,
            container_id="9" * 64,
            image="image",
            created=NOW - 100.0,
            owner="me",
            state="exited",
            status="Exited (3) 5 seconds ago",
            exit_code=3,
            gateway_id="0" * 12,
        )
    ]


@pytest.mark.parametrize("kind", ["gateway", "helper"])
@pytest.mark.parametrize(
    ("mark", "state", "age", "reason"),
    [
        (DEAD, "running", 100.0, "orphaned"),
        (DEAD, "exited", 100.0, "exited"),
        (DEAD, "created", 100.0, "created"),
        (ALIVE, "created", 2 * DAY, ""),
        (ELSEWHERE, "created", DAY - 1, ""),
        (ELSEWHERE, "created", DAY, "created"),
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
        [(reason, kind, made.name, made.id, "")] if reason else []
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
    add(engine, DEAD, kind="helper", id="8" * 64)
    assert reap(context, owner="them") == []
    assert reap(context, keep=[NAME], owner="me") == []
    assert [item.name for item in reap(context, keep=[NAME])] == [LOOK]
    assert [item.name for item in reap(context, keep=[], owner="me")] == [NAME]


def test_helpers_go_first_since_they_may_share_the_namespaces_of_others(context: Context, engine: FakeEngine) -> None:
    add(engine, DEAD)
    add(engine, DEAD, kind="helper", id="8" * 64)
    assert [item.kind for item in reap(context)] == ["helper", "gateway"]


def named(name: str, url: str = "", container_id: str | None = None) -> Gateway:
    return Gateway(name=name, url=url or name, container_id=container_id)


USED = [
    named("other-name", "http://10.0.0.1:8888", "9" * 64),
    named("http://172.17.0.9:8888"),
    named("http://172.17.0.9:8888/"),
    named(f"http://{NAME}:8888"),
    named("http://172.17.0.1:49153"),  # the published port
    named("http://host.example:49153/"),
]


@pytest.mark.parametrize("gateway", USED)
@pytest.mark.parametrize("state", ["running", "created", "paused"])
def test_a_gateway_that_a_session_names_stays(
    context: Context, engine: FakeEngine, gateway: Gateway, state: str
) -> None:
    add(engine, DEAD, age=2 * DAY)
    labels = replace(session_labels(gateway), namespace="another")
    session = session_info(labels, state=state)
    engine.known[session.id] = session
    assert reap(context) == []
    engine.change(session.id, labels={**session.labels, "jupyter-launcher.options": "cut off"})
    assert reap(context) == []
    engine.end(session.id)
    assert [item.name for item in reap(context)] == [NAME]


UNUSED = [
    None,
    named(NAME, "http://172.17.0.9:8888", "8" * 64),  # of an earlier container
    named("gw2", "http://10.0.0.1:8888", "8" * 64),
    named("http://172.17.0.1:8888"),
    named("http://gw:8888"),  # no name is resolved on the default network
]


@pytest.mark.parametrize("gateway", UNUSED)
def test_sessions_with_other_gateways_keep_none(context: Context, engine: FakeEngine, gateway: Gateway | None) -> None:
    add(engine, DEAD)
    session = session_info(session_labels(gateway))
    engine.known[session.id] = session
    assert [item.name for item in reap(context)] == [NAME]


@pytest.mark.parametrize(
    ("url", "networks", "left"),
    [
        ("http://gw:8888", ["bridge", "pipelines"], [NAME]),
        ("http://[fd00::2]:8888", ["pipelines"], [NAME]),
        ("http://gw:8888", ["others"], []),
        ("http://10.9.0.3:8888", ["pipelines"], []),
        ("http://10.9.0.2:8888", ["others"], [NAME]),
    ],
)
def test_a_gateway_that_a_session_may_name_by_an_alias_stays(
    context: Context, engine: FakeEngine, url: str, networks: list[str], left: list[str]
) -> None:
    add(engine, DEAD, age=2 * DAY, networks={"bridge": "172.17.0.9", "pipelines": "10.9.0.2"})
    session = session_info(session_labels(named(url)), networks=dict.fromkeys(networks, "10.9.0.7"))
    engine.known[session.id] = session
    reap(context)
    assert [info.name for info in engine.known.values() if info.id != session.id] == left


@pytest.mark.parametrize(
    ("text", "left"),
    [(f'{{"name": "{NAME}"', [NAME]), ('"http://172.17.0.9:8888', [NAME]), ("http://[172.17.0.9", [NAME]), ("{", [])],
)
def test_a_gateway_that_a_label_names_that_cannot_be_read(
    context: Context, engine: FakeEngine, text: str, left: list[str]
) -> None:
    add(engine, DEAD)
    session = session_info()
    engine.known[session.id] = replace(session, labels={**session.labels, "jupyter-launcher.gateway": text})
    reap(context)
    assert [info.name for info in engine.known.values() if info.id != session.id] == left


def test_a_gateway_that_its_maker_may_have_kept_stays_for_a_day(context: Context, engine: FakeEngine) -> None:
    add(engine, DEAD, may_stay=True, age=DAY - 1)
    assert reap(context) == []
    add(engine, ALIVE, may_stay=True, age=2 * DAY)
    assert reap(context) == []
    add(engine, DEAD, may_stay=True, age=DAY)
    assert [item.reason for item in reap(context)] == ["orphaned"]
    add(engine, DEAD, may_stay=True, state="exited")
    assert [item.reason for item in reap(context)] == ["exited"]


@pytest.mark.parametrize("kind", ["gateway", "helper"])
@pytest.mark.parametrize("state", ["running", "exited"])
def test_copies_of_labels_are_left_alone(context: Context, engine: FakeEngine, kind: str, state: str) -> None:
    add(engine, DEAD, kind=kind, state=state, name="alices-own-database", age=2 * DAY)
    assert reap(context) == []
    labels = {**gateway_labels("unit", "me", DEAD), **helper_labels("look", ALIVE)}
    add(engine, DEAD, name=LOOK, labels=labels, age=2 * DAY)  # its image was committed from a gateway
    assert reap(context) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda engine, info: engine.known.pop(info.id), "somebody else removed it meanwhile"),
        (lambda engine, info: engine.change(info.id, state="running"), "its container is running by now"),
        (lambda engine, info: engine.change(info.id, name="mine"), "its container is named mine by now"),
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
    first, second = add(engine, DEAD, state="exited"), add(engine, DEAD, id="8" * 64, name=SECOND, state="exited")
    found = leftovers._find_leftovers(context, 60.0, None, None)
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
    found = leftovers._find_leftovers(context, 60.0, None, None)
    monkeypatch.setattr(leftovers, "_find_leftovers", lambda *_: found)
    (left,) = reap(context, keep=[NAME])
    assert "it is wanted by now" in left.error
    assert engine.removed == []


def test_an_engine_that_does_not_answer(context: Context, engine: FakeEngine) -> None:
    engine.fail("containers", refusal(500))
    with pytest.raises(EngineError):
        reap(context)

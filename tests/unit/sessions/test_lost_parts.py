"""What is left of gateways with kernels in containers: found, told and removed; what somebody needs is left alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from jupyter_launcher import GatewaySummary, KernelSummary, ReapedSession, StopMethod
from jupyter_launcher.models import Gateway
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.leftovers import list_gateways, reap_leftovers
from jupyter_launcher.spec.kernels.containers import BROKER_DIR
from tests.unit.fakes import NOW, FakeEngine, not_run, printed, refusal, session_info, session_labels
from tests.unit.sessions.units import (
    ALIVE,
    DEAD,
    ELSEWHERE,
    GATEWAY_ID,
    add_gateway,
    add_network,
    add_part,
    kernel_id,
    names,
)

DAY = 86400.0


def reap(context: Context, **changes: Any) -> list[ReapedSession]:
    return reap_leftovers(context, **{"min_age": 0.0, "keep": None, "owner": None, "dry_run": False, **changes})


def told(found: list[ReapedSession]) -> list[tuple[str, str, str]]:
    return [(item.kind, item.reason, item.error) for item in found]


def add_all(engine: FakeEngine, start: str = "s1", **gateway: Any) -> None:
    """A gateway with a broker, two kernels and a network of its own."""
    add_gateway(engine, start, **gateway)
    add_part(engine, "broker", start)
    add_part(engine, "kernel", start, number=1, of="session")
    add_part(engine, "kernel", start, number=2, state="exited")
    add_network(engine, start)


@pytest.mark.parametrize("mark", [ALIVE, ELSEWHERE, ""], ids=["alive", "elsewhere", "unknown"])
@pytest.mark.parametrize("state", ["running", "created", "paused"])
def test_nothing_of_a_gateway_is_touched_that_somebody_may_need(
    context: Context, engine: FakeEngine, mark: str, state: str
) -> None:
    add_all(engine, mark=mark, state=state)
    assert reap(context) == []
    assert len(engine.known) == 4
    assert engine.own_networks


@pytest.mark.parametrize(
    ("mark", "state", "reason"),
    [(DEAD, "running", "orphaned"), (DEAD, "created", "created"), (ALIVE, "exited", "exited"), ("", "dead", "exited")],
    ids=itertools.count(),
)
def test_a_gateway_goes_with_all_that_is_of_it(
    context: Context, engine: FakeEngine, mark: str, state: str, reason: str
) -> None:
    add_all(engine, mark=mark, state=state)
    add_all_of_another = add_gateway(engine, "s2", gateway_id="1" * 12)
    add_part(engine, "kernel", "s2", number=9)
    assert told(reap(context, dry_run=True)) == [("gateway", reason, "")]
    (found,) = reap(context)
    assert told([found]) == [("gateway", reason, "")]
    assert found.report is not None
    assert set(found.report.kernels) == set(found.report.kernels_gone) == {kernel_id(1), kernel_id(2)}
    assert names(engine) == {add_all_of_another.name, f"jupyter-kernel.unit.{kernel_id(9)}"}
    assert engine.own_networks == {}


def test_parts_without_a_gateway_go_the_broker_first(context: Context, engine: FakeEngine) -> None:
    for kind, number in (("kernel", 1), ("agent", 0), ("broker", 0)):
        add_part(engine, kind, "s1", number=number)
    add_part(engine, "kernel", "s1", number=2, state="created")
    add_network(engine, "s1")
    found = reap(context)
    assert [item.name.partition(".")[0] for item in found] == [
        "kernel-broker",
        "kernel-agent",
        "jupyter-kernel",
        "jupyter-kernel",
        "kernel-network",
    ]
    assert {(kind, reason) for kind, reason, _ in told(found)} == {
        ("part", "orphaned"),
        ("part", "created"),
        ("network", "orphaned"),
    }
    assert [item.report.kernels for item in found if item.report and item.report.kernels] == [
        (kernel_id(1),),
        (kernel_id(2),),
    ] or [item.report.kernels for item in found if item.report and item.report.kernels] == [
        (kernel_id(2),),
        (kernel_id(1),),
    ]
    assert (engine.known, engine.own_networks) == ({}, {})


@pytest.mark.parametrize("errors", [(), (refusal(409, "in use"),)], ids=["free", "a gateway has it"])
def test_a_lost_broker_goes_with_the_volume_of_its_gateway(
    context: Context, engine: FakeEngine, errors: tuple[Exception, ...]
) -> None:
    """Somebody removed the gateway while the broker had its volume, so the engine let that be."""
    add_part(engine, "broker", "s1", state="exited", volumes={BROKER_DIR: "v" * 64})
    engine.fail("remove_volume", *errors)
    assert told(reap(context)) == [("part", "exited", "")]
    assert engine.known == {}
    assert ("remove_volume", "v" * 64) in engine.calls


def test_parts_of_a_gateway_that_has_ended_and_is_named_by_a_session(context: Context, engine: FakeEngine) -> None:
    """That session's stop tells of the gateway; its parts are of no use to anybody."""
    gateway = add_gateway(engine, "s1", state="exited")
    add_part(engine, "broker", "s1", state="exited")
    labels = session_labels(Gateway(name=gateway.name, url="http://172.17.0.9:8888", container_id=gateway.id))
    engine.known["5" * 64] = session_info(labels, id="5" * 64)
    assert told(reap(context)) == [("part", "exited", "")]
    assert names(engine) == {gateway.name, labels.name}


def test_what_is_young_is_left_alone(context: Context, engine: FakeEngine) -> None:
    add_part(engine, "broker", "s1", age=30.0)
    add_network(engine, "s1", age=30.0)
    assert reap(context, min_age=60.0) == []
    assert len(reap(context, min_age=20.0)) == 2


@pytest.mark.parametrize(
    ("mark", "age", "is_lost"),
    [(DEAD, 1.0, True), (ALIVE, 30.0, False), (ELSEWHERE, 30.0, False), (ALIVE, 61.0, True), (ELSEWHERE, 61.0, True)],
    ids=itertools.count(),
)
def test_a_network_is_there_before_its_gateway(
    context: Context,
    engine: FakeEngine,
    mark: str,
    age: float,
    is_lost: bool,  # noqa: FBT001 - a case
) -> None:
    add_network(engine, "s1", mark=mark, age=age)
    assert [kind for kind, _, _ in told(reap(context))] == (["network"] if is_lost else [])
    assert bool(engine.own_networks) is not is_lost


def test_a_network_of_another_namespace_and_one_with_a_copy_of_the_labels(context: Context, engine: FakeEngine) -> None:
    made = add_network(engine, "s1")
    engine.own_networks[made.id] = type(made)(id=made.id, name="alices", labels=made.labels, created=made.created)
    assert reap(context) == []


def test_a_network_that_is_in_use_is_told(context: Context, engine: FakeEngine) -> None:
    add_network(engine, "s1")
    engine.fail("remove_network", refusal(403, "active endpoints"))
    assert [item.error for item in reap(context)] == ["active endpoints; see why"]


def test_an_engine_that_lists_no_networks_is_reaped_all_the_same(context: Context, engine: FakeEngine) -> None:
    add_part(engine, "broker", "s1")
    engine.fail("networks", refusal(403))
    assert told(reap(context)) == [("part", "orphaned", "")]


def test_owners(context: Context, engine: FakeEngine) -> None:
    add_part(engine, "broker", "s1")
    add_network(engine, "s1")
    assert reap(context, owner="them") == []
    assert len(reap(context, owner="me")) == 2


def test_a_gateway_that_is_kept_keeps_its_parts(context: Context, engine: FakeEngine) -> None:
    made = add_gateway(engine, "s1", state="exited")
    add_part(engine, "broker", "s1", state="exited")
    assert reap(context, keep=[made.name]) == []
    assert reap(context, keep=[GATEWAY_ID]) == []
    assert told(reap(context, keep=["other"])) == [("gateway", "exited", "")]


@pytest.mark.parametrize(
    ("state", "keep", "reason"),
    [
        ("running", None, ""),
        ("running", [GATEWAY_ID], ""),
        ("running", [], "orphaned"),
        ("exited", None, "exited"),
        ("exited", [GATEWAY_ID], ""),
        ("created", None, "created"),
    ],
)
def test_a_gateway_that_stays(
    context: Context, engine: FakeEngine, state: str, keep: list[str] | None, reason: str
) -> None:
    add_gateway(engine, "s1", mark=DEAD, age=2 * DAY, known={"stays": True}, state=state)
    assert [found for _, found, _ in told(reap(context, keep=keep))] == ([reason] if reason else [])


def test_a_gateway_that_a_session_uses_stays_whatever_is_kept(context: Context, engine: FakeEngine) -> None:
    made = add_gateway(engine, "s1", mark=DEAD, known={"stays": True})
    labels = session_labels(Gateway(name=made.name, url="http://172.17.0.9:8888", container_id=made.id))
    engine.known["5" * 64] = session_info(labels, id="5" * 64)
    assert reap(context, keep=[]) == []


def test_the_gateway_of_a_session_says_whose_it_was(context: Context, engine: FakeEngine) -> None:
    add_gateway(engine, "s1", mark=DEAD, known={"session_start": "s1", "session_id": "one"})
    (found,) = reap(context)
    assert (found.kind, found.session_id) == ("gateway", "one")


@pytest.mark.parametrize(("age", "is_lost"), [(599.0, False), (600.0, True)])
@pytest.mark.parametrize("has_session", [False, True])
def test_the_gateway_of_a_session_that_is_gone_is_lost_whoever_made_it(
    context: Context,
    engine: FakeEngine,
    age: float,
    is_lost: bool,  # noqa: FBT001 - a case
    has_session: bool,  # noqa: FBT001 - a case
) -> None:
    made = add_gateway(engine, "s1", age=age, known={"session_start": "s1", "session_id": "one"})
    engine.run = lambda *_: printed("", 1)
    if has_session:
        labels = session_labels(Gateway(name=made.name, url="http://172.17.0.9:8888", container_id=made.id))
        engine.known["5" * 64] = session_info(labels, id="5" * 64)
    assert [reason for _, reason, _ in told(reap(context))] == (["orphaned"] if is_lost and not has_session else [])


@pytest.mark.parametrize(
    ("answer", "has_session", "is_lost"),
    [(printed(""), False, True), (printed(""), True, False), (printed("", 1), False, False), (not_run(), False, False)],
    ids=["bound", "in use", "being made", "no sh"],
)
def test_a_gateway_whose_session_was_started_and_is_gone_is_lost_at_once(
    context: Context,
    engine: FakeEngine,
    answer: Any,
    has_session: bool,  # noqa: FBT001 - a case
    is_lost: bool,  # noqa: FBT001 - a case
) -> None:
    made = add_gateway(engine, "s1", age=1.0, known={"session_start": "s1", "session_id": "one"})
    engine.run = lambda *_: answer
    if has_session:
        labels = session_labels(Gateway(name=made.name, url="http://172.17.0.9:8888", container_id=made.id))
        engine.known["5" * 64] = session_info(labels, id="5" * 64)
    assert [reason for _, reason, _ in told(reap(context))] == (["orphaned"] if is_lost else [])


def test_a_part_whose_gateway_is_there_by_now_is_left_alone(
    context: Context, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list and the removal."""
    part = add_part(engine, "broker", "s1", state="exited")
    inspect = engine.inspect

    def look(name: str) -> Any:
        if "kernel-gateway.unit" not in str(names(engine)):
            add_gateway(engine, "s1")
        return inspect(name)

    monkeypatch.setattr(engine, "inspect", look)
    (found,) = reap(context)
    assert found.error == "its gateway is there by now; it was left alone"
    assert part.id in engine.known


def test_gateways_are_listed_with_their_kernels_by_one_call(context: Context, engine: FakeEngine) -> None:
    made = add_gateway(engine, "s1", known={"session_start": "s1", "session_id": "one"})
    kernel = add_part(engine, "kernel", "s1", number=1)
    add_part(engine, "kernel", "s2", number=2)
    add_part(engine, "broker", "s1")
    add_gateway(engine, "s3", namespace="other")
    engine.known["5" * 64] = session_info(id="5" * 64)
    engine.calls.clear()
    assert list_gateways(context) == [
        GatewaySummary(
            name=made.name,
            container_id=made.id,
            image="image",
            created=NOW - 100.0,
            owner="me",
            state="running",
            status="Up 2 minutes",
            gateway_id=GATEWAY_ID,
            isolation="kernel",
            kernel_images={"py": "image"},
            kernels=(
                KernelSummary(
                    kernel_id=kernel_id(1), name="py", image="image", container_id=kernel.id, state="running"
                ),
            ),
            session_id="one",
        )
    ]
    assert engine.calls == [("containers", "")]


def test_what_is_removed_by_somebody_else_meanwhile(
    context: Context, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_part(engine, "broker", "s1")
    monkeypatch.setattr(engine, "inspect", lambda _: None)
    assert told(reap(context)) == [("part", "orphaned", "somebody else removed it meanwhile")]


def test_a_removal_that_fails_is_told_and_the_next_is_tried(context: Context, engine: FakeEngine) -> None:
    add_part(engine, "broker", "s1")
    add_part(engine, "agent", "s1")
    engine.fail("remove", refusal(500, "no"))
    first, second = reap(context)
    assert (first.error, first.report) == ("no; see why", None)
    assert second.report is not None
    assert second.report.method is StopMethod.KILLED

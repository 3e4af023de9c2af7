"""The list of sessions, and what is reaped: whatever one container is like, the others come as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineError, Gateway, SessionState, SessionSummary, StopMethod
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.listing import list_ids, list_sessions, reap_sessions
from tests.unit.fakes import NOW, FakeEngine, FakeJupyter, container, refusal, session_info, session_labels

STRAY_LABELS = {"jupyter-launcher.namespace": "unit", "jupyter-launcher.session-id": "stray"}
STRAY = container(id="5" * 64, name="stray", labels=STRAY_LABELS, state="created", ports={})


def add(
    jupyter: FakeJupyter, session_id: str, state: str = "running", *, age: float = 100.0, **changes: Any
) -> ContainerInfo:
    """A session of this id, which was created so long ago."""
    labels = session_labels(changes.pop("gateway", None), session_id=session_id, owner=changes.pop("owner", "me"))
    made = jupyter.add(session_info(labels, id=session_id.ljust(64, "0"), state=state, **changes))
    jupyter.engine.born[made.id] = NOW - age
    return made


def states(found: list[SessionSummary]) -> dict[str, SessionState]:
    return {item.session_id: item.state for item in found}


def test_every_state(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "ready")
    add(jupyter, "starting", ports={})
    jupyter.engine.change("starting", ports={}, id="starting".ljust(64, "0"))
    add(jupyter, "created", "created")
    add(jupyter, "exited", "exited")
    add(jupyter, "dead", "dead")
    jupyter.engine.born["starting".ljust(64, "0")] = NOW - 1
    assert states(list_sessions(context)) == {
        "ready": SessionState.READY,
        "starting": SessionState.STARTING,
        "created": SessionState.CREATED,
        "exited": SessionState.EXITED,
        "dead": SessionState.EXITED,
    }


def test_without_sessions_nothing_else_is_asked(context: Context, engine: FakeEngine) -> None:
    assert list_sessions(context) == []
    assert engine.calls == [("containers", "")]


def test_where_all_answer_the_engine_is_asked_once(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "one")
    add(jupyter, "two")
    assert set(states(list_sessions(context)).values()) == {SessionState.READY}
    assert jupyter.engine.calls == [("containers", "")]
    assert jupyter.asked == [("GET", "/api")] * 2
    assert jupyter.authorizations == [None, None]


def test_a_summary_holds_what_the_labels_and_the_engine_say(context: Context, jupyter: FakeJupyter) -> None:
    made = add(jupyter, "one", gateway=Gateway(name="gw", url="http://x:1"), owner="them")
    (item,) = list_sessions(context)
    assert item == SessionSummary(
        session_id="one",
        container_id=made.id,
        container_name="jupyter-server.unit.one",
        pipeline_dir=Path("/pipelines/one"),
        gateway="gw",
        image="image",
        created=NOW - 100,
        owner="them",
        status="Up 2 minutes",
        state=SessionState.READY,
    )


def test_the_newest_comes_first_as_the_engine_lists_them(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "old", age=300)
    add(jupyter, "new", age=1)
    add(jupyter, "middle", age=30)
    assert list(states(list_sessions(context))) == ["new", "middle", "old"]


@pytest.mark.parametrize(
    ("age", "state"), [(1, SessionState.STARTING), (4, SessionState.STARTING), (6, SessionState.UNRESPONSIVE)]
)
def test_a_server_that_had_the_time_to_start_is_unresponsive(
    context: Context, jupyter: FakeJupyter, age: float, state: SessionState
) -> None:
    made = add(jupyter, "one", age=age)
    add(jupyter, "two", age=1000)
    jupyter.engine.change(made.id, ports={})
    assert states(list_sessions(context)) == {"one": state, "two": SessionState.READY}


@pytest.mark.parametrize("oom", [True, False])
def test_of_those_killed_the_engine_is_asked_whether_it_was_for_memory(
    context: Context,
    jupyter: FakeJupyter,
    oom: bool,  # noqa: FBT001 - pytest's
) -> None:
    add(jupyter, "killed", "exited", exit_code=137, oom_killed=oom)
    add(jupyter, "failed", "exited", exit_code=1, oom_killed=True)
    found = {item.session_id: item for item in list_sessions(context)}
    assert (found["killed"].exit_code, found["killed"].oom_killed) == (137, oom)
    assert (found["failed"].exit_code, found["failed"].oom_killed) == (1, False)
    assert [target for call, target in jupyter.engine.calls if call == "inspect"] == ["killed".ljust(64, "0")]


def test_one_that_is_gone_when_it_is_looked_at(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add(jupyter, "killed", "exited", exit_code=137)
    monkeypatch.setattr(jupyter.engine, "inspect", lambda found: None if found == made.id else made)
    (item,) = list_sessions(context)
    assert (item.state, item.oom_killed) == (SessionState.EXITED, False)


def test_one_unreadable_container_leaves_the_others_as_they_are(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "one")
    add(jupyter, "two", "exited")
    jupyter.engine.known[STRAY.id] = STRAY
    found = {item.session_id: item for item in list_sessions(context)}
    assert (found["one"].state, found["two"].state) == (SessionState.READY, SessionState.EXITED)
    stray = found["stray"]
    assert (stray.state, stray.pipeline_dir, stray.gateway) == (SessionState.UNREADABLE, None, None)
    assert (stray.container_id, stray.container_name, stray.owner) == (STRAY.id, "stray", "")
    assert "jupyter-launcher.attempt cannot be read: it is missing" in stray.detail
    assert "`docker rm -f stray`" in stray.detail


def test_labels_under_another_name_are_unreadable(context: Context, jupyter: FakeJupyter) -> None:
    """A container that was made with a session's labels, such as a copy of one."""
    copied = replace(session_info(), id="6" * 64, name="copy")
    jupyter.engine.known[copied.id] = copied
    (item,) = list_sessions(context)
    assert (item.state, item.session_id) == (SessionState.UNREADABLE, "one")
    assert "but not its name jupyter-server.unit.one" in item.detail
    assert "`docker rm -f copy`" in item.detail
    assert jupyter.asked == []


@pytest.mark.parametrize("base_url", ["/é/", "/a b/", "/\n/"])
def test_an_address_that_cannot_be_asked_is_one_containers_fault(
    context: Context, jupyter: FakeJupyter, base_url: str
) -> None:
    add(jupyter, "one")
    bad = add(jupyter, "two")
    jupyter.engine.change(bad.id, labels={**bad.labels, "jupyter-launcher.base-url": base_url})
    assert states(list_sessions(context)) == {"one": SessionState.READY, "two": SessionState.UNREADABLE}


def test_another_namespace_is_not_listed(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "one")
    assert list_sessions(replace(context, namespace="other")) == []


def test_ids_are_those_of_sessions_that_can_be_read(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "one")
    add(jupyter, "two", "exited")
    copied = replace(session_info(), id="6" * 64, name="copy")
    jupyter.engine.known.update({STRAY.id: STRAY, copied.id: copied})
    assert sorted(list_ids(context)) == ["one", "two"]
    assert jupyter.engine.calls == [("containers", "")]


def reap(context: Context, **options: Any) -> dict[str, tuple[str, str]]:
    """Reasons and errors by session id."""
    known: dict[str, Any] = {"min_age": 60.0, "keep": None, "owner": None, "dry_run": False}
    found = reap_sessions(context, **{**known, **options})
    return {item.session_id: (item.reason, item.error) for item in found}


def test_reap_ends_what_is_dead_and_leaves_the_rest(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "running")
    add(jupyter, "exited", "exited")
    add(jupyter, "created", "created")
    add(jupyter, "young", "exited", age=59)
    jupyter.engine.known[STRAY.id] = STRAY
    assert reap(context) == {"exited": ("exited", ""), "created": ("created", "")}
    assert sorted(info.name for info in jupyter.engine.known.values()) == [
        "jupyter-server.unit.running",
        "jupyter-server.unit.young",
        "stray",
    ]


def test_reap_leaves_what_cannot_be_read_even_if_nobody_keeps_it(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.engine.known[STRAY.id] = STRAY
    assert reap(context, min_age=0.0, keep=[]) == {}
    assert list(jupyter.engine.known) == [STRAY.id]


def test_reap_ends_orphans_gracefully(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "kept")
    jupyter.containers.clear()
    add(jupyter, "orphan")
    found = reap_sessions(context, min_age=0.0, keep=["kept"], owner=None, dry_run=False)
    assert [(item.session_id, item.reason) for item in found] == [("orphan", "orphaned")]
    assert found[0].report is not None
    assert found[0].report.method is StopMethod.API
    assert [info.name for info in jupyter.engine.known.values()] == ["jupyter-server.unit.kept"]


def test_reap_is_for_the_sessions_of_one_owner(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "mine", "exited", owner="me")
    add(jupyter, "theirs", "exited", owner="them")
    assert set(reap(context, owner="them")) == {"theirs"}
    assert [info.name for info in jupyter.engine.known.values()] == ["jupyter-server.unit.mine"]


def test_a_dry_run_only_says(context: Context, jupyter: FakeJupyter) -> None:
    made = add(jupyter, "one", "exited")
    (item,) = reap_sessions(context, min_age=0.0, keep=None, owner=None, dry_run=True)
    assert (item.session_id, item.container_id, item.reason, item.report) == ("one", made.id, "exited", None)
    assert list(jupyter.engine.known) == [made.id]


def test_reap_goes_on_when_one_fails(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "one", "exited", age=200)
    add(jupyter, "two", "exited", age=100)
    jupyter.engine.fail("remove", refusal(500, "device busy"))
    found = reap(context)
    assert found == {"two": ("exited", "device busy; see why"), "one": ("exited", "")}


def test_reap_leaves_a_container_that_has_taken_the_name_meanwhile(context: Context, jupyter: FakeJupyter) -> None:
    made = add(jupyter, "one", "exited")
    now = jupyter.engine.now

    def overtake() -> float:
        del jupyter.engine.known[made.id]
        jupyter.engine.known["n" * 64] = replace(made, id="n" * 64)
        return now()

    jupyter.engine.now = overtake  # type: ignore[method-assign]
    assert reap(context) == {"one": ("exited", "another container has the session's name by now; it was left alone")}
    assert list(jupyter.engine.known) == ["n" * 64]


def test_reap_of_one_that_is_gone_meanwhile_says_so(context: Context, jupyter: FakeJupyter) -> None:
    made = add(jupyter, "one", "exited")
    now = jupyter.engine.now

    def vanish() -> float:
        del jupyter.engine.known[made.id]
        return now()

    jupyter.engine.now = vanish  # type: ignore[method-assign]
    assert "there is no session 'one'" in reap(context)["one"][1]


def test_an_engine_that_does_not_answer_is_an_error(context: Context, engine: FakeEngine) -> None:
    for call in (list_sessions, list_ids):
        engine.fail("containers", refusal(500))
        with pytest.raises(EngineError):
            call(context)

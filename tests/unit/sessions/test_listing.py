"""The list of sessions, and what is reaped: whatever one container is like, the others come as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineError, Gateway, SessionState, SessionSummary, StopMethod
from jupyter_launcher.acts import CancelledActError
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.sessions import listing
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.listing import list_ids, list_sessions, reap_sessions
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import NOW, FakeEngine, FakeJupyter, container, refusal, session_info, session_labels
from tests.unit.hostile import ENDLESS, hostile_server

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
    add(jupyter, "paused", "paused")
    jupyter.engine.born["starting".ljust(64, "0")] = NOW - 1
    assert states(list_sessions(context)) == {
        "ready": SessionState.READY,
        "starting": SessionState.STARTING,
        "created": SessionState.CREATED,
        "exited": SessionState.EXITED,
        "dead": SessionState.EXITED,
        "paused": SessionState.PAUSED,
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


def test_without_probes_one_call_to_the_engine_is_all(context: Context, jupyter: FakeJupyter) -> None:
    """Also where a container ended with 137, which may have been for memory."""
    for session_id, state in (("one", "running"), ("odd", "restarting"), ("made", "created"), ("held", "paused")):
        add(jupyter, session_id, state)
    add(jupyter, "killed", "exited", exit_code=137, oom_killed=True)
    jupyter.engine.known[STRAY.id] = STRAY
    found = list_sessions(context, probe=False)
    assert states(found) == {
        "one": SessionState.UNPROBED,
        "odd": SessionState.UNPROBED,
        "made": SessionState.CREATED,
        "held": SessionState.PAUSED,
        "killed": SessionState.EXITED,
        "stray": SessionState.UNREADABLE,
    }
    assert not any(item.oom_killed for item in found)
    assert jupyter.engine.calls == [("containers", "")]
    assert jupyter.asked == []


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


def test_one_at_which_the_engine_does_not_look_is_listed_with_what_the_list_says(
    context: Context, jupyter: FakeJupyter
) -> None:
    add(jupyter, "killed", "exited", exit_code=137)
    jupyter.engine.fail("inspect", refusal(500, "disk full"))
    (item,) = list_sessions(context)
    assert (item.state, item.exit_code, item.oom_killed) == (SessionState.EXITED, 137, False)
    assert item.detail == "EngineError: disk full; see why"


def test_an_error_of_any_kind_is_the_matter_of_one_session(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(jupyter, "one")
    bad = add(jupyter, "two")
    server_url = context.address.server_url

    def url(info: Any, *given: Any) -> str:
        if info.id == bad.id:
            msg = "made up"
            raise RuntimeError(msg)
        return server_url(info, *given)

    monkeypatch.setattr(context.address, "server_url", url)
    found = {item.session_id: (item.state, item.detail) for item in list_sessions(context)}
    assert found == {
        "one": (SessionState.READY, ""),
        "two": (SessionState.UNRESPONSIVE, "RuntimeError: made up"),
    }


def test_a_server_that_says_nothing_has_so_long_and_delays_no_other(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_PROBE_SECONDS", 1.0)
    add(jupyter, "one")
    silent = add(jupyter, "two", age=1)
    deadline = Deadline(5)
    with hostile_server(ENDLESS["silence"]) as url:
        jupyter.engine.change(silent.id, ports={"8888/tcp": (int(url.rsplit(":", 1)[1].rstrip("/")),)})
        assert states(list_sessions(context)) == {"one": SessionState.READY, "two": SessionState.STARTING}
    assert not deadline.expired()


def test_the_requests_end_with_the_time_of_the_whole_list(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def is_alive(_: JupyterApi, deadline: Deadline) -> bool:
        asked.append(deadline.seconds)
        return True

    monkeypatch.setattr(JupyterApi, "is_alive", is_alive)
    add(jupyter, "one")
    list_sessions(context)
    assert asked == [2.0]
    monkeypatch.setattr(listing, "_LIST_SECONDS", 1.0)
    list_sessions(context)
    assert 0 < asked[1] <= 1.0


def test_sessions_that_nobody_had_the_time_to_look_at_say_so(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_LIST_SECONDS", 0.0)
    add(jupyter, "one")
    add(jupyter, "two", "exited")
    found = {item.session_id: (item.state, item.detail) for item in list_sessions(context)}
    assert found["one"][0] is SessionState.UNRESPONSIVE
    assert "nobody looked at its server" in found["one"][1]
    assert found["two"] == (SessionState.EXITED, "")
    assert jupyter.asked == []


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


def meanwhile(jupyter: FakeJupyter, happen: Callable[[], object]) -> None:
    """Let something happen after the list was read, and before anything is reaped."""
    now = jupyter.engine.now

    def ask() -> float:
        happen()
        return now()

    jupyter.engine.now = ask  # type: ignore[method-assign]


def test_reap_ends_the_container_that_it_judged_and_none_that_has_its_name_by_now(
    context: Context, jupyter: FakeJupyter
) -> None:
    made = add(jupyter, "one", "exited")

    def overtake() -> None:
        del jupyter.engine.known[made.id]
        jupyter.engine.known["n" * 64] = replace(made, id="n" * 64)

    meanwhile(jupyter, overtake)
    assert reap(context) == {"one": ("exited", "somebody else removed it meanwhile")}
    assert list(jupyter.engine.known) == ["n" * 64]


def test_reap_of_one_that_is_gone_meanwhile_says_so(context: Context, jupyter: FakeJupyter) -> None:
    made = add(jupyter, "one", "exited")
    meanwhile(jupyter, lambda: jupyter.engine.known.pop(made.id))
    assert reap(context) == {"one": ("exited", "somebody else removed it meanwhile")}


@pytest.mark.parametrize("state", ["exited", "created"])
@pytest.mark.parametrize("by_now", ["running", "paused"])
def test_reap_leaves_what_was_dead_and_runs_by_now(
    context: Context, jupyter: FakeJupyter, state: str, by_now: str
) -> None:
    made = add(jupyter, "one", state)
    meanwhile(jupyter, lambda: jupyter.engine.change(made.id, state=by_now))
    assert reap(context, keep=[]) == {"one": (state, f"its container is {by_now} by now; it was left alone")}
    assert list(jupyter.engine.known) == [made.id]


def test_reap_ends_what_was_never_started_and_has_ended_by_now(context: Context, jupyter: FakeJupyter) -> None:
    made = add(jupyter, "one", "created")
    meanwhile(jupyter, lambda: jupyter.engine.change(made.id, state="exited"))
    assert reap(context) == {"one": ("created", "")}
    assert jupyter.engine.known == {}


def test_reap_leaves_what_cannot_be_read_by_now(context: Context, jupyter: FakeJupyter) -> None:
    made = add(jupyter, "one", "exited")
    meanwhile(jupyter, lambda: jupyter.engine.change(made.id, name="renamed"))
    assert "has the labels of session one, but not its name" in reap(context)["one"][1]
    assert list(jupyter.engine.known) == [made.id]


def test_what_is_to_be_kept_by_the_time_of_its_turn_is_kept(context: Context, jupyter: FakeJupyter) -> None:
    """While one session is stopped, the next one is asked for again."""
    add(jupyter, "later", age=200)
    jupyter.containers.clear()
    add(jupyter, "first", age=100)
    keep: set[str] = set()
    jupyter.engine.on_wait = lambda _: keep.add("later")
    assert reap(context, keep=keep) == {"first": ("orphaned", "")}
    assert [info.name for info in jupyter.engine.known.values()] == ["jupyter-server.unit.later"]


def test_what_is_to_be_kept_is_looked_at_until_the_end(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(jupyter, "one")
    keep: set[str] = set()
    inspect = jupyter.engine.inspect

    def ask_for_it(found: str) -> ContainerInfo | None:
        keep.add("one")
        return inspect(found)

    monkeypatch.setattr(jupyter.engine, "inspect", ask_for_it)
    assert reap(context, keep=keep) == {"one": ("orphaned", "it is to be kept by now; it was left alone")}
    assert len(jupyter.engine.known) == 1


def test_what_is_dead_is_reaped_even_if_it_is_to_be_kept(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "one", "exited")
    assert reap(context, keep=["one"]) == {"one": ("exited", "")}


def test_reap_goes_on_after_an_error_of_any_kind(context: Context, jupyter: FakeJupyter) -> None:
    add(jupyter, "one", "exited", age=200)
    add(jupyter, "two", "exited", age=100)
    jupyter.engine.fail("remove", ZeroDivisionError("made up"))
    assert reap(context) == {"two": ("exited", "ZeroDivisionError: made up"), "one": ("exited", "")}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CancelledActError()])
def test_a_cancel_is_no_matter_of_one_session(context: Context, jupyter: FakeJupyter, error: BaseException) -> None:
    add(jupyter, "one", "exited", age=200)
    add(jupyter, "two", "exited", age=100)
    jupyter.engine.fail("remove", error)
    with pytest.raises(type(error)):
        reap(context)
    assert len(jupyter.engine.known) == 2


def test_an_engine_that_does_not_answer_is_an_error(context: Context, engine: FakeEngine) -> None:
    for call in (list_sessions, list_ids):
        engine.fail("containers", refusal(500))
        with pytest.raises(EngineError):
            call(context)

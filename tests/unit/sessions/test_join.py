"""Finding a session that is there, clearing the way for one, and joining it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jupyter_launcher import (
    ExecError,
    OptionError,
    ServerInfoError,
    ServerNotRunningError,
    ServerTimeoutError,
    SessionConflictError,
    SessionNotFoundError,
    SessionUnreadableError,
    Timeouts,
)
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.server.api import JupyterApi, NoAnswerError, Response
from jupyter_launcher.sessions import join
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.join import find_or_clear, find_session, get_session, join_starting
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import (
    INFO,
    NOW,
    TOKEN,
    FakeEngine,
    FakeJupyter,
    container,
    not_run,
    printed,
    server_info,
    session_info,
    session_labels,
    session_spec,
)

NAME = "jupyter-server.unit.one"
STRAY_LABELS = {"jupyter-launcher.namespace": "unit", "jupyter-launcher.session-id": "one"}
STARTED = "2026-01-01T00:00:00.123456789Z"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_OTHERS_STEP", 0.05)


@pytest.mark.parametrize("state", ["running", "paused", "exited", "created"])
def test_a_session_is_found_in_whatever_state_it_is(context: Context, jupyter: FakeJupyter, state: str) -> None:
    made = jupyter.add(session_info(state=state))
    assert find_session(context, "one") == (made, session_labels())


@pytest.mark.parametrize("session_id", ["", "No", "a/b", 7])
def test_an_id_that_cannot_be_is_not_looked_for(context: Context, engine: FakeEngine, session_id: Any) -> None:
    with pytest.raises(OptionError) as caught:
        find_session(context, session_id)
    assert (caught.value.option, engine.calls) == ("session_id", [])


def test_no_such_session(context: Context) -> None:
    with pytest.raises(SessionNotFoundError, match="no session 'one' in namespace 'unit'") as caught:
        find_session(context, "one")
    assert (caught.value.session_id, caught.value.container_id) == ("one", "")


@pytest.mark.parametrize("labels", [{}, {"jupyter-launcher.purpose": "look"}])
def test_a_container_of_the_sessions_name_that_is_none_is_not_the_session(
    context: Context, engine: FakeEngine, labels: dict[str, str]
) -> None:
    engine.known["c"] = container(name=NAME, labels=labels)
    with pytest.raises(SessionNotFoundError):
        find_session(context, "one")


def test_labels_of_another_session_under_the_sessions_name(context: Context, engine: FakeEngine) -> None:
    engine.known["c"] = container(name=NAME, labels=session_labels(session_id="two").to_labels())
    with pytest.raises(SessionUnreadableError, match="the labels of session two, but not its name"):
        find_session(context, "one")


def test_a_session_whose_labels_cannot_be_read(context: Context, engine: FakeEngine) -> None:
    engine.known["c"] = container(name=NAME, labels=STRAY_LABELS)
    with pytest.raises(SessionUnreadableError) as caught:
        find_session(context, "one")
    error = caught.value
    assert (error.session_id, error.container_name, error.label) == ("one", NAME, "jupyter-launcher.attempt")


def test_a_container_of_another_name_that_claims_the_id_is_named(context: Context, engine: FakeEngine) -> None:
    stray = container(id="5" * 64, name="stray", labels=STRAY_LABELS)
    engine.known[stray.id] = stray
    with pytest.raises(SessionNotFoundError, match=r"container stray \(555555555555\) claims this id") as caught:
        find_session(context, "one")
    assert caught.value.container_id == stray.id
    assert "`docker rm -f 555555555555`" in caught.value.hint


def test_a_claim_in_another_namespace_is_none(context: Context, engine: FakeEngine) -> None:
    labels = {**STRAY_LABELS, "jupyter-launcher.namespace": "other"}
    engine.known["c"] = container(name="stray", labels=labels)
    with pytest.raises(SessionNotFoundError) as caught:
        find_session(context, "one")
    assert caught.value.container_id == ""


def test_where_there_is_nothing_the_way_is_clear(context: Context) -> None:
    assert find_or_clear(context, session_spec()) is None


def test_a_session_in_which_a_server_runs_is_found(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info())
    assert find_or_clear(context, session_spec()) == (made, session_labels())


@pytest.mark.parametrize("state", ["exited", "dead", "created"])
def test_what_has_ended_or_was_never_started_is_removed(context: Context, jupyter: FakeJupyter, state: str) -> None:
    made = jupyter.add(session_info(state=state))
    assert find_or_clear(context, session_spec()) is None
    assert jupyter.engine.removed == [made.id]


def test_what_is_removed_is_what_was_looked_at(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(state="exited"))
    find_or_clear(context, session_spec())
    assert ("remove", made.id) in jupyter.engine.calls


def test_a_container_in_which_no_server_came_is_removed(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(created=NOW - 100))
    jupyter.leave(made)
    assert find_or_clear(context, session_spec()) is None
    assert jupyter.engine.removed == [made.id]


def test_a_container_in_which_somebody_answers_is_left_alone(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info(created=NOW - 100))
    jupyter.started = False
    with pytest.raises(SessionConflictError, match="a server answers"):
        find_or_clear(context, session_spec())
    assert jupyter.engine.removed == []


def test_a_container_in_which_something_listens_is_left_alone(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(created=NOW - 100))
    jupyter.started = False
    with socket.create_server(("127.0.0.1", 0)) as silent:
        jupyter.engine.change(made.id, ports={"8888/tcp": (silent.getsockname()[1],)})
        with pytest.raises(SessionConflictError, match="takes connections"):
            find_or_clear(context, session_spec())
    assert jupyter.engine.removed == []


def test_a_container_whose_port_is_not_reached_is_left_alone(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> Response:
        raise NoAnswerError(TimeoutError.__name__, connected=False)

    monkeypatch.setattr(JupyterApi, "request", lost)
    jupyter.add(session_info(created=NOW - 100))
    jupyter.started = False
    with pytest.raises(SessionConflictError, match=r"a server may run \(no connection"):
        find_or_clear(context, session_spec())
    assert jupyter.engine.removed == []


@pytest.mark.parametrize("started", [False, None])
def test_where_nobody_can_tell_it_is_left_alone(
    context: Context,
    jupyter: FakeJupyter,
    started: bool | None,  # noqa: FBT001 - pytest's
) -> None:
    jupyter.add(session_info())
    jupyter.engine.run = lambda *_: not_run(started=started)
    with pytest.raises(ExecError):
        find_or_clear(context, session_spec())
    assert jupyter.engine.removed == []


def test_a_paused_session_is_left_alone(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info(state="paused"))
    with pytest.raises(ExecError, match="is paused"):
        find_or_clear(context, session_spec())
    assert jupyter.engine.removed == []


def dead_mark() -> str:
    """The mark of a process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    boot, namespace, _, _ = process_mark().split(":")
    return f"{boot}:{namespace}:{ended.pid}:1"


@pytest.mark.parametrize(
    ("mark", "others_step"),
    [("", 10.0), ("another:machine:1:2", 10.0), (process_mark(), 0.0)],
    ids=["unknown", "elsewhere", "alive"],
)
def test_a_container_that_another_launcher_is_starting_is_waited_for(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch, mark: str, others_step: float
) -> None:
    """So long as a launcher may need; one that is seen alive has the time of a start."""
    monkeypatch.setattr(join, "_OTHERS_STEP", others_step)
    made = jupyter.add(session_info(replace(session_labels(), process=mark), state="created"))
    looks = threading.Semaphore(0)
    inspect = jupyter.engine.inspect

    def start_at_the_third_look(found: str) -> Any:
        looks.release()
        if looks._value == 3:
            jupyter.engine.change(made.id, state="running")
            jupyter.started = True
        return inspect(found)

    monkeypatch.setattr(jupyter.engine, "inspect", start_at_the_third_look)
    found = find_or_clear(context, session_spec())
    assert found is not None
    assert found[0].state == "running"
    assert jupyter.engine.removed == []


def test_a_launcher_of_which_nobody_knows_is_waited_for_so_long(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(state="created", created=NOW - 100))
    soon = Deadline(10)
    assert find_or_clear(replace(context, timeouts=Timeouts(start=60.0)), session_spec()) is None
    assert jupyter.engine.removed == [made.id]
    assert not soon.expired()


@pytest.mark.parametrize("state", ["created", "running"])
def test_what_a_dead_launcher_left_half_made_is_removed_without_a_wait(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(join, "_OTHERS_STEP", 60.0)
    made = jupyter.add(session_info(replace(session_labels(), process=dead_mark()), state=state))
    jupyter.leave(made)
    deadline = Deadline(30)
    assert find_or_clear(context, session_spec()) is None
    assert jupyter.engine.removed == [made.id]
    assert not deadline.expired()


def test_the_session_of_a_dead_launcher_is_found(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(replace(session_labels(), process=dead_mark())))
    found = find_or_clear(context, session_spec())
    assert found is not None
    assert found[0] == made


def test_where_nobody_can_tell_the_session_of_a_dead_launcher_is_left_alone(
    context: Context, jupyter: FakeJupyter
) -> None:
    jupyter.add(session_info(replace(session_labels(), process=dead_mark())))
    jupyter.engine.run = lambda *_: not_run(started=None)
    with pytest.raises(ExecError):
        find_or_clear(context, session_spec())
    assert jupyter.engine.removed == []


def test_a_session_whose_directory_was_replaced_is_a_conflict_that_says_so(
    context: Context, jupyter: FakeJupyter
) -> None:
    made = jupyter.add(session_info(session_labels(pipeline_dir_id="1:2")))
    with pytest.raises(SessionConflictError, match=r"/pipelines/one .* was deleted or replaced since then") as caught:
        find_or_clear(context, session_spec(pipeline_dir_id="1:3"))
    assert (caught.value.session_id, caught.value.container_id, caught.value.differences) == ("one", made.id, ())
    assert jupyter.engine.removed == []


@pytest.mark.parametrize(("before", "now"), [("1:2", "1:2"), (None, "1:3"), ("1:2", None), (None, None)])
def test_a_session_whose_directory_is_the_same_or_not_known_is_found(
    context: Context, jupyter: FakeJupyter, before: str | None, now: str | None
) -> None:
    jupyter.add(session_info(session_labels(pipeline_dir_id=before)))
    assert find_or_clear(context, session_spec(pipeline_dir_id=now)) is not None


def test_a_container_without_a_server_may_have_had_another_directory(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(session_labels(pipeline_dir_id="1:2"), created=NOW - 100))
    jupyter.leave(made)
    assert find_or_clear(context, session_spec(pipeline_dir_id="1:3")) is None
    assert jupyter.engine.removed == [made.id]


def test_a_container_that_vanishes_while_it_is_waited_for(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = jupyter.add(session_info(state="created"))
    inspect = jupyter.engine.inspect

    def vanish(found: str) -> Any:
        info = inspect(found)
        jupyter.engine.known.pop(made.id, None)
        return info

    monkeypatch.setattr(jupyter.engine, "inspect", vanish)
    assert find_or_clear(context, session_spec()) is None
    assert jupyter.engine.removed == []


def test_other_options_are_seen_before_a_server_is_looked_for(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info())
    with pytest.raises(SessionConflictError) as caught:
        find_or_clear(context, session_spec(tune=False))
    assert caught.value.differences == ("tune was True, now False",)
    assert jupyter.engine.execs == []


def test_a_session_that_has_ended_may_have_had_other_options(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info(state="exited"))
    assert find_or_clear(context, session_spec(tune=False)) is None


@pytest.mark.parametrize("state", ["running", "exited", "created"])
@pytest.mark.parametrize("labels", [{}, STRAY_LABELS, session_labels(session_id="two").to_labels()])
def test_a_name_that_belongs_to_something_else_is_never_cleared(
    context: Context, engine: FakeEngine, state: str, labels: dict[str, str]
) -> None:
    engine.known["c"] = container(name=NAME, labels=labels, state=state)
    with pytest.raises(SessionConflictError) as caught:
        find_or_clear(context, session_spec())
    assert (caught.value.container_id, caught.value.differences) == ("c" * 64, ())
    assert "docker rm -f cccccccccccc" in caught.value.hint
    assert engine.removed == []


def test_getting_gives_a_session_that_answers(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info())
    session = get_session(context, "one")
    assert (session.id, session.container_id, session.url) == ("one", made.id, jupyter.url)
    assert (session.joined, session.timings.total, session.warnings) == (True, 0, ())
    assert session.server_info.token == TOKEN


def test_getting_reads_server_info_again_where_it_was_half_written(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info())
    answers = iter([printed(INFO[:20]), printed(INFO)])
    jupyter.engine.run = lambda *_: next(answers)
    assert get_session(context, "one").server_info.token == TOKEN


def test_getting_a_session_without_a_server(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(created=NOW - 100))
    jupyter.engine.change(made.id, ports={"8888/tcp": (1,)})
    jupyter.started = False
    with pytest.raises(ServerNotRunningError, match="no server runs in session one") as caught:
        get_session(replace(context, timeouts=Timeouts(start=0.05)), "one")
    error = caught.value
    assert (error.session_id, error.exit_code, error.log_tail) == ("one", None, "the log")


def test_getting_a_session_whose_server_answers_and_tells_nothing(context: Context, jupyter: FakeJupyter) -> None:
    """Its user has removed the file: nobody may say that no server runs."""
    jupyter.add(session_info(created=NOW - 100))
    jupyter.tells = False
    with pytest.raises(ServerInfoError, match="has no server_info"):
        get_session(replace(context, timeouts=Timeouts(start=0.05)), "one")


def test_getting_a_session_that_has_ended(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info(state="exited", exit_code=137, oom_killed=True))
    with pytest.raises(ServerNotRunningError, match=r"\(exited, exit code 137, out of memory\)") as caught:
        get_session(context, "one")
    assert (caught.value.exit_code, caught.value.oom_killed) == (137, True)


def test_getting_a_session_that_vanishes_meanwhile(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info())

    def vanish(*_: object) -> Any:
        del jupyter.engine.known[made.id]
        return not_run()

    jupyter.engine.run = vanish
    with pytest.raises(SessionNotFoundError) as caught:
        get_session(context, "one")
    assert caught.value.session_id == "one"


def test_getting_a_session_that_is_paused(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info(state="paused"))
    with pytest.raises(ExecError, match="is paused"):
        get_session(context, "one")


def test_getting_a_server_that_refuses_the_token(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.add(session_info(created=NOW - 100))
    jupyter.contents = 403
    with pytest.raises(ServerTimeoutError, match="HTTP 403"):
        get_session(replace(context, timeouts=Timeouts(start=0.1)), "one")


def test_getting_a_session_again_is_one_inspect_and_one_request(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(started=STARTED))
    first = get_session(context, "one")
    for log in (jupyter.engine.calls, jupyter.engine.execs, jupyter.asked, jupyter.authorizations):
        log.clear()
    again = get_session(context, "one")
    assert jupyter.engine.calls == [("inspect", NAME)]
    assert jupyter.asked == [("GET", "/api/contents")]
    assert jupyter.authorizations == [f"token {TOKEN}"]
    assert (again.container_id, again.server_info, again.joined) == (made.id, first.server_info, True)


def execs_of_a_get(context: Context, jupyter: FakeJupyter) -> int:
    jupyter.engine.execs.clear()
    assert get_session(context, "one").server_info.token == TOKEN
    return len(jupyter.engine.execs)


@pytest.mark.parametrize(
    "change",
    [{"started": "2026-01-02T00:00:00Z"}, {"started": ""}, {"id": "d" * 64}],
    ids=["started anew", "unknown", "made anew"],
)
def test_the_token_of_another_start_is_read_anew(
    context: Context, jupyter: FakeJupyter, change: dict[str, Any]
) -> None:
    made = jupyter.add(session_info(started=STARTED))
    assert [execs_of_a_get(context, jupyter) for _ in range(3)] == [1, 0, 0]
    del jupyter.engine.known[made.id]
    jupyter.add(session_info(**{"started": STARTED, **change}))
    assert execs_of_a_get(context, jupyter) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_read_anew(context: Context, jupyter: FakeJupyter, status: int) -> None:
    made = jupyter.add(session_info(started=STARTED))
    old = replace(server_info(), token="f" * 64)
    context.servers.remember(made, old)
    answer = jupyter.answer
    jupyter.answer = lambda *asked: (  # type: ignore[method-assign]
        (status, b"") if asked[2].get("Authorization") == f"token {old.token}" else answer(*asked)
    )
    assert [execs_of_a_get(context, jupyter) for _ in range(2)] == [1, 0]
    jupyter.contents = status  # from now on the server refuses every token
    with pytest.raises(ServerTimeoutError, match=f"HTTP {status}"):
        get_session(replace(context, timeouts=Timeouts(start=0.05)), "one")
    assert context.servers.find(made) is None


def test_a_known_server_that_does_not_answer_is_looked_for_by_exec(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = jupyter.add(session_info(started=STARTED))
    execs_of_a_get(context, jupyter)
    monkeypatch.setattr(JupyterApi, "takes_token", lambda *_: None)
    assert execs_of_a_get(context, jupyter) == 1
    assert context.servers.find(made) is not None
    jupyter.engine.end(made.id, 137)
    with pytest.raises(ServerNotRunningError, match=r"\(exited, exit code 137\)"):
        get_session(context, "one")


def test_a_known_session_that_is_paused_is_not_asked(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info(started=STARTED))
    execs_of_a_get(context, jupyter)
    jupyter.engine.change(made.id, state="paused")
    jupyter.asked.clear()
    with pytest.raises(ExecError, match="is paused"):
        get_session(context, "one")
    assert jupyter.asked == []


def not_ready(jupyter: FakeJupyter) -> None:
    jupyter.contents = 500


def without_server_info(jupyter: FakeJupyter) -> None:
    jupyter.started = False


def without_execs(jupyter: FakeJupyter) -> None:
    jupyter.engine.run = lambda *_: not_run()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(not_ready, ServerTimeoutError), (without_server_info, ServerNotRunningError), (without_execs, ExecError)],
)
def test_a_young_session_has_the_time_of_a_start(
    context: Context,
    jupyter: FakeJupyter,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[FakeJupyter], None],
    kind: type[Exception],
) -> None:
    monkeypatch.setattr(join, "_GET_SECONDS", 0.05)
    monkeypatch.setattr(JupyterApi, "is_alive", lambda *_: False)
    jupyter.add(session_info(created=NOW - 1))
    fault(jupyter)
    now = jupyter.engine.now

    def mend() -> float:
        jupyter.contents, jupyter.started, jupyter.engine.run = 200, True, jupyter.run
        return now()

    monkeypatch.setattr(jupyter.engine, "now", mend)
    assert get_session(context, "one").id == "one"
    fault(jupyter)
    jupyter.engine.clock = NOW + 5  # by now it is older than a start may take
    with pytest.raises(kind):
        get_session(context, "one")


def test_the_time_of_a_start_ends_too(context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_GET_SECONDS", 0.05)
    jupyter.add(session_info(created=NOW))
    jupyter.contents = 500
    deadline, soon = Deadline(0.2), Deadline(10)
    with pytest.raises(ServerTimeoutError):
        get_session(replace(context, timeouts=Timeouts(start=0.2)), "one")
    assert deadline.expired()
    assert not soon.expired()


def test_a_start_of_another_launcher_that_succeeds_is_joined(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info())
    session = join_starting(context, made, session_labels(), ())
    assert session is not None
    assert session.joined


@pytest.mark.parametrize("state", ["exited", None])
def test_a_start_of_another_launcher_that_failed_is_none(
    context: Context, jupyter: FakeJupyter, state: str | None
) -> None:
    info = session_info(state=state or "running")
    if state is not None:
        jupyter.add(info)
    assert join_starting(context, info, session_labels(), ()) is None


def test_a_start_of_another_launcher_that_hangs_is_its_error(context: Context, jupyter: FakeJupyter) -> None:
    made = jupyter.add(session_info())
    jupyter.contents = 500
    with pytest.raises(ServerTimeoutError):
        join_starting(replace(context, timeouts=Timeouts(start=0.1)), made, session_labels(), ())
    assert jupyter.engine.removed == []

"""Sessions in a swarm: started, found, listed, stopped; and what becomes of those whose node is away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    Event,
    EventKind,
    Mount,
    OptionError,
    Phase,
    PipelineDirError,
    Session,
    SessionConflictError,
    SessionState,
    StopMethod,
    Swarm,
)
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.events import follow_sessions
from jupyter_launcher.sessions.join import get_session
from jupyter_launcher.sessions.listing import list_sessions, reap_sessions
from jupyter_launcher.sessions.phases import StartLimit
from jupyter_launcher.sessions.running import find_stats, pause_session, resume_session
from jupyter_launcher.sessions.start import StartRequest, start_session
from jupyter_launcher.sessions.stop import stop_session
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.work.server import KernelServer
from tests.unit.fakes import INFO, FakeJupyter, FakeSwarm, container, not_run, printed, refusal, swarm_context

Start = Callable[..., Session]
NAME = "jupyter-server.unit.one"
SERVICE = "s" * 25


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter(FakeSwarm()).serve() as found:
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter) -> FakeSwarm:
    assert isinstance(jupyter.engine, FakeSwarm)
    return jupyter.engine


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def context(engine: FakeSwarm, events: list[Event]) -> Context:
    return swarm_context(engine, events=events)


@pytest.fixture
def start(context: Context) -> Start:
    def call(**given: Any) -> Session:
        known: dict[str, Any] = {
            "pipeline_dir": "/pipelines/one",
            "user": "1234:1234",
            "session_id": "one",
            "image": "image",
            "pull": "missing",
        }
        request = StartRequest(**{name: given.pop(name, value) for name, value in known.items()})
        settings = given.pop("context", context)
        return start_session(settings, StartLimit(1, lambda: None), request, {"host_ip": None, **given})

    return call


def calls(engine: FakeSwarm, name: str) -> list[str]:
    return [target for call, target in engine.calls if call == name]


def test_a_session_on_a_node(start: Start, engine: FakeSwarm, jupyter: FakeJupyter) -> None:
    session = start()
    assert (session.node, session.url, session.pipeline_dir) == ("node2", jupyter.url, Path("/pipelines/one"))
    assert session.host_url == session.client_url + "/" == jupyter.url
    config = engine.configs[NAME]
    assert (config.host_ip, config.container_port, config.network) == ("0.0.0.0", 8888, "bridge")
    assert session.status().state is SessionState.READY
    assert session.status().pipeline_dir_replaced is None


def test_nobody_looks_where_the_user_is_known(start: Start, engine: FakeSwarm) -> None:
    start(user="1234:100")
    assert calls(engine, "create") == [NAME]
    assert engine.configs[NAME].user == "1234:100"


@pytest.mark.parametrize(("user", "worker"), [(None, "1000:100"), (1234, "1234:100"), ("1234", "1234:100")])
def test_a_container_looks_for_the_owner(start: Start, engine: FakeSwarm, user: str | int | None, worker: str) -> None:
    engine.log = "directory 5:6 1000:100"
    start(user=user)
    look, session = calls(engine, "create")
    assert look.startswith("jupyter-launcher-look.")
    assert session == NAME
    assert engine.configs[NAME].user == worker
    labels = SessionLabels.of_session(engine.named(NAME).labels, NAME)
    assert labels.pipeline_dir_id is None  # the look may have been on another node


@pytest.mark.parametrize("user", [None, "1234:1234"])
@pytest.mark.parametrize("folder", ["relative", "/", "/etc/x", "/other", "/run/docker.sock"])
def test_rules_hold_before_anything_is_made(start: Start, engine: FakeSwarm, user: str | None, folder: str) -> None:
    context = swarm_context(engine)
    object.__setattr__(context, "rules", DirectoryRules(roots=(Path("/pipelines"), Path("/etc"), Path("/run"))))
    engine.log = "directory 5:6 1000:100"
    with pytest.raises(PipelineDirError):
        start(context=context, pipeline_dir=folder, user=user)
    assert NAME not in calls(engine, "create")


def test_what_is_weaker_is_told_once(start: Start, events: list[Event]) -> None:
    session = start()
    told = [event.detail for event in events if event.kind is EventKind.WARNING]
    assert told == list(session.warnings)
    assert len(told) == 1
    assert "mode 1777" in told[0]
    assert start(user="name", session_id="two").warnings == ()  # that user's folder is everybody's anywhere


def test_memory_whose_files_cannot_be_run_is_told(start: Start, engine: FakeSwarm) -> None:
    assert len(start(read_only=True).warnings) == 1
    engine.traits = EngineTraits(name="Docker", version="26.1.0", api_version="1.45")
    _, told = start(tmpfs={"/scratch": "1m"}, session_id="two").warnings
    assert "nothing in /scratch can be run" in told


def test_a_server_without_setpriv_is_told(start: Start, jupyter: FakeJupyter, events: list[Event]) -> None:
    jupyter.start_answer = printed(INFO, None, "programs of the image can get more privileges: no `setpriv`\n")
    assert any("more privileges" in text for text in start().warnings)
    assert [event.phase for event in events if "more privileges" in event.detail] == [Phase.SERVER]


@pytest.mark.parametrize(("swarm", "word"), [(Swarm(publish="all"), ""), (Swarm(publish="all", weaker=True), "weaker")])
def test_each_start_looks_at_the_privileges(engine: FakeSwarm, start: Start, swarm: Swarm, word: str) -> None:
    start(context=swarm_context(engine, swarm), secrets={"key": "hunter2"})
    command = engine.execs[0]
    assert command[3] == "take"  # what runs before the secrets are files has them in its environment
    assert command[9:11] == ("privileges", word)
    assert "NoNewPrivs" in command[8]
    assert command[14] == "start"


def test_a_node_that_gives_no_privileges_is_refused(start: Start, engine: FakeSwarm, jupyter: FakeJupyter) -> None:
    jupyter.start_answer = not_run("it is not set", started=True, exit_code=76)
    with pytest.raises(OptionError, match="engine of node node2") as caught:
        start(context=swarm_context(engine, Swarm(publish="all")))
    assert "weaker=True" in caught.value.hint
    assert engine.known == {}


def test_an_old_manager_is_refused_before_anything_is_made(start: Start, engine: FakeSwarm) -> None:
    engine.traits = EngineTraits(name="Docker", version="20.10.24", api_version="1.41")
    with pytest.raises(OptionError, match=r"API 1\.41") as caught:
        start(context=swarm_context(engine, Swarm(publish="all")))
    assert (caught.value.option, calls(engine, "create")) == ("swarm", [])
    assert start().id == "one"  # weaker


def test_nothing_is_published_unless_that_was_said(start: Start, engine: FakeSwarm) -> None:
    with pytest.raises(OptionError, match="would not reach its sessions"):
        start(context=swarm_context(engine, Swarm(weaker=True)))
    assert calls(engine, "create") == []


def test_on_an_overlay_network_no_port_is_published(
    start: Start, engine: FakeSwarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = swarm_context(engine, Swarm(network="lab", weaker=True))
    monkeypatch.setattr(type(context.address), "reaches_network", lambda *_: True)
    monkeypatch.setattr(type(context.address), "find_port", lambda *_: ("127.0.0.1", engine.port))
    session = start(context=context)
    config = engine.configs[NAME]
    assert (config.container_port, config.network) == (None, "lab")
    assert session.internal_url == "http://172.17.0.9:8888/"


@pytest.mark.parametrize(
    "option",
    [{"gpus": "all"}, {"container_options": {"Ulimits": []}}, {"host_ip": "10.0.0.1"}, {"pipeline_relabel": "z"}],
)
def test_options_of_one_engine(start: Start, engine: FakeSwarm, option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="cannot be given in a swarm"):
        start(user=None, **option)
    assert calls(engine, "create") == []


def test_mounts_of_one_engine(start: Start, engine: FakeSwarm) -> None:
    with pytest.raises(OptionError, match="/data with relabel"):
        start(mounts=iter([Mount(source="/data", target="/data", relabel="z")]))
    assert calls(engine, "create") == []


def test_calls_of_one_engine(context: Context, start: Start) -> None:
    session = start()
    with pytest.raises(OptionError, match="pause cannot be done"):
        session.pause()
    labels = SessionLabels.of_session(context.engine.inspect(NAME).labels, NAME)  # type: ignore[union-attr]
    for call in (pause_session, resume_session):
        with pytest.raises(OptionError, match="cannot be done in a swarm"):
            call(context, session.container_id, labels)
    with pytest.raises(OptionError, match="events cannot be done"):
        follow_sessions(context, None)


def test_constraints_are_the_swarms_and_are_compared(start: Start, context: Context, engine: FakeSwarm) -> None:
    constraints = ("node.hostname==node2",)
    chosen = context.for_start(context.timeouts, constraints)
    assert engine.constraints == [constraints]
    start(context=chosen, constraints=constraints)
    assert start(context=chosen, constraints=constraints).joined
    with pytest.raises(SessionConflictError) as caught:
        start(context=context.for_start(context.timeouts, ()))
    assert "constraints was ['node.hostname==node2'], now []" in caught.value.differences


def test_a_session_whose_node_is_away(start: Start, context: Context, engine: FakeSwarm) -> None:
    session = start()
    engine.lose_node(NAME)
    asked = len(engine.execs)
    status = session.status()
    assert (status.state, status.exit_code, status.detail) == (SessionState.UNREACHABLE, None, "node node2 is down")
    labels = SessionLabels.of_session(engine.named(NAME).labels, NAME)
    looks: tuple[Callable[[], object], ...] = (
        lambda: get_session(context, "one"),
        start,
        session.activity,
        session.stats,
        lambda: find_stats(context, session.container_id, labels),
        KernelServer(session._place()).check_running,
    )
    for look in looks:
        with pytest.raises(EngineUnavailableError, match="nobody can reach session one: node node2 is down"):
            look()
    (item,) = list_sessions(context)
    assert (item.state, item.node) == (SessionState.UNREACHABLE, "node2")
    assert item.detail == item.status
    assert list_sessions(context, probe=False)[0].state is SessionState.UNREACHABLE
    assert len(engine.execs) == asked
    assert engine.removed == []


@pytest.mark.parametrize("keep", [None, (), ("other",)])
def test_it_is_never_reaped(start: Start, context: Context, engine: FakeSwarm, keep: tuple[str, ...] | None) -> None:
    start()
    engine.lose_node(NAME)
    engine.clock += 10_000
    assert reap_sessions(context, min_age=0.0, keep=keep, owner=None, dry_run=False) == []
    assert engine.removed == []


@pytest.mark.parametrize("state", ["running", "exited"])
def test_nor_is_one_whose_node_is_away_by_now(
    start: Start, context: Context, engine: FakeSwarm, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    start()
    engine.change(NAME, state=state)
    judged = engine.inspect

    def lose_it(name: str) -> object:
        engine.change(NAME, state="unreachable")
        return judged(name)

    monkeypatch.setattr(engine, "inspect", lose_it)
    (reaped,) = reap_sessions(context, min_age=0.0, keep=(), owner=None, dry_run=False)
    assert (reaped.report, reaped.error) == (None, "its container is unreachable by now; it was left alone")
    assert engine.removed == []


@pytest.mark.parametrize("error", [EngineUnavailableError("no answer", hint="x"), refusal(403)])
@pytest.mark.parametrize(
    ("becomes", "method"),
    [
        (None, StopMethod.SIGTERM),  # the manager sees its task go
        ("unreachable", StopMethod.UNREACHABLE),
        ("gone", StopMethod.ALREADY_STOPPED),
    ],
)
def test_the_swarm_ends_one_whose_node_does_not_answer(
    start: Start,
    engine: FakeSwarm,
    jupyter: FakeJupyter,
    monkeypatch: pytest.MonkeyPatch,
    error: EngineError,
    becomes: str | None,
    method: StopMethod,
) -> None:
    session = start()
    jupyter.heeds_shutdown = False

    def fail(*_: object, **__: object) -> None:
        if becomes == "gone":
            engine.known.clear()
        elif becomes is not None:
            engine.lose_node(NAME)
        raise error

    monkeypatch.setattr(engine, "exec", fail)
    assert session.stop().method is method
    assert engine.known == {}


def test_it_can_be_stopped(start: Start, engine: FakeSwarm, jupyter: FakeJupyter, events: list[Event]) -> None:
    session = start()
    engine.lose_node(NAME)
    jupyter.asked.clear()
    asked = len(engine.execs)
    report = session.stop()
    assert (report.method, report.kernels) == (StopMethod.UNREACHABLE, ())
    assert engine.known == {}
    assert (jupyter.asked, len(engine.execs)) == ([], asked)
    assert any("was not seen to end" in event.detail for event in events if event.kind is EventKind.WARNING)
    assert session.stop().method is StopMethod.ALREADY_STOPPED


def test_one_that_its_node_is_ending_has_no_exit_code_yet(start: Start, engine: FakeSwarm) -> None:
    session = start()
    engine.change(NAME, state="removing")
    assert (session.status().state, session.status().exit_code) == (SessionState.EXITED, None)
    engine.change(NAME, state="exited", exit_code=0)
    assert session.status().exit_code == 0


@pytest.fixture
def gateway(engine: FakeSwarm, jupyter: FakeJupyter) -> str:
    """A service ``eg``, whose task runs on another node, and answers as the fake server does."""
    engine.services["eg"] = SERVICE
    jupyter.add(container(id=SERVICE, name="eg", node="node1", host="127.0.0.1", networks={"lab": "10.0.1.9"}))
    jupyter.started = False
    return "eg"


def test_a_session_on_a_gateway_of_another_node(start: Start, engine: FakeSwarm, gateway: str) -> None:
    session = start(gateway=gateway)
    assert session.gateway is not None
    assert (session.gateway.url, session.gateway.container_id) == ("http://eg:8888", SERVICE)
    assert engine.configs[NAME].network == "lab"


def test_its_kernels_end_where_its_node_is_away(
    start: Start, context: Context, engine: FakeSwarm, jupyter: FakeJupyter, gateway: str
) -> None:
    session = start(gateway=gateway)
    engine.lose_node(NAME)
    kernel = "0e5d4d6e-0000-4000-8000-000000000001"
    jupyter.kernels, jupyter.marked = {kernel}, [kernel]
    info = engine.named(NAME)
    report = stop_session(context, info, SessionLabels.of_session(info.labels, NAME))
    assert (report.method, report.kernels, report.kernels_gone) == (StopMethod.UNREACHABLE, (kernel,), (kernel,))
    assert jupyter.kernels == set()
    assert set(calls(engine, "exec")[1:]) == {SERVICE}
    assert session.status().state is SessionState.GONE


@pytest.mark.parametrize("error", [EngineUnavailableError("node1 is down", hint="x"), refusal(403, "another node")])
def test_a_session_ends_where_its_gateways_node_is_away(
    start: Start, engine: FakeSwarm, jupyter: FakeJupyter, events: list[Event], gateway: str, error: EngineError
) -> None:
    session = start(gateway=gateway)
    engine.end(NAME, 137)
    jupyter.marked = ["0e5d4d6e-0000-4000-8000-000000000001"]
    engine.fail("exec", error)
    report = session.stop()
    assert (report.method, report.kernels) == (StopMethod.ALREADY_STOPPED, ())
    assert [info.name for info in engine.known.values()] == ["eg"]
    assert any("nobody could look for the session's kernels" in event.detail for event in events)


@pytest.mark.parametrize("error", [EngineUnavailableError("node1 is down", hint="x"), refusal(403, "another node")])
def test_kernels_are_left_where_the_gateways_node_is_away(
    start: Start, engine: FakeSwarm, jupyter: FakeJupyter, gateway: str, error: EngineError
) -> None:
    session = start(gateway=gateway)
    kernel = "0e5d4d6e-0000-4000-8000-000000000001"
    jupyter.kernels, jupyter.sticky = {kernel}, {kernel}
    engine.fail("exec", error)
    report = session.stop()
    assert (report.method, report.kernels, report.kernels_gone) == (StopMethod.API, (kernel,), ())


def test_what_removes_a_leftover_is_a_command_of_the_swarm(start: Start, engine: FakeSwarm) -> None:
    start()
    engine.change(NAME, labels={})
    with pytest.raises(SessionConflictError) as caught:
        start()
    assert re.search(r"`docker service rm jl-[0-9a-f]{40}`", caught.value.hint)


def test_a_server_that_failed_is_not_explained_by_what_was_told(start: Start, jupyter: FakeJupyter) -> None:
    notice = "the engine of the node gives no service no-new-privileges, so that only the server has it"
    jupyter.start_answer = not_run(f"failed: {notice}", started=True, exit_code=73)
    jupyter.start_answer.output = f"{notice}\nuser 0:0 cannot write"
    with pytest.raises(PipelineDirError, match="cannot be used: user 0:0 cannot write"):
        start()


def test_no_token_is_where_others_read(start: Start, engine: FakeSwarm) -> None:
    start(environment={"A": "b"})
    assert "0123456789abcdef" not in str(engine.configs[NAME])

"""A start from its options to a session, and what is left when a step fails: nothing."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import (
    EngineError,
    Event,
    EventKind,
    ExecError,
    GatewayNotFoundError,
    GatewayUnreachableError,
    ImageNotFoundError,
    Mount,
    OptionError,
    Phase,
    PipelineDirError,
    PortInUseError,
    Secret,
    ServerError,
    ServerStartError,
    ServerTimeoutError,
    Session,
    SessionConflictError,
    Timeouts,
    Volume,
)
from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.server import ready
from jupyter_launcher.sessions import join
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.phases import StartLimit
from jupyter_launcher.sessions.start import StartRequest, cancelled_start, remove_session, start_session
from jupyter_launcher.spec.checks import check_name
from jupyter_launcher.spec.labels import SessionLabels, gateway_labels, gateway_name
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from tests.unit.fakes import (
    INFO,
    NOW,
    TOKEN,
    Answer,
    FakeEngine,
    FakeJupyter,
    container,
    launcher_context,
    not_run,
    printed,
    refusal,
    session_info,
    session_labels,
)
from tests.unit.hostile import hostile_server, shown

Start = Callable[..., Session]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_OTHERS_STEP", 0.05)
    monkeypatch.setattr(ready, "_ALIVE_EVERY", 0.05)


@pytest.fixture
def start(context: Context, tmp_path: Path) -> Start:
    """Start a session as ``Launcher.start`` does."""

    def call(**given: Any) -> Session:
        known: dict[str, Any] = {
            "pipeline_dir": tmp_path,
            "user": None,
            "session_id": "one",
            "image": "image",
            "pull": "missing",
        }
        request = StartRequest(**{name: given.pop(name, value) for name, value in known.items()})
        settings = given.pop("context", context)
        limit = StartLimit(1, lambda: None)
        return start_session(settings, limit, request, {"host_ip": None, **given})

    return call


def labels_for(folder: Path, **options: Any) -> SessionLabels:
    """The labels of a session for this directory, as its owner's."""
    status = folder.stat()
    return session_labels(folder=folder, user=f"{status.st_uid}:{status.st_gid}", **options)


def phases(events: list[Event]) -> list[tuple[Phase, EventKind]]:
    return [(event.phase, event.kind) for event in events]


def test_a_session_from_options_to_ready(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, events: list[Event], tmp_path: Path
) -> None:
    session = start(memory="1g", lab_args=["--x"])
    assert (session.id, session.joined, session.warnings) == ("one", False, ())
    assert (session.pipeline_dir, session.container_name) == (tmp_path, "jupyter-server.unit.one")
    assert session.server_info.token == TOKEN
    assert session.url == jupyter.url
    assert engine.named("jupyter-server.unit.one").id == session.container_id
    config = engine.configs["jupyter-server.unit.one"]
    assert (config.memory, config.host_ip, config.network) == (2**30, "127.0.0.1", "bridge")
    assert jupyter.script_of_start[-1] == "--x"
    assert engine.images.ensured == [("image", "missing")]
    assert phases(events) == [
        (phase, kind)
        for phase in (Phase.GATEWAY, Phase.IMAGE, Phase.CONTAINER, Phase.SERVER, Phase.READY)
        for kind in (EventKind.STARTED, EventKind.FINISHED)
    ]
    assert {event.session_id for event in events} == {"one"}
    assert session.timings.total == pytest.approx(sum(seconds_of(session)))
    assert engine.removed == []


def seconds_of(session: Session) -> list[float]:
    return [getattr(session.timings, item.name) for item in dataclasses.fields(session.timings)]


def test_two_sessions_without_an_id_get_different_ones(start: Start) -> None:
    one, other = start(session_id=None), start(session_id=None)
    assert check_name(one.id, "session_id") == one.id
    assert one.id != other.id
    assert one.container_id != other.container_id


def test_a_session_without_an_id_is_not_looked_for(start: Start, engine: FakeEngine) -> None:
    start(session_id=None)
    assert engine.calls[0][0] == "create"


def test_the_server_is_asked_only_with_its_token(start: Start, jupyter: FakeJupyter) -> None:
    start()
    assert set(jupyter.authorizations) == {f"token {TOKEN}", None}


def test_with_a_lease_it_begins_when_the_server_is_ready(start: Start, jupyter: FakeJupyter) -> None:
    session = start(lease=60)
    assert (session.lease, jupyter.leases) == (60, ["60"])


def gateway_of(jupyter: FakeJupyter) -> str:
    """A gateway's container whose address is that of the made-up server."""
    jupyter.engine.known["g"] = container(id="g" * 64, name="gw", networks={"net": "127.0.0.1"})
    return f"gw:{jupyter.port}"


def test_with_a_gateway_its_network_is_joined_and_its_kernel_specs_are_looked_at(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    session = start(gateway=gateway_of(jupyter))
    assert session.gateway is not None
    assert (session.gateway.container_id, session.gateway.network) == ("g" * 64, "net")
    assert engine.configs[session.container_name].network == "net"
    assert f"--gateway-url=http://127.0.0.1:{jupyter.port}" in jupyter.script_of_start
    assert ("GET", "/api/kernelspecs") in jupyter.asked


def test_the_token_of_a_gateway_of_ours_has_the_gateways_time(
    start: Start, context: Context, jupyter: FakeJupyter
) -> None:
    gateway_of(jupyter)
    name = gateway_name("unit", "0" * 12)
    jupyter.engine.change("gw", name=name, labels=gateway_labels("unit", "me", "mark"))
    jupyter.gateway_token = printed("a kernel wrote this")
    begun = Deadline(5.0)
    with pytest.raises(GatewayUnreachableError, match="needs a token, and none could be read"):
        start(gateway=name, context=dataclasses.replace(context, timeouts=Timeouts(gateway=0.05)))
    assert not begun.expired()


def test_a_gateway_that_is_not_there_costs_nothing(start: Start, engine: FakeEngine) -> None:
    with pytest.raises(GatewayNotFoundError):
        start(gateway="nowhere")
    assert "create" not in [call for call, _ in engine.calls]
    assert engine.images.ensured == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"memory": "much"}, OptionError),
        ({"session_id": "No"}, OptionError),
        ({"pipeline_dir": "/no/such/dir"}, PipelineDirError),
        ({"mounts": [Mount(source="/var/run", target="/x")]}, PipelineDirError),
        ({"mounts": [Mount(source="/etc", target="/pipeline-dir/missing")]}, OptionError),
        ({"image": "Not An Image"}, OptionError),
        ({"cpus": 3}, OptionError),
    ],
)
def test_what_can_be_checked_is_checked_before_anything_is_made(
    start: Start, engine: FakeEngine, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        start(**options)
    assert engine.known == {}


def test_an_image_that_is_not_there_is_an_error_of_its_phase(
    start: Start, engine: FakeEngine, events: list[Event]
) -> None:
    with pytest.raises(ImageNotFoundError):
        start(image="other", pull="never")
    assert phases(events)[-1] == (Phase.IMAGE, EventKind.FAILED)
    assert engine.known == {}


def failing_start(jupyter: FakeJupyter) -> None:
    jupyter.engine.fail("start", PortInUseError("in use", hint="take another", host_port=80))


def failing_network(jupyter: FakeJupyter) -> None:
    jupyter.engine.port = None


def failing_script(jupyter: FakeJupyter) -> None:
    jupyter.start_answer = printed("", 70, "no space left")


def failing_exec(jupyter: FakeJupyter) -> None:
    jupyter.start_answer = not_run("sh: not found", exit_code=127)


def failing_token(jupyter: FakeJupyter) -> None:
    jupyter.contents = 500


def failing_renewal(jupyter: FakeJupyter) -> None:
    jupyter.renew_answer = printed("", 1, "no space left")


def interrupted_create(jupyter: FakeJupyter) -> None:
    jupyter.engine.fail("created", KeyboardInterrupt())


def interrupted_start(jupyter: FakeJupyter) -> None:
    jupyter.engine.fail("start", KeyboardInterrupt())


@pytest.mark.parametrize(
    ("fault", "error", "phase"),
    [
        (failing_start, PortInUseError, Phase.CONTAINER),
        (failing_network, EngineError, Phase.CONTAINER),
        (failing_script, ServerStartError, Phase.SERVER),
        (failing_exec, ServerError, Phase.SERVER),
        (failing_token, ServerTimeoutError, Phase.READY),
        (failing_renewal, ExecError, Phase.READY),
        (interrupted_create, KeyboardInterrupt, Phase.CONTAINER),
        (interrupted_start, KeyboardInterrupt, Phase.CONTAINER),
    ],
)
def test_whatever_fails_nothing_is_left(
    start: Start,
    context: Context,
    jupyter: FakeJupyter,
    events: list[Event],
    fault: Callable[[FakeJupyter], None],
    error: type[BaseException],
    phase: Phase,
) -> None:
    fault(jupyter)
    with pytest.raises(error) as caught:
        start(lease=60, context=dataclasses.replace(context, timeouts=Timeouts(start=0.2)))
    assert [text for text in shown(caught.value) if TOKEN in text] == []
    assert jupyter.engine.known == {}
    assert len(jupyter.engine.removed) == 1
    assert phases(events)[-1] == (phase, EventKind.FAILED)


def test_a_gateway_without_kernel_specs_ends_the_start(start: Start, jupyter: FakeJupyter) -> None:
    jupyter.kernelspecs = 503
    with pytest.raises(GatewayUnreachableError) as caught:
        start(gateway=gateway_of(jupyter))
    assert caught.value.status == 503
    assert [text for text in shown(caught.value) if TOKEN in text] == []
    assert [info.name for info in jupyter.engine.known.values()] == ["gw"]


def test_a_port_that_the_engine_shows_late_is_waited_for(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect, shown_at = engine.inspect, 4
    looks: list[str] = []

    def look(name: str) -> Any:
        info = inspect(name)
        if info is None or not info.running:
            return info
        looks.append(name)
        return info if len(looks) >= shown_at else dataclasses.replace(info, ports={})

    monkeypatch.setattr(engine, "inspect", look)
    assert start().url == jupyter.url
    assert len(looks) == shown_at


def test_a_container_that_publishes_nothing_names_its_network(start: Start, engine: FakeEngine) -> None:
    engine.port = None
    with pytest.raises(EngineError, match="no published port on network 'bridge'"):
        start()


def test_a_container_that_is_gone_at_once(start: Start, engine: FakeEngine) -> None:
    engine.on_start = engine.remove
    with pytest.raises(ServerStartError, match="removed by somebody else"):
        start()


def test_a_container_whose_first_process_cannot_run_says_why(start: Start, engine: FakeEngine) -> None:
    engine.on_start = lambda found: engine.end(found, 127)
    engine.log = "sh: not found"
    with pytest.raises(ServerStartError, match=r"ended with exit code 127 .* its first process has ended") as caught:
        start()
    assert (caught.value.exit_code, caught.value.log_tail) == (127, "sh: not found")
    assert engine.known == {}


@pytest.mark.parametrize("keeps", [True, False])
def test_an_entrypoint_that_ends_at_once_is_named_unless_it_did_not_run(
    start: Start,
    engine: FakeEngine,
    keeps: bool,  # noqa: FBT001 - pytest's
) -> None:
    def end(found: str) -> None:
        engine.change(found, entrypoint=("/entry.sh",))
        engine.end(found, 3)

    engine.on_start = end
    with pytest.raises(ServerStartError) as caught:
        start(entrypoint=keeps)
    assert ("ENTRYPOINT ['/entry.sh'] ended with exit code 3" in caught.value.message) == keeps
    assert ("its first process has ended" in caught.value.message) != keeps


@pytest.mark.parametrize(
    "labels", [session_labels(start_id="other").to_labels(), {}, {"jupyter-launcher.session-id": "one"}]
)
def test_a_failed_start_removes_no_container_but_its_own(
    start: Start, engine: FakeEngine, labels: dict[str, str]
) -> None:
    """Another launcher's container has taken the name meanwhile."""

    def replace(found: str) -> None:
        info = engine.named("jupyter-server.unit.one")
        engine.remove(found)
        engine.removed.clear()
        engine.known["other"] = dataclasses.replace(info, id="other", labels=labels, state="running", ports={})

    engine.on_start = replace
    with pytest.raises(ServerStartError):
        start(session_id="one")
    assert [info.id for info in engine.known.values()] == ["other"]
    assert engine.removed == []


@pytest.mark.parametrize("refused", ["inspect", "remove"])
def test_a_clean_up_that_the_engine_refuses_hides_no_error(
    start: Start, engine: FakeEngine, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    def fail(_: str) -> None:
        if refused == "inspect":
            engine.fail("inspect", refusal(500, "overloaded"))
        raise refusal(500, "no such device")

    engine.on_start = fail
    if refused == "remove":
        engine.fail("remove", refusal(500, "overloaded"))
    with pytest.raises(EngineError, match="no such device"):
        start()
    assert [info.name for info in engine.known.values()] == ["jupyter-server.unit.one"]
    assert (
        "container jupyter-server.unit.one may be left, `docker rm -f jupyter-server.unit.one` removes it: overloaded"
        in caplog.text
    )


def waits(event: threading.Event) -> None:
    """What goes on until it is cancelled."""
    event.set()
    for attempt in attempts(Deadline(60), NotYetError):
        with attempt:
            raise NotYetError


@pytest.mark.parametrize("where", ["image", "start", "exec", "request", "lease"])
def test_a_start_that_is_cancelled_leaves_nothing(
    start: Start, context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    event, soon, engine = threading.Event(), Deadline(10), jupyter.engine

    def run(found: str, argv: tuple[str, ...]) -> Answer:
        if argv[3] == {"exec": "start", "lease": "renew"}.get(where):
            waits(event)
        return jupyter.run(found, argv)

    def say_nothing(_: socket.socket, stopped: threading.Event) -> None:
        event.set()
        stopped.wait()

    engine.run = run
    if where == "image":
        monkeypatch.setattr(engine.images, "ensure", lambda *_: waits(event))
    if where == "start":
        engine.on_start = lambda _: waits(event)
    with contextlib.ExitStack() as opened:
        if where == "request":
            engine.port = urlsplit(opened.enter_context(hostile_server(say_nothing))).port
        slow = dataclasses.replace(context, timeouts=Timeouts(start=60.0))
        with pytest.raises(KeyError):
            run_act(lambda: start(lease=60, context=slow), cancel=Cancel(event, KeyError))
    assert engine.known == {}
    assert not soon.expired()


def test_a_start_that_waits_for_another_launchers_ends_when_it_is_cancelled(
    start: Start, context: Context, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    made, event = jupyter.add(session_info(labels_for(tmp_path))), threading.Event()
    soon = Deadline(10)
    jupyter.contents = 500
    slow = dataclasses.replace(context, timeouts=Timeouts(start=60.0))

    def run(found: str, argv: tuple[str, ...]) -> Answer:
        event.set()
        return jupyter.run(found, argv)

    jupyter.engine.run = run
    with pytest.raises(KeyError):
        run_act(lambda: start(context=slow), cancel=Cancel(event, KeyError))
    assert list(jupyter.engine.known) == [made.id]
    assert not soon.expired()


def test_a_start_that_nobody_waited_for_is_undone(
    start: Start, context: Context, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    made = start()
    remove_session(context, start())  # joined
    assert list(jupyter.engine.known) == [made.container_id]
    remove_session(context, made)
    assert jupyter.engine.known == {}


@pytest.mark.parametrize(
    ("session_id", "left", "message"),
    [
        ("one", "", "the start of session one was cancelled"),
        ("", "", "the start of a session was cancelled"),
        ("one", "this may be left: x", "the start of session one was cancelled; this may be left: x"),
    ],
)
def test_the_error_of_a_cancelled_start_says_what_may_be_left(session_id: str, left: str, message: str) -> None:
    error = cancelled_start(session_id, left)
    assert (error.message, error.session_id) == (message, session_id)
    assert ("reap" in error.hint) == bool(left)


def test_a_start_waits_for_others_as_long_as_an_image_and_a_start_may_take(
    context: Context, tmp_path: Path, jupyter: FakeJupyter
) -> None:
    limit = StartLimit(1, lambda: None)
    quick = dataclasses.replace(context, timeouts=Timeouts(image=0.1, start=0.1))
    request = StartRequest(pipeline_dir=tmp_path, user=None, session_id="one", image="image", pull="missing")
    with (
        limit.slot(Deadline(60)),
        pytest.raises(ServerTimeoutError, match=r"no other start of this launcher ended within 0\.2 s"),
    ):
        contextvars.Context().run(start_session, quick, limit, request, {"host_ip": None})
    assert jupyter.engine.known == {}


def test_what_a_later_start_must_know_is_on_the_container(start: Start, engine: FakeEngine, tmp_path: Path) -> None:
    status = tmp_path.stat()
    labels = SessionLabels.from_labels(engine.configs[start().container_name].labels, "c")
    assert labels.process == process_mark()
    assert labels.pipeline_dir_id == f"{status.st_dev}:{status.st_ino}"


def test_a_directory_that_was_replaced_is_a_conflict(start: Start, engine: FakeEngine, tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    made = start(pipeline_dir=folder)
    folder.rename(tmp_path / "old")
    folder.mkdir()
    with pytest.raises(SessionConflictError, match="was deleted or replaced since then") as caught:
        start(pipeline_dir=folder)
    assert caught.value.container_id == made.container_id
    assert list(engine.known) == [made.container_id]


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("now", ["nothing", "a file"])
def test_a_directory_that_was_deleted_is_a_conflict_with_its_session(
    start: Start, engine: FakeEngine, tmp_path: Path, now: str, *, other: bool
) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    made = start(pipeline_dir=folder)
    folder.rmdir()
    if now == "a file":
        folder.touch()
    if other:  # a session of another directory says nothing of this one
        with pytest.raises(PipelineDirError, match="does not exist"):
            start(pipeline_dir=tmp_path / "other")
    else:
        with pytest.raises(SessionConflictError, match=r"was deleted or replaced since then.* there is none") as caught:
            start(pipeline_dir=folder)
        assert caught.value.container_id == made.container_id
    assert list(engine.known) == [made.container_id]


def test_a_directory_that_is_refused_and_was_not_replaced_is_no_conflict(
    start: Start, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start()

    def refuse(*_: object, **__: object) -> None:
        msg = "is not below a root"
        raise PipelineDirError(msg, hint="give another", path=str(tmp_path))

    monkeypatch.setattr("jupyter_launcher.sessions.start.resolve_pipeline_dir", refuse)
    with pytest.raises(PipelineDirError, match="is not below a root"):
        start()
    assert list(engine.known) == [made.container_id]


def test_a_missing_directory_without_a_session_is_the_directorys_error(start: Start, tmp_path: Path) -> None:
    for options in ({}, {"session_id": None}, {"session_id": "Bad Id"}):
        with pytest.raises(PipelineDirError, match="does not exist"):
            start(pipeline_dir=tmp_path / "missing", **options)


def test_a_session_has_the_proxies_of_the_engine_and_they_are_not_compared(start: Start, engine: FakeEngine) -> None:
    engine.proxies = HiddenTexts({"http_proxy": "http://one:3128"})
    session = start()
    assert engine.configs[session.container_name].environment == {"http_proxy": "http://one:3128"}
    engine.proxies = HiddenTexts({"http_proxy": "http://another:3128"})
    assert start().joined


def test_secrets_of_a_session_that_is_joined_are_not_compared_and_that_is_told(
    start: Start, events: list[Event]
) -> None:
    assert start(secrets={"db": "s3cret"}).warnings == ()
    events.clear()
    joined = start(secrets={"db": "another"})
    (warning,) = joined.warnings
    assert "keeps the secrets" in warning
    assert [event.detail for event in events if event.kind is EventKind.WARNING] == [warning]
    assert start(secrets={"db": "another"}).warnings == (warning,)


def test_a_session_is_joined_with_its_own_token_alone(start: Start) -> None:
    first = start(token=Secret(TOKEN))
    assert (first.joined, start(token=Secret(TOKEN)).joined) == (False, True)
    with pytest.raises(SessionConflictError, match="already runs with another token") as caught:
        start(token=Secret("f" * 64))
    assert caught.value.differences == ("token is another one",)
    assert "f" * 64 not in repr(caught.value) + str(caught.value)
    with pytest.raises(SessionConflictError, match="token was True, now False"):
        start()


def test_starting_the_same_id_again_joins(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, events: list[Event]
) -> None:
    made = start()
    events.clear()
    joined = start()
    assert (joined.joined, joined.container_id, joined.warnings) == (True, made.container_id, ())
    assert joined.timings.total == 0
    assert [call for call, _ in engine.calls].count("create") == 1
    assert phases(events) == [(Phase.GATEWAY, EventKind.STARTED), (Phase.GATEWAY, EventKind.FINISHED)]


def test_other_options_are_a_conflict_that_names_them(start: Start, engine: FakeEngine) -> None:
    made = start()
    with pytest.raises(SessionConflictError, match="memory was None, now 1024") as caught:
        start(memory=1024)
    assert caught.value.differences == ("memory was None, now 1024",)
    assert (caught.value.session_id, caught.value.container_id) == ("one", made.container_id)
    assert list(engine.known) == [made.container_id]


@pytest.mark.parametrize("state", ["exited", "dead", "created"])
def test_a_session_that_has_ended_or_never_ran_is_made_anew(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path, state: str
) -> None:
    old = jupyter.add(session_info(labels_for(tmp_path), state=state))
    session = start()
    assert not session.joined
    assert engine.removed == [old.id]
    assert list(engine.known) == [session.container_id]


def test_a_running_container_without_a_server_is_made_anew(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    old = jupyter.add(session_info(labels_for(tmp_path), created=NOW - 100))
    jupyter.leave(old)
    assert not start().joined
    assert engine.removed == [old.id]


def test_a_session_of_another_launcher_that_takes_the_name_first_is_joined(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    other = session_info(labels_for(tmp_path))
    engine.fail("create", refusal(409))
    ensure = engine.images.ensure

    def overtake(*given: Any, **options: Any) -> None:
        jupyter.add(other)
        ensure(*given, **options)

    engine.images.ensure = overtake  # type: ignore[method-assign]
    session = start()
    assert (session.joined, session.container_id) == (True, other.id)
    assert engine.removed == []


def test_a_create_that_is_refused_otherwise_is_an_error(start: Start, engine: FakeEngine) -> None:
    engine.fail("create", refusal(400, "bad"))
    with pytest.raises(EngineError, match="bad"):
        start()


def test_a_start_that_joined_a_failing_one_makes_its_own(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    other = jupyter.add(session_info(labels_for(tmp_path)))

    def run(found: str, argv: tuple[str, ...]) -> Answer:
        if found == other.id and "jpserver" in argv[2]:
            engine.end(other.id, 1)
            return not_run()
        return jupyter.run(found, argv)

    engine.run = run
    session = start()
    assert not session.joined
    assert engine.removed == [other.id]


def test_a_name_whose_container_cannot_be_removed(
    start: Start, context: Context, engine: FakeEngine, tmp_path: Path
) -> None:
    info = session_info(labels_for(tmp_path), state="exited")
    engine.known[info.id] = info
    engine.remove = lambda container: None  # type: ignore[method-assign]
    with pytest.raises(SessionConflictError, match="cannot be removed") as caught:
        start(context=dataclasses.replace(context, timeouts=Timeouts(start=0.05)))
    assert "docker rm -f jupyter-server.unit.one" in caught.value.hint


@pytest.mark.parametrize("started", [False, None])
def test_where_nobody_can_tell_whether_a_server_runs_nothing_is_removed(
    start: Start,
    engine: FakeEngine,
    jupyter: FakeJupyter,
    tmp_path: Path,
    started: bool | None,  # noqa: FBT001 - pytest's
) -> None:
    made = jupyter.add(session_info(labels_for(tmp_path)))
    engine.run = lambda *_: not_run("no sh here", started=started)
    with pytest.raises(ExecError, match="no sh here"):
        start()
    assert list(engine.known) == [made.id]
    assert engine.removed == []


@pytest.mark.parametrize(
    ("labels", "seen"),
    [
        ({}, "which is no session of ours"),
        ({"other": "x"}, "which is no session of ours"),
        (
            {"jupyter-launcher.namespace": "unit", "jupyter-launcher.session-id": "one"},
            "whose labels cannot be read: container jupyter-server.unit.one has a session's labels",
        ),
        (
            session_labels(session_id="two").to_labels(),
            "whose labels cannot be read: .* of session two, but not its name",
        ),
    ],
)
def test_a_name_that_belongs_to_something_else_is_a_conflict(
    start: Start, engine: FakeEngine, labels: dict[str, str], seen: str
) -> None:
    stranger = container(name="jupyter-server.unit.one", labels=labels)
    engine.known[stranger.id] = stranger
    with pytest.raises(SessionConflictError, match=seen) as caught:
        start()
    assert caught.value.container_id == stranger.id
    assert f"`docker rm -f {stranger.id[:12]}`" in caught.value.hint
    assert engine.removed == []


def test_a_server_that_is_not_tuned_is_a_warning(
    start: Start, jupyter: FakeJupyter, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    jupyter.start_answer = printed(INFO, None, "the server is not tuned\n")
    session = start()
    assert session.warnings == ("the server is not tuned",)
    assert [(event.phase, event.detail) for event in events if event.kind is EventKind.WARNING] == [
        (Phase.SERVER, "the server is not tuned")
    ]
    assert "session one: the server is not tuned" in caplog.text


def test_a_directory_that_nobody_could_compare_is_a_warning(
    start: Start, engine: FakeEngine, events: list[Event]
) -> None:
    engine.traits = dataclasses.replace(engine.traits, runtime="kata")
    text = "nobody could see whether the mounted directory is the one that was looked at"
    assert start().warnings == (text,)
    assert [(event.phase, event.detail) for event in events if event.kind is EventKind.WARNING] == [
        (Phase.CONTAINER, text)
    ]


@pytest.mark.parametrize(
    ("limits", "options", "option"),
    [
        ({"limits_memory": False}, {"memory": "1g", "cpus": 1}, "memory"),
        ({"limits_cpus": False}, {"memory": "1g", "cpus": 1}, "cpus"),
    ],
)
def test_a_limit_that_the_engine_says_it_does_not_enforce_is_refused_before_anything_is_made(
    start: Start, engine: FakeEngine, limits: dict[str, Any], options: dict[str, Any], option: str
) -> None:
    engine.traits = dataclasses.replace(engine.traits, **limits)
    with pytest.raises(OptionError, match=f"does not enforce {option}") as caught:
        start(**options)
    assert (caught.value.option, engine.configs) == (option, {})
    assert "version 2" in caught.value.hint


@pytest.mark.parametrize("value", [None, False])
def test_limits_that_are_not_asked_for_or_not_known_are_no_hindrance(
    start: Start,
    engine: FakeEngine,
    value: bool | None,  # noqa: FBT001 - pytest's
) -> None:
    engine.traits = dataclasses.replace(engine.traits, limits_memory=value, limits_cpus=value)
    assert start(**({"memory": "1g", "cpus": 1} if value is None else {})).warnings == ()


@pytest.mark.parametrize(
    ("options", "found", "option"),
    [
        ({"memory": "1g", "cpus": 1.5}, {"memory": 0, "cpus": 0.0}, "memory"),
        ({"memory": "1g"}, {"memory": 2**29}, "memory"),
        ({"cpus": 1.5}, {"cpus": 0.0}, "cpus"),
        ({"shm_size": "1g"}, {"shm_size": 2**26}, "shm_size"),
        ({"read_only": True}, {"read_only": False}, "read_only"),
    ],
)
def test_what_the_container_turns_out_to_be_without_is_refused_and_the_container_removed(
    start: Start, engine: FakeEngine, options: dict[str, Any], found: dict[str, Any], option: str
) -> None:
    engine.on_start = lambda name: engine.change(name, **found)
    with pytest.raises(OptionError, match=f"does not enforce {option}") as caught:
        start(**options)
    assert (caught.value.option, engine.known) == (option, {})
    assert ("version 2" in caught.value.hint) == (option in ("memory", "cpus"))


@pytest.mark.parametrize(
    ("traits", "found"), [({"limits_pids": False}, {}), ({}, {"pids": 0}), ({"limits_pids": False}, {"pids": 0})]
)
def test_without_a_limit_of_processes_a_session_starts_and_tells(
    start: Start,
    engine: FakeEngine,
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
    traits: dict[str, Any],
    found: dict[str, Any],
) -> None:
    engine.traits = dataclasses.replace(engine.traits, **traits)
    engine.on_start = lambda name: engine.change(name, **found)
    (text,) = start().warnings
    assert text.startswith("the engine does not enforce the limit of processes: ")
    assert [event.detail for event in events if event.kind is EventKind.WARNING] == [text]
    assert text in caplog.text


@pytest.mark.parametrize("pids", [None, 4096, 2048])
def test_a_limit_of_processes_that_holds_or_is_not_known_is_no_warning(
    start: Start, engine: FakeEngine, pids: int | None
) -> None:
    engine.traits = dataclasses.replace(engine.traits, limits_pids=None)
    engine.on_start = lambda name: engine.change(name, pids=pids)
    assert start().warnings == ()


def test_with_a_remote_engine_the_image_comes_first_and_looks_at_the_directory(jupyter: FakeJupyter) -> None:
    events: list[Event] = []
    engine = FakeEngine(endpoint="tcp://10.0.0.7:2376", run=jupyter.run)
    engine.log = "regular file 0:0"
    engine.on_start = engine.end
    request = StartRequest(pipeline_dir="/far", user=None, session_id="one", image="other", pull="missing")
    with pytest.raises(PipelineDirError, match=r"no directory on the engine's host 10\.0\.0\.7"):
        start_session(launcher_context(engine, events), StartLimit(1, lambda: None), request, {"host_ip": None})
    assert engine.images.ensured == [("other", "missing")]
    assert phases(events)[0] == (Phase.IMAGE, EventKind.STARTED)
    assert engine.known == {}


def test_a_session_that_runs_is_joined_without_an_image_where_a_container_has_to_look(
    start: Start, engine: FakeEngine, tmp_path: Path
) -> None:
    first = start(session_id="one")
    status, ensured = tmp_path.stat(), list(engine.images.ensured)
    engine.traits = dataclasses.replace(engine.traits, rootless=True)
    engine.log = f"directory {status.st_dev}:{status.st_ino} {status.st_uid}:{status.st_gid}\n"
    engine.on_start = engine.end
    again = start(session_id="one", context=launcher_context(engine, []))
    assert (again.joined, again.container_id) == (True, first.container_id)
    assert list(engine.configs.values())[-1].image == "image"
    assert engine.images.ensured == ensured


def test_a_session_in_a_volume(start: Start, engine: FakeEngine) -> None:
    engine.log = "directory 7:8 1500:1600"
    engine.on_start = lambda name: engine.end(name) if "look" in engine.known[name].name else None
    volume = Volume("pipeline-7")
    first = start(pipeline_dir=volume)
    assert (first.pipeline_dir, first.warnings, first.status().pipeline_dir_replaced) == (volume, (), False)
    assert engine.configs["jupyter-server.unit.one"].user == "1500:1600"
    assert start(pipeline_dir=Volume("pipeline-7")).joined
    with pytest.raises(SessionConflictError, match="pipeline_dir was 'volume:pipeline-7', now 'volume:other'"):
        start(pipeline_dir=Volume("other"))


def test_mounts_that_can_be_asked_for_once_alone_reach_a_session_with_a_volume(
    start: Start, engine: FakeEngine
) -> None:
    engine.log = "directory 7:8 1500:1600"
    engine.on_start = lambda name: engine.end(name) if "look" in engine.known[name].name else None
    start(pipeline_dir=Volume("pipeline-7"), mounts=iter([Mount(type="volume", source="cache", target="/v")]))
    assert [item.target for item in engine.configs["jupyter-server.unit.one"].mounts] == ["/pipeline-dir", "/v"]


def test_a_volume_as_home_is_given_to_the_sessions_user_when_a_session_is_made(
    start: Start, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.log = "directory 7:8 1500:1600"
    engine.on_start = lambda name: engine.end(name) if "look" in engine.known[name].name else None
    tmp_path.chmod(0o755)
    first = start(home=Volume("alice"), user="1500:1600")
    looks = [config for name, config in engine.configs.items() if "look" in name]
    assert [(config.mounts[0].source, (config.entrypoint or ())[-1]) for config in looks] == [("alice", "1500:1600")]
    again = start(home=Volume("alice"), user="1500:1600")
    assert (again.joined, again.container_id, len(engine.configs)) == (True, first.container_id, 2)
    with pytest.raises(SessionConflictError, match=f"home was 'volume:alice', now '{tmp_path}'"):
        start(home=tmp_path, user="1500:1600")


def test_homes_that_are_refused_before_anything_is_made(start: Start, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    roots = launcher_context(engine, rules=DirectoryRules(roots=(tmp_path.parent,)))
    for home, changes in (
        (tmp_path / "none", {}),
        (tmp_path / "file", {}),
        (Path("/proc"), {}),
        (Volume("alice"), {"context": roots}),
        (Path("/srv"), {"context": roots}),
    ):
        with pytest.raises(PipelineDirError):
            start(home=home, **changes)
    assert engine.configs == {}
    assert start(home=tmp_path, context=roots).id == "one"


def test_what_is_wrong_is_told_before_a_volume_is_made(start: Start, engine: FakeEngine) -> None:
    for wrong in ({"memory": "much"}, {"mounts": [Mount(source="/dev", target="/x")]}, {"user": "-1"}):
        with pytest.raises((OptionError, PipelineDirError)):
            start(pipeline_dir=Volume("pipeline-7"), **wrong)
    assert engine.configs == {}


def test_a_directory_that_the_engine_may_not_enter_as_the_user(start: Start, engine: FakeEngine) -> None:
    said = 'OCI runtime create failed: runc create failed: chdir to cwd ("/pipeline-dir"): permission denied'
    engine.fail("start", refusal(400, said))
    with pytest.raises(PipelineDirError, match="does not start a container there: OCI") as caught:
        start()
    assert "another user=" in caught.value.hint
    assert engine.known == {}


@pytest.mark.parametrize("call", ["create", "start"])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gpus": ("0",)}, 'could not select device driver "" with capabilities: [[gpu]]'),
        ({"gpus": 1}, "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0"),
        ({"memory": 4096}, "Minimum memory limit allowed is 6MB"),
        ({"cpus": 2}, "Range of CPUs is from 0.01 to 1.00, as there is only 1 CPU available"),
        ({"cpus": 2}, "range of CPUs is from 0.01 to 1.00, as there is only 1 CPU available"),
        ({"groups": ["staff"]}, "Unable to find group staff: no matching entries in group file"),
        (
            {"mounts": [Mount(source="/usr/share", target="/x", propagation="rslave")]},
            "path /usr/share is mounted on / but it is not a shared or slave mount",
        ),
    ],
)
def test_an_option_that_the_engine_refuses(
    start: Start, engine: FakeEngine, call: str, options: dict[str, Any], text: str
) -> None:
    engine.fail(call, refusal(500, text))
    with pytest.raises(OptionError, match="cannot be given as asked for") as caught:
        start(**options)
    assert ([caught.value.option], engine.known) == (list(options), {})
    assert text in caught.value.message
    engine.fail(call, refusal(500, "something else"))
    with pytest.raises(EngineError):
        start(**options)


def test_an_engine_that_refuses_what_may_be_one_of_its_own_options(start: Start, engine: FakeEngine) -> None:
    options = {"container_options": {"CpusetCpus": "99"}}
    engine.fail("create", refusal(400, "Requested CPUs are not available"))
    with pytest.raises(
        EngineError, match=r"Requested CPUs are not available; see whether .* container_options"
    ) as caught:
        start(**options)
    assert (caught.value.status, engine.known) == (400, {})
    engine.fail("start", PortInUseError("in use", hint="take another", status=500, host_port=80))
    with pytest.raises(PortInUseError, match="take another"):
        start(**options)
    engine.fail("create", refusal(404, "no such image"))
    with pytest.raises(EngineError, match="no such image") as other:
        start(**options)
    assert "container_options" not in other.value.hint


def test_more_ports_and_one_of_them_that_is_not_published(start: Start, engine: FakeEngine) -> None:
    assert start(ports={6006: None, 6007: 7000}).published(6007) == ("127.0.0.1", 7000)
    engine.on_start = lambda name: engine.change(name, ports={"8888/tcp": (49153,)})
    with pytest.raises(EngineError, match="no published port"):
        start(session_id="two", ports={6006: None})


def test_groups_are_checked_before_the_directory_is_looked_at(start: Start) -> None:
    with pytest.raises(OptionError, match="groups"):
        start(groups="users")

"""``Launcher``: each call reaches the act that it stands for, with what the launcher was given."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    DEFAULT_IMAGE,
    BuildOptions,
    EngineError,
    Event,
    EventKind,
    ExecError,
    Launcher,
    Mount,
    OptionError,
    Phase,
    PipelineDirError,
    RunningGateway,
    Secret,
    ServerNotRunningError,
    Session,
    SessionConflictError,
    SessionNotFoundError,
    SessionState,
    SessionUnreadableError,
    StartCancelledError,
    StopMethod,
    Timeouts,
    acts,
)
from jupyter_launcher.acts import check_cancelled
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.spec.labels import SessionLabels, gateway_labels, gateway_name
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from tests.unit.fakes import HASTY, NOW, Answer, FakeEngine, FakeJupyter, container, printed, refusal
from tests.unit.forks import in_a_fork
from tests.unit.sdk import FakeApi, in_the_list, sdk_client

STRAY_LABELS = {"jupyter-launcher.namespace": "unit", "jupyter-launcher.session-id": "one"}
Connect = Callable[..., Launcher]


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter) -> FakeEngine:
    jupyter.engine.images.known.add(DEFAULT_IMAGE)
    return jupyter.engine


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def connect(engine: FakeEngine, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Launchers on the one made-up engine."""
    monkeypatch.setattr(DockerEngine, "connect", lambda **_: engine)
    return lambda **given: Launcher(**{"namespace": "unit", "timeouts": HASTY, "on_event": events.append, **given})


@pytest.fixture
def launcher(connect: Connect) -> Launcher:
    return connect()


def test_how_to_reach_the_engine_is_handed_on(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def connect(**given: Any) -> FakeEngine:
        seen.append(given)
        return engine

    monkeypatch.setattr(DockerEngine, "connect", connect)
    given: dict[str, Any] = {"docker_host": "tcp://x", "context": "y", "use_config_proxy": False}
    Launcher(**given, timeouts=Timeouts(engine=7.0))
    assert seen == [{**given, "client": None, "timeout": 7.0}]


def test_a_launcher_over_a_client_of_the_callers() -> None:
    api = FakeApi(containers=[in_the_list()])
    client = sdk_client(api)
    with Launcher(client=client, namespace="unit") as launcher:
        assert launcher.ids() == []
    assert vars(client)["closed"] is False
    assert api.options("containers")["filters"] == {"label": ["jupyter-launcher.namespace=unit"]}


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"namespace": "No"}, "namespace"),
        ({"max_starts": 0}, "max_starts"),
        ({"owner": 5}, "owner"),
        ({"image": ""}, "image"),
        ({"timeouts": 60}, "timeouts"),
        ({"build": {}}, "build"),
        ({"on_event": "print"}, "on_event"),
    ],
)
def test_options_that_cannot_be(connect: Connect, given: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        connect(**given)
    assert caught.value.option == option


def test_leaving_it_closes_the_connections_and_stops_no_session(
    connect: Connect, engine: FakeEngine, tmp_path: Path
) -> None:
    with connect() as launcher:
        session = launcher.start(tmp_path)
    assert engine.closed
    assert engine.named(session.container_name).running


def test_start_hands_every_option_on(
    connect: Connect, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    launcher = connect(owner="me", image="mine", build=BuildOptions(index_url="https://index"))
    tmp_path.chmod(0o755)
    session = launcher.start(
        tmp_path,
        network="net",
        session_id="one",
        image="image",
        pull="never",
        host_ip="127.0.0.1",
        host_port=jupyter.port,
        base_url="/x",
        allow_origin="https://ide.example",
        user="7:8",
        environment={"A": "b"},
        mounts=[Mount(source="/a", target="/b")],
        memory="1g",
        cpus=1.5,
        shm_size="2k",
        gpus="all",
        pipeline_read_only=True,
        read_only=True,
        tune=False,
        lease=60,
        labels={"team": "a"},
        lab_args=["--y"],
        timeouts=HASTY,
    )
    config = engine.configs[session.container_name]
    assert (config.image, config.user, config.network, config.environment) == ("image", "7:8", "net", {"A": "b"})
    assert (config.memory, config.cpus, config.shm_size, config.gpus) == (2**30, 1.5, 2048, "all")
    assert (config.read_only, config.host_ip, config.host_port) == (True, "127.0.0.1", jupyter.port)
    assert [(mount.target, mount.read_only) for mount in config.mounts] == [("/pipeline-dir", True), ("/b", False)]
    assert config.labels["team"] == "a"
    assert engine.images.ensured == [("image", "never")]
    assert "--ServerApp.allow_origin=https://ide.example" in jupyter.script_of_start
    assert "--ServerApp.base_url=/x/" in jupyter.script_of_start
    assert [jupyter.script_of_start[at] for at in (6, 9, 11)] == ["60", "", ""]  # lease, not writable, no tunings
    assert jupyter.script_of_start[-1] == "--y"
    assert SessionLabels.from_labels(config.labels, "c").owner == "me"


def test_start_with_no_options_takes_the_launchers_image(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path
) -> None:
    session = launcher.start(tmp_path)
    assert engine.configs[session.container_name].image == DEFAULT_IMAGE
    assert SessionLabels.from_labels(engine.configs[session.container_name].labels, "c").options.keys() == {
        "pipeline_dir",
        "user",
    }


def test_a_start_may_have_time_outs_of_its_own(launcher: Launcher, jupyter: FakeJupyter, tmp_path: Path) -> None:
    launcher.start(tmp_path, timeouts=Timeouts(start=33.0))
    assert jupyter.script_of_start[5] == "33"


def test_an_option_that_cannot_be_is_named(launcher: Launcher, tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        launcher.start(tmp_path, memory="much")
    assert caught.value.option == "memory"
    with pytest.raises(TypeError):
        launcher.start(tmp_path, nonsense=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "option"), [({"roots": ["relative"]}, "roots"), ({"allow_engine_socket": 1}, "allow_engine_socket")]
)
def test_a_launcher_that_cannot_be_leaves_no_connection(
    connect: Connect, engine: FakeEngine, given: dict[str, Any], option: str
) -> None:
    with pytest.raises(OptionError) as caught:
        connect(**given)
    assert caught.value.option == option
    assert engine.closed == (option == "roots")  # the other one is noticed before a connection is made


def test_roots_and_sockets_are_for_sessions_and_gateways(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    engine.endpoint = f"unix://{tmp_path}/one/engine.sock"
    for launcher, seen in (
        (connect(roots=[tmp_path / "one"], allow_engine_socket=True), "is not below a root"),
        (connect(roots=[tmp_path]), "is or holds the engine's socket"),
    ):
        for call in (launcher.start, lambda path: launcher.run_gateway(path, image="gateway").__enter__()):  # noqa: B023
            with pytest.raises(PipelineDirError, match=seen):
                call(tmp_path / "one")
    launcher = connect(roots=[tmp_path], allow_engine_socket=True)
    assert launcher.start(tmp_path / "one").pipeline_dir == tmp_path / "one"
    with launcher.run_gateway(tmp_path / "one", image="gateway", user="7:8") as gateway:
        assert engine.configs[gateway.name].user == "7:8"


@pytest.mark.parametrize(
    ("call", "option"),
    [
        (lambda launcher: launcher.start("/", image=""), "image"),
        (lambda launcher: launcher.start("/", timeouts=60), "timeouts"),
        (lambda launcher: launcher.ensure_image(""), "image"),
        (lambda launcher: launcher.build_image(tag=""), "tag"),
        (lambda launcher: launcher.build_image(options={}), "options"),
        (lambda launcher: launcher.run_gateway("/", network=5).__enter__(), "network"),
        (lambda launcher: launcher.run_gateway("/", keep=True).__enter__(), "keep"),
        (lambda launcher: launcher.list(probe=0), "probe"),
        (lambda launcher: launcher.reap(min_age=-1), "min_age"),
        (lambda launcher: launcher.reap(keep="one"), "keep"),
        (lambda launcher: launcher.reap(owner=5), "owner"),
        (lambda launcher: launcher.events(since=-1), "since"),
        (lambda launcher: launcher.events(since="now"), "since"),
    ],
)
def test_an_option_that_cannot_be_is_named_by_every_call(
    launcher: Launcher, engine: FakeEngine, call: Callable[[Launcher], object], option: str
) -> None:
    with pytest.raises(OptionError) as caught:
        call(launcher)
    assert (caught.value.option, engine.calls) == (option, [])


def test_a_session_is_found_again_stopped_and_gone(launcher: Launcher, tmp_path: Path, events: list[Event]) -> None:
    made = launcher.start(tmp_path, session_id="one")
    found = launcher.get("one")
    assert (found.container_id, found.joined, made.joined) == (made.container_id, True, False)
    assert [item.state for item in launcher.list()] == [SessionState.READY]
    assert [item.state for item in launcher.list(probe=False)] == [SessionState.UNPROBED]
    assert launcher.ids() == ["one"]
    events.clear()
    assert launcher.stop("one").method is StopMethod.API
    assert [(event.phase, event.kind) for event in events] == [
        (Phase.STOP, EventKind.STARTED),
        (Phase.STOP, EventKind.PROGRESS),
        (Phase.STOP, EventKind.FINISHED),
    ]
    assert (launcher.list(), launcher.ids()) == ([], [])
    calls: list[Callable[[str], object]] = [
        launcher.get,
        launcher.stop,
        launcher.renew,
        launcher.logs,
        launcher.pause,
        launcher.resume,
    ]
    for call in calls:
        with pytest.raises(SessionNotFoundError):
            call("one")


def test_the_token_is_read_once(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    """By the start. A stop by the session's id needs no command for it either, and another launcher knows nothing."""
    launcher = connect()
    info = engine.named(launcher.start(tmp_path, session_id="one").container_name)
    engine.execs.clear()
    assert launcher.get("one").server_info == launcher.get("one").server_info
    servers = launcher._context.servers
    assert servers.find(info) is not None
    assert launcher.stop("one").method is StopMethod.API
    assert engine.execs == []
    assert servers.find(info) is None
    session = launcher.start(tmp_path, session_id="one")
    engine.execs.clear()
    connect().get("one")
    assert len(engine.execs) == 1
    info = engine.named(session.container_name)
    assert servers.find(info) is not None
    connect().stop("one")
    assert session.status().state is SessionState.GONE
    assert servers.find(info) is None


def test_a_token_that_is_refused_is_read_anew_by_a_stop(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    launcher = connect()
    session = launcher.start(tmp_path, session_id="one")
    info = engine.named(session.container_name)
    launcher._context.servers.remember(info, dataclasses.replace(session.server_info, token="0" * 64))
    engine.execs.clear()
    assert launcher.stop("one").method is StopMethod.API
    assert len(engine.execs) == 1


def test_a_container_that_cannot_be_read(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    stray = container(id="5" * 64, name="jupyter-server.unit.one", labels=STRAY_LABELS)
    engine.known[stray.id] = stray
    calls: list[Callable[[str], object]] = [
        launcher.get,
        launcher.stop,
        launcher.renew,
        launcher.logs,
        launcher.pause,
        launcher.resume,
    ]
    for call in calls:
        with pytest.raises(SessionUnreadableError):
            call("one")
    with pytest.raises(SessionConflictError, match="whose labels cannot be read") as caught:
        launcher.start(tmp_path, session_id="one")
    assert "`docker rm -f 555555555555`" in caught.value.hint
    (item,) = launcher.list()
    assert (item.state, item.session_id, item.pipeline_dir) == (SessionState.UNREADABLE, "one", None)
    assert launcher.ids() == []
    assert launcher.reap(min_age=0.0, keep=[]) == []
    assert list(engine.known) == [stray.id]


def test_a_lease_is_renewed_by_its_id(launcher: Launcher, jupyter: FakeJupyter, tmp_path: Path) -> None:
    launcher.start(tmp_path, session_id="one", lease=60)
    launcher.start(tmp_path, session_id="two")
    launcher.renew("one")
    launcher.renew("two")
    assert jupyter.leases == ["60", "60"]  # the first one as the server was ready


def test_a_lease_that_did_not_move_is_an_error(launcher: Launcher, jupyter: FakeJupyter, tmp_path: Path) -> None:
    session = launcher.start(tmp_path, session_id="one", lease=60)
    jupyter.renew_answer = printed("", 1, "no space left")
    with pytest.raises(ExecError):
        launcher.renew("one")
    jupyter.engine.end(session.container_id)
    with pytest.raises(ServerNotRunningError):
        launcher.renew("one")


def test_reap_has_its_options(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    launcher = connect(owner="me")
    session = launcher.start(tmp_path, session_id="one")
    assert launcher.reap(min_age=0.0) == []
    assert launcher.reap(min_age=0.0, keep=[], owner="them") == []
    assert launcher.reap(keep=[]) == []  # too young
    assert [item.session_id for item in launcher.reap(min_age=0.0, keep=[], dry_run=True)] == ["one"]
    assert engine.named(session.container_name).running
    (reaped,) = launcher.reap(min_age=0.0, keep=[], owner="me")
    assert reaped.report is not None
    assert engine.known == {}


def test_logs_come_in_pieces(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    launcher.start(tmp_path, session_id="one")
    engine.log = "one\ntwo\n"
    assert list(launcher.logs("one", tail=5)) == ["one\n", "two\n"]
    assert list(launcher.logs("one", follow=True)) == ["one\n", "two\n"]


def test_a_log_that_cannot_be_read_is_an_error_of_the_call(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path
) -> None:
    launcher.start(tmp_path, session_id="one")
    engine.fail("logs", refusal(501, "no driver"))
    with pytest.raises(EngineError, match="no driver"):
        launcher.logs("one")


def test_events_are_asked_for_at_the_call(launcher: Launcher, engine: FakeEngine) -> None:
    with launcher.events(since=NOW) as events:
        assert engine.calls[-1][0] == "events"
        assert engine.calls[-1][1].endswith(f" {NOW}")
        assert list(events) == []
    assert engine.happened.closed
    engine.fail("events", refusal(403))
    with pytest.raises(EngineError):
        launcher.events()


def test_an_image_is_had_before_it_is_needed(connect: Connect, engine: FakeEngine, events: list[Event]) -> None:
    launcher = connect(image="mine")
    launcher.ensure_image()
    launcher.ensure_image("image", pull="always")
    assert engine.images.ensured == [("mine", "missing"), ("image", "always")]
    assert {(event.phase, event.session_id) for event in events} == {(Phase.IMAGE, "")}


def test_an_image_is_built(launcher: Launcher, engine: FakeEngine, events: list[Event]) -> None:
    assert launcher.build_image() == DEFAULT_IMAGE
    assert launcher.build_image("kernel-gateway", tag="mine", force=True) == "mine"
    assert engine.images.built == [
        ("jupyter-server", DEFAULT_IMAGE, False),
        ("kernel-gateway", "mine", True),
    ]
    assert [event.detail for event in events if event.kind is EventKind.PROGRESS] == ["Step 1/2"] * 2


@pytest.mark.parametrize("keep", [None, lambda _: False, lambda _: True])
def test_a_gateway_is_run(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, keep: Callable[[str], bool] | None
) -> None:
    with launcher.run_gateway(tmp_path, image="gateway", network="net", keep=keep) as gateway:
        name = gateway.name
        assert name.startswith("kernel-gateway.unit.")
        assert [item.name for item in launcher.gateways()] == [name]
        assert engine.configs[name].network == "net"
        assert engine.images.ensured == [("gateway", "missing")]
    assert bool(engine.known) == bool(keep and keep(name))


def waits(event: threading.Event) -> None:
    """What goes on until it is cancelled."""
    event.set()
    for attempt in attempts(Deadline(60), NotYetError):
        with attempt:
            raise NotYetError


@pytest.mark.parametrize("session_id", ["one", None])
def test_another_thread_cancels_a_start(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, session_id: str | None
) -> None:
    cancel = threading.Event()
    engine.on_start = lambda _: waits(cancel)
    with pytest.raises(StartCancelledError, match=r"the start of (session one|a session) was cancelled; ") as caught:
        launcher.start(tmp_path, session_id=session_id, cancel=cancel)
    assert caught.value.session_id == (session_id or "")
    assert caught.value.__cause__ is None
    assert engine.known == {}


def test_a_start_with_a_cancel_that_nobody_sets(launcher: Launcher, tmp_path: Path) -> None:
    assert launcher.start(tmp_path, session_id="one", cancel=threading.Event()).id == "one"


def test_a_cancel_that_is_set_already(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    engine.on_start = lambda _: waits(cancel)
    with pytest.raises(StartCancelledError):
        launcher.start(tmp_path, cancel=cancel)
    assert engine.known == {}


@pytest.mark.parametrize("cancel", [True, "yes", 1, threading.Lock()])
def test_a_cancel_that_is_none(launcher: Launcher, engine: FakeEngine, tmp_path: Path, cancel: Any) -> None:
    with pytest.raises(OptionError) as caught:
        launcher.start(tmp_path, cancel=cancel)
    assert (caught.value.option, engine.calls) == ("cancel", [])


@pytest.mark.parametrize("where", ["clean-up", "start"])
def test_a_cancelled_start_that_the_engine_holds_up_names_what_may_be_left(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(acts, "_CLEAN_UP_SECONDS", 0.1)
    cancel, hangs, over = threading.Event(), threading.Event(), threading.Event()
    remove = engine.remove

    def hang(container: str) -> None:
        hangs.wait(30)
        remove(container)
        over.set()

    def hold_up(_: str) -> None:
        if where == "clean-up":
            waits(cancel)
        cancel.set()
        hangs.wait(30)
        check_cancelled()

    monkeypatch.setattr(engine, "remove", hang)
    engine.on_start = hold_up
    try:
        with pytest.raises(StartCancelledError) as caught:
            launcher.start(tmp_path, session_id="one", cancel=cancel)
    finally:
        hangs.set()
    assert "this may be left: container jupyter-server.unit.one" in caught.value.message
    assert "reap" in caught.value.hint
    assert over.wait(30)
    assert engine.known == {}


@pytest.mark.parametrize("times", [1, 5])
def test_an_interrupted_start_leaves_nothing(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, times: int
) -> None:
    event = threading.Event()

    def interrupted(_: str) -> None:
        for _number in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        waits(event)

    engine.on_start = interrupted
    with pytest.raises(KeyboardInterrupt):
        launcher.start(tmp_path)
    assert engine.known == {}


def test_an_interrupt_that_meets_the_end_of_a_start_undoes_it(
    launcher: Launcher, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    run = jupyter.run

    def interrupted(found: str, argv: tuple[str, ...]) -> Answer:
        answer = run(found, argv)
        if "renew" in argv:  # the last step of all
            os.kill(os.getpid(), signal.SIGINT)
        return answer

    engine.run = interrupted
    with pytest.raises(KeyboardInterrupt):
        launcher.start(tmp_path, lease=60)
    assert engine.known == {}


@pytest.mark.parametrize(
    "stop",
    [
        lambda launcher: launcher.stop("one"),
        lambda launcher: launcher.get("one").stop(),
        lambda launcher: launcher.reap(min_age=0.0, keep=[]),
    ],
    ids=["by its id", "by itself", "reap"],
)
def test_an_interrupted_stop_kills_what_is_left(
    launcher: Launcher,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: Callable[[Launcher], object],
) -> None:
    launcher.start(tmp_path, session_id="one")
    remove = engine.remove

    def interrupted(_: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        waits(threading.Event())

    def interrupted_again(container: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remove(container)

    monkeypatch.setattr(engine, "remove", interrupted_again)
    engine.on_wait = interrupted
    with pytest.raises(KeyboardInterrupt):
        stop(launcher)
    assert engine.known == {}


def test_an_interrupted_reap_ends_with_the_one_at_which_it_is(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path
) -> None:
    for number in range(2):
        launcher.start(tmp_path, session_id=f"one-{number}")

    def interrupted(_: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        waits(threading.Event())

    engine.on_wait = interrupted
    with pytest.raises(KeyboardInterrupt):
        launcher.reap(min_age=0.0, keep=[])
    assert len(engine.known) == 1


def test_a_listener_of_events_may_start_a_session(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    """With room for one start: it is a part of the one that it was told of."""
    started: list[Session] = []

    def listen(event: Event) -> None:
        if (event.session_id, event.phase, event.kind) == ("one", Phase.SERVER, EventKind.STARTED):
            started.append(made.start(tmp_path, session_id="two"))

    made: Launcher = connect(max_starts=1, on_event=listen)
    made.start(tmp_path, session_id="one", timeouts=Timeouts(image=5.0, start=5.0))
    assert [session.id for session in started] == ["two"]
    assert sorted(made.ids()) == ["one", "two"]


def test_a_launcher_with_a_client_of_the_callers_is_not_used_in_a_fork() -> None:
    with Launcher(client=sdk_client(FakeApi(containers=[])), namespace="unit") as launcher:
        assert launcher.ids() == []
        seen = in_a_fork(launcher.ids)
    assert seen.startswith("EngineUnavailableError")
    assert "docker_host=" in seen


def test_a_fork_may_start_sessions(connect: Connect, tmp_path: Path) -> None:
    launcher = connect(max_starts=1)
    launcher.start(tmp_path, session_id="one")
    assert in_a_fork(lambda: launcher.start(tmp_path, session_id="two").id) == "two"
    assert launcher.ids() == ["one"]  # the engine of this test was forked too


def test_starts_beyond_the_limit_wait(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    launcher = connect(max_starts=1)
    inside, release = threading.Semaphore(0), threading.Event()

    def hold(_: str) -> None:
        inside.release()
        release.wait(10)

    engine.on_start = hold
    threads = [threading.Thread(target=launcher.start, args=(tmp_path,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=10)
    assert [call for call, _ in engine.calls].count("create") == 1
    release.set()
    for thread in threads:
        thread.join()
    assert len(launcher.ids()) == 2


def test_what_runs_a_gateway_is_a_gateway(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    """As it is yielded, by its name, and by its name from elsewhere: the token comes along."""
    with launcher.run_gateway(tmp_path, image="image") as gateway:
        ways: tuple[str | RunningGateway, ...] = (gateway, gateway.name, f"{gateway}:8888")
        for index, given in enumerate(ways):
            session = launcher.start(tmp_path, gateway=given, session_id=f"s{index}")
            assert session.gateway is not None
            assert (session.gateway.name, session.gateway.token) == (str(given), None)
            assert engine.environments[-2 if engine.environments[-1] == {} else -1]["_jl_secret_1"] == gateway.token
        assert launcher.start(tmp_path, gateway=gateway.name, session_id="s0").joined


def test_secrets_are_in_no_traceback(launcher: Launcher, tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        launcher.start(tmp_path, secrets={"db": "s3cret"}, memory="none")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert not any("s3cret" in repr(value) for frame in frames for value in frame.f_locals.values())


def test_secrets_that_are_none(launcher: Launcher, tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        launcher.start(tmp_path, secrets=["db"])  # type: ignore[arg-type] # as callers may
    assert caught.value.option == "secrets"


def test_reap_removes_gateways_after_the_sessions_that_used_them(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path
) -> None:
    labels = gateway_labels("unit", "", "other-boot:1:2:3")
    name = gateway_name("unit", "0" * 12)
    engine.known["9" * 64] = container(id="9" * 64, name=name, labels=labels)
    engine.born["9" * 64] = NOW - 2 * 86400
    launcher.start(tmp_path, gateway=name, session_id="one")
    assert launcher.reap(min_age=0.0) == []
    found = launcher.reap(min_age=0.0, keep=[])
    assert [(item.kind, item.session_id, item.name, item.error) for item in found] == [
        ("session", "one", "jupyter-server.unit.one", ""),
        ("gateway", "", name, ""),
    ]
    assert engine.known == {}


def test_a_launcher_with_requirements_has_the_image_with_them(connect: Connect) -> None:
    launcher = connect(build=BuildOptions(requirements=["pandas"]))
    assert launcher.image.startswith("jupyter-launcher/jupyter-server-packages:")
    assert launcher.build_image() == launcher.image
    assert launcher.build_image(options=BuildOptions()) == DEFAULT_IMAGE
    assert connect(build=BuildOptions(requirements=["pandas"]), image="mine").image == "mine"
    with pytest.raises(OptionError, match="cannot be read"):
        connect(build=BuildOptions(requirements="/none"))


@pytest.mark.parametrize("made", [3, None, "short", Secret("short")])
def test_a_function_that_returns_no_token_is_told_so(launcher: Launcher, tmp_path: Path, made: Any) -> None:
    with pytest.raises(OptionError, match=r"^token ") as caught:
        launcher.start(tmp_path, token=lambda: made)
    assert caught.value.option == "token"

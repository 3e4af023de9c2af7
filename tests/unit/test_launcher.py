"""``Launcher``: each call reaches the act that it stands for, with what the launcher was given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    DEFAULT_IMAGE,
    BuildOptions,
    Event,
    EventKind,
    ExecError,
    Launcher,
    Mount,
    OptionError,
    Phase,
    ServerNotRunningError,
    SessionConflictError,
    SessionNotFoundError,
    SessionState,
    SessionUnreadableError,
    StopMethod,
    Timeouts,
)
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.spec.labels import SessionLabels
from tests.unit.fakes import HASTY, FakeEngine, FakeJupyter, container, printed
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
    Launcher(docker_host="tcp://x", context="y", timeouts=Timeouts(engine=7.0))
    assert seen == [{"docker_host": "tcp://x", "context": "y", "client": None, "timeout": 7.0}]


def test_a_launcher_over_a_client_of_the_callers() -> None:
    api = FakeApi(containers=[in_the_list()])
    client = sdk_client(api)
    with Launcher(client=client, namespace="unit") as launcher:
        assert launcher.ids() == []
    assert vars(client)["closed"] is False
    assert api.options("containers")["filters"] == {
        "label": ["jupyter-launcher.namespace=unit", "jupyter-launcher.session-id"]
    }


@pytest.mark.parametrize(("given", "option"), [({"namespace": "No"}, "namespace"), ({"max_starts": 0}, "max_starts")])
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
    assert [mount.target for mount in config.mounts] == ["/pipeline-dir", "/b"]
    assert config.labels["team"] == "a"
    assert engine.images.ensured == [("image", "never")]
    assert "--ServerApp.allow_origin=https://ide.example" in jupyter.script_of_start
    assert "--ServerApp.base_url=/x/" in jupyter.script_of_start
    assert jupyter.script_of_start[6:8] == ("60", "")  # the lease, and no launch script
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


def test_a_session_is_found_again_stopped_and_gone(launcher: Launcher, tmp_path: Path, events: list[Event]) -> None:
    made = launcher.start(tmp_path, session_id="one")
    found = launcher.get("one")
    assert (found.container_id, found.joined, made.joined) == (made.container_id, True, False)
    assert [item.state for item in launcher.list()] == [SessionState.READY]
    assert launcher.ids() == ["one"]
    events.clear()
    assert launcher.stop("one").method is StopMethod.API
    assert [(event.phase, event.kind) for event in events] == [
        (Phase.STOP, EventKind.STARTED),
        (Phase.STOP, EventKind.PROGRESS),
        (Phase.STOP, EventKind.FINISHED),
    ]
    assert (launcher.list(), launcher.ids()) == ([], [])
    calls: list[Callable[[str], object]] = [launcher.get, launcher.stop, launcher.renew, launcher.logs]
    for call in calls:
        with pytest.raises(SessionNotFoundError):
            call("one")


def test_a_container_that_cannot_be_read(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    stray = container(id="5" * 64, name="jupyter-server.unit.one", labels=STRAY_LABELS)
    engine.known[stray.id] = stray
    calls: list[Callable[[str], object]] = [launcher.get, launcher.stop, launcher.renew, launcher.logs]
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
    assert list(launcher.logs("one", tail=5)) == ["one\ntwo\n"]
    assert list(launcher.logs("one", follow=True)) == ["one\n", "two\n"]


def test_an_image_is_had_before_it_is_needed(connect: Connect, engine: FakeEngine, events: list[Event]) -> None:
    launcher = connect(image="mine")
    launcher.ensure_image()
    launcher.ensure_image("image", pull="always")
    assert engine.images.ensured == [("mine", "missing"), ("image", "always")]
    assert {(event.phase, event.session_id) for event in events} == {(Phase.IMAGE, "")}


def test_an_image_is_built(launcher: Launcher, engine: FakeEngine, events: list[Event]) -> None:
    assert launcher.build_image() == DEFAULT_IMAGE
    assert launcher.build_image("enterprise-gateway", tag="mine", force=True) == "mine"
    assert engine.images.built == [
        ("jupyter-server", DEFAULT_IMAGE, False),
        ("enterprise-gateway", "mine", True),
    ]
    assert [event.detail for event in events if event.kind is EventKind.PROGRESS] == ["Step 1/2"] * 2


@pytest.mark.parametrize("keep", [None, lambda _: False, lambda _: True])
def test_a_gateway_is_run(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, keep: Callable[[str], bool] | None
) -> None:
    with launcher.run_gateway(tmp_path, image="gateway", network="net", keep=keep) as name:
        assert name.startswith("enterprise-gateway.unit.")
        assert engine.configs[name].network == "net"
        assert engine.images.ensured == [("gateway", "missing")]
    assert bool(engine.known) == bool(keep and keep(name))


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

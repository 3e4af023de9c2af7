"""A session with kernels in containers: it and its gateway are one unit, from the start to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    Event,
    EventKind,
    ExecError,
    Gateway,
    GatewayError,
    KernelImage,
    Mount,
    OptionError,
    Phase,
    PipelineDirError,
    ServerError,
    Session,
    SessionConflictError,
    SessionNotFoundError,
    Stats,
    StopMethod,
)
from jupyter_launcher.acts import run_act
from jupyter_launcher.engine.images import DEFAULT_GATEWAY_IMAGE
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.gateway import unit as unit_module
from jupyter_launcher.gateway.make.request import GatewayRequest
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.sessions import join
from jupyter_launcher.sessions import start as start_module
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.join import get_session, stop_named
from jupyter_launcher.sessions.kernels import ending
from jupyter_launcher.sessions.kernels import unit as session_unit
from jupyter_launcher.sessions.listing import list_ids, list_sessions, reap_sessions
from jupyter_launcher.sessions.phases import StartLimit
from jupyter_launcher.sessions.start import StartRequest, check_request, remove_session, start_session
from jupyter_launcher.sessions.stop import stop_session
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import KERNEL_NAME
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.labels import SessionLabels, ToolLabels
from tests.unit.fakes import (
    HERE,
    FakeEngine,
    FakeJupyter,
    launcher_context,
    not_run,
    refusal,
    session_info,
    session_labels,
)
from tests.unit.sessions.units import DEAD, add_gateway, add_network, add_part, kernel_id, names

Start = Callable[..., Session]

KERNELS = {"py": "kernels/py", "torch": KernelImage("kernels/torch", memory="1g")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, jupyter: FakeJupyter) -> None:
    monkeypatch.setattr(join, "_OTHERS_STEP", 0.05)
    monkeypatch.setattr(ending, "_CONTAINER_SECONDS", 0.05)
    monkeypatch.setattr(unit_module, "find_kernels", find_kernels)
    jupyter.specs = ["py", "torch"]


def find_kernels(_: object, options: KernelOptions, user: str, **_known: object) -> dict[str, FoundKernel]:
    """What is in the images, which nobody looks into here."""
    argv = ("python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
    return {name: FoundKernel(argv=argv, display_name=name, python="/usr/bin/python3") for name in options.images}


@pytest.fixture
def start(context: Context, tmp_path: Path) -> Start:
    """Start a session with kernels as ``Launcher.start`` does."""

    def call(**given: Any) -> Session:
        request = StartRequest(
            pipeline_dir=tmp_path, user=None, session_id=given.pop("session_id", "one"), image="image", pull="missing"
        )
        options = {"host_ip": None, "kernels": KERNELS, **given}
        return run_act(lambda: start_session(context, StartLimit(1, lambda: None), request, options))

    return call


def parts(engine: FakeEngine) -> list[str]:
    """What is there, by the first word of its name."""
    return sorted(name.partition(".")[0] for name in names(engine))


def stop(context: Context, session: Session) -> Any:
    info = context.engine.inspect(session.container_id)
    assert info is not None
    return stop_session(context, info, SessionLabels.of_session(info.labels, info.name))


def test_a_gateway_is_made_with_the_session(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, events: list[Event]
) -> None:
    session = start()
    assert parts(engine) == ["jupyter-server", "kernel-agent", "kernel-agent", "kernel-gateway"]
    assert session.gateway is not None
    info = engine.named(session.gateway.name)
    assert session.gateway.container_id == info.id
    labels = ToolLabels.of_container(info.labels, info.name)
    assert labels is not None
    assert labels.gateway is not None
    mine = SessionLabels.of_session(engine.named(session.container_name).labels, session.container_name)
    assert (labels.gateway.session_start, labels.gateway.session_id) == (mine.start_id, "one")
    assert labels.gateway.start == mine.start_id, "so that all of the unit is found where the gateway is gone"
    assert not labels.gateway.stays
    assert jupyter.bound == ["172.17.0.9"]
    assert mine.options["kernels"] == {
        "images": {"py": {"image": "kernels/py"}, "torch": {"image": "kernels/torch", "memory": 2**30}},
        "isolation": "environment",
        "max_kernels": 16,
        "idle": None,
    }
    ensured = [image for image, _ in engine.images.ensured]
    assert ensured == ["image", DEFAULT_GATEWAY_IMAGE, "kernels/py", "kernels/torch", "image"]
    ended = [event.phase for event in events if event.kind is EventKind.FINISHED]
    assert list(dict.fromkeys(ended)) == [Phase.IMAGE, Phase.GATEWAY, Phase.CONTAINER, Phase.SERVER, Phase.READY]
    assert session.timings.gateway > 0


def test_the_gateway_is_asked_for_as_the_session_is(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[GatewayRequest] = []

    def refuse(_: object, address: object, request: GatewayRequest) -> Any:
        asked.append(request)
        msg = "no"
        raise GatewayError(msg, hint="see why")

    monkeypatch.setattr(session_unit, "make_gateway", refuse)
    tmp_path.chmod(0o777)
    rules = DirectoryRules(roots=(tmp_path.parent,))
    context = launcher_context(engine, rules=rules, engine_socket="/run/an-engine.sock", owner="them")
    request = StartRequest(pipeline_dir=tmp_path, user="1500:1600", session_id="one", image="image", pull="never")
    options = {"network": "lab", "pipeline_relabel": "z", "pipeline_read_only": True, "kernel_idle": 60}
    engine.images.known |= {DEFAULT_GATEWAY_IMAGE, "kernels/py"}
    given = {"host_ip": None, "kernels": {"py": "kernels/py"}, "isolation": "kernel", **options}
    with pytest.raises(GatewayError):
        start_session(context, StartLimit(1, lambda: None), request, given)
    (found,) = asked
    assert found.kernels is not None
    assert (found.kernels.isolation, found.kernels.idle) == ("kernel", 60)
    assert found == GatewayRequest(
        pipeline_dir=tmp_path,
        image=DEFAULT_GATEWAY_IMAGE,
        namespace="unit",
        owner="them",
        network="lab",
        seconds=context.timeouts.start,
        user="1500:1600",
        rules=rules,
        relabel="z",
        read_only=True,
        kernels=found.kernels,
        engine_socket="/run/an-engine.sock",
        session_start=found.session_start,
        session_id="one",
    )
    assert found.session_start
    assert {pull for _, pull in engine.images.ensured} == {"never"}
    assert engine.configs == {}


def test_pull_is_for_the_kernels_images_too_and_not_for_our_gateway(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    limit = StartLimit(1, lambda: None)
    jupyter.specs = ["py"]
    request = StartRequest(pipeline_dir=tmp_path, user=None, session_id="one", image="image", pull="always")
    start_session(context, limit, request, {"host_ip": None, "kernels": {"py": "kernels/py"}})
    assert engine.images.ensured == [
        ("image", "always"),
        (DEFAULT_GATEWAY_IMAGE, "missing"),
        ("kernels/py", "always"),
        ("image", "missing"),
    ]


def test_the_session_is_joined_and_no_gateway_made_again(start: Start, engine: FakeEngine) -> None:
    before = start()
    there = names(engine)
    session = start()
    assert session.joined
    assert (session.container_id, names(engine)) == (before.container_id, there)
    with pytest.raises(SessionConflictError) as caught:
        start(kernels={"py": "kernels/other"}, max_kernels=3)
    assert caught.value.differences == (
        "kernels['py'] was {'image': 'kernels/py'}, now {'image': 'kernels/other'}",
        "kernels['torch'] was {'image': 'kernels/torch', 'memory': 1073741824}, now None",
        "max_kernels was 16, now 3",
    )
    with pytest.raises(SessionConflictError):
        start(kernels=None)
    assert names(engine) == there


@pytest.mark.parametrize("end", ["ended", "removed"])
def test_who_joins_a_session_whose_gateway_has_ended_is_told(
    start: Start, context: Context, engine: FakeEngine, end: str
) -> None:
    before = start().gateway
    assert before is not None
    assert before.container_id is not None
    assert start().warnings == ()
    if end == "ended":
        engine.end(before.container_id, 73)
    else:
        del engine.known[before.container_id]
    session = start()
    assert session.joined
    (told,) = session.warnings
    assert f"gateway {before.name} has ended" in told
    assert get_session(context, "one").warnings == (told,)


def test_what_ended_is_removed_with_its_gateway_and_made_anew(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    before = start()
    engine.end(before.container_id)
    jupyter.started = False
    old = names(engine)
    session = start()
    assert not session.joined
    assert parts(engine) == ["jupyter-server", "kernel-agent", "kernel-agent", "kernel-gateway"]
    assert names(engine) & old == {session.container_name}


def test_what_is_left_of_a_session_that_somebody_removed_goes_before_the_next(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    before = start()
    assert before.gateway is not None
    engine.remove(before.container_id)
    engine.end(before.gateway.name)
    jupyter.started = False
    start()
    assert parts(engine) == ["jupyter-server", "kernel-agent", "kernel-agent", "kernel-gateway"]


@pytest.mark.parametrize(
    "fault",
    ["gateway's create", "agent's start", "session's create", "session's start", "server", "bind", "token", "warnings"],
)
@pytest.mark.parametrize("network", [None, "own"])
def test_nothing_is_left_of_a_start_that_fails(
    start: Start,
    engine: FakeEngine,
    jupyter: FakeJupyter,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    network: str | None,
) -> None:
    create, run, begin, error = engine.create, jupyter.run, engine.start, refusal(500, "no")
    names_of = {"gateway's": "kernel-gateway", "agent's": "kernel-agent", "session's": "jupyter-server"}
    whose, _, call = fault.partition(" ")

    def create_or_not(config: ContainerConfig, name: str) -> str:
        if call == "create" and name.startswith(names_of[whose]):
            raise error
        return create(config, name)

    def start_or_not(container: str, **given: Any) -> None:
        info = engine._find(container)
        if call == "start" and info is not None and info.name.startswith(names_of[whose]):
            raise error
        begin(container, **given)

    def run_or_not(container: str, argv: tuple[str, ...]) -> Any:
        return (
            not_run()
            if len(argv) > 3 and argv[3] == {"bind": "bind", "token": "read"}.get(fault)
            else run(container, argv)
        )

    monkeypatch.setattr(engine, "create", create_or_not)
    monkeypatch.setattr(engine, "start", start_or_not)
    engine.run = run_or_not
    if fault == "warnings":

        def interrupt(*_: object) -> None:
            raise error

        monkeypatch.setattr(start_module, "warn_unlimited", interrupt)
    if fault == "server":
        jupyter.start_answer = not_run("it did not start", started=True, exit_code=3)
    with pytest.raises((EngineError, ExecError, ServerError, GatewayError)):
        start(network=network, isolation="environment")
    assert (names(engine), engine.own_networks) == (set(), {})


def test_two_launchers_at_once_have_one_session_and_one_gateway(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = engine.create
    others: list[Any] = []

    def create_later(config: ContainerConfig, name: str) -> str:
        if name.startswith("jupyter-server") and not others:
            others.append(None)
            monkeypatch.setattr(engine, "create", create)
            others.append(start())
        return create(config, name)

    monkeypatch.setattr(engine, "create", create_later)
    session = start()
    assert session.joined
    assert session.container_id == others[1].container_id
    assert parts(engine) == ["jupyter-server", "kernel-agent", "kernel-agent", "kernel-gateway"]


def test_a_session_without_an_address_on_the_gateways_network(
    start: Start, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    def forget(container: str) -> None:
        info = engine._find(container)
        if info is not None and info.name.startswith("jupyter-server"):
            engine.change(container, networks={"bridge": ""})

    engine.on_start = forget
    with pytest.raises(GatewayError, match="has no address on network 'bridge'"):
        start()
    assert names(engine) == set()


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"gateway": "gw"}, "kernels"),
        ({"pipeline_relabel": "Z"}, "pipeline_relabel"),
        ({"kernels": None, "isolation": "kernel"}, "isolation"),
        ({"kernels": None, "max_kernels": 3}, "max_kernels"),
        ({"kernels": None, "kernel_idle": 3}, "kernel_idle"),
        ({"kernels": {}}, "kernels"),
        ({"kernels": {"py": KernelImage("image", memory="many")}}, "kernels"),
        ({"kernels": {"py": KernelImage("image", mounts=[Mount(source="/dev", target="/data")])}}, "kernels"),
        ({"kernels": {"py": KernelImage("image", cpus=100.0)}}, "kernels"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    start: Start, engine: FakeEngine, options: dict[str, Any], option: str
) -> None:
    with pytest.raises((OptionError, PipelineDirError)) as caught:
        start(**options)
    assert getattr(caught.value, "option", option) == option
    assert caught.value.hint
    assert [call for call, _ in engine.calls if call in ("create", "create_network")] == []


def test_a_user_by_name_is_refused(context: Context, engine: FakeEngine, tmp_path: Path) -> None:
    request = StartRequest(pipeline_dir=tmp_path, user="jovyan", session_id="one", image="image", pull="missing")
    with pytest.raises(OptionError) as caught:
        check_request(context, request, {"host_ip": None, "kernels": KERNELS})
    assert caught.value.option == "user"


def test_a_start_that_nobody_waited_for_is_undone_with_its_gateway(
    start: Start, context: Context, engine: FakeEngine
) -> None:
    remove_session(context, start())
    assert names(engine) == set()


def test_a_shared_gateway_stays_where_a_start_is_undone(start: Start, context: Context, engine: FakeEngine) -> None:
    made = add_gateway(engine, "s1", networks={"bridge": "172.17.0.8"})
    remove_session(context, start(kernels=None, gateway=made.name))
    assert names(engine) == {made.name}


def test_stop_removes_the_unit(start: Start, context: Context, engine: FakeEngine, jupyter: FakeJupyter) -> None:
    session = start(isolation="environment", network="own")
    assert engine.own_networks
    jupyter.kernels = {"a", "b"}
    report = stop(context, session)
    assert (report.method, report.kernels, report.kernels_gone) == (StopMethod.API, ("a", "b"), ("a", "b"))
    assert (names(engine), engine.own_networks) == (set(), {})


def unit(engine: FakeEngine, jupyter: FakeJupyter, **changes: Any) -> SessionLabels:
    """A session and its own gateway with a broker, whose kernels have containers of their own."""
    engine.every_network = HERE
    engine.known["9" * 64] = gateway = replace(
        add_gateway(
            engine,
            "start-1",
            mark=DEAD,
            known={"session_start": "start-1", "session_id": "one"},
            networks={"bridge": "127.0.0.1"},
        ),
        id="9" * 64,
    )
    for item in [info for info in engine.known.values() if info.name == gateway.name and info.id != gateway.id]:
        del engine.known[item.id]
    add_part(engine, "broker", "start-1")
    found = Gateway(name=gateway.name, url=jupyter.url.rstrip("/"), container_id=gateway.id)
    labels = session_labels(found, kernels={"py": "image"}, isolation="kernel")
    jupyter.add(session_info(labels, id="5" * 64, **changes))
    return labels


def test_a_units_kernels_are_told_also_where_the_server_was_killed(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    labels = unit(engine, jupyter, state="exited", exit_code=137)
    add_part(engine, "kernel", "start-1", number=1, of="start-1")
    add_part(engine, "kernel", "start-1", number=2)  # another client's, on the session's own gateway
    report = stop_session(context, engine.known["5" * 64], labels)
    assert report.method is StopMethod.ALREADY_STOPPED
    assert set(report.kernels) == set(report.kernels_gone) == {kernel_id(1), kernel_id(2)}
    assert names(engine) == set()


@pytest.mark.parametrize("gone", [("5" * 64,), ("9" * 64,), ("5" * 64, "9" * 64)], ids=["session", "gateway", "both"])
def test_a_unit_is_removed_where_somebody_removed_a_part_of_it(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter, gone: tuple[str, ...]
) -> None:
    labels = unit(engine, jupyter, state="exited", exit_code=137)
    add_part(engine, "kernel", "start-1", number=1, of="start-1")
    add_network(engine, "start-1")
    info = engine.known["5" * 64]
    for container in gone:
        del engine.known[container]
    report = stop_session(context, info, labels)
    assert report.kernels == report.kernels_gone == (kernel_id(1),)
    assert (names(engine), engine.own_networks) == (set(), {})


def test_a_unit_that_cannot_be_removed_is_no_success(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    labels = unit(engine, jupyter, state="exited", exit_code=137)
    remove = engine.remove

    def refuse(container: str) -> None:
        if container == "9" * 64:
            raise refusal(500, "busy")
        remove(container)

    engine.remove = refuse  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="busy"):
        stop_session(context, engine.known["5" * 64], labels)
    assert [name.partition(".")[0] for name in names(engine)] == ["kernel-gateway"]


def test_a_session_that_is_gone_is_stopped_by_its_id_while_its_gateway_is_left(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    unit(engine, jupyter, state="exited")
    add_part(engine, "kernel", "start-1", number=1, of="start-1")
    del engine.known["5" * 64]
    other = add_gateway(
        engine, "s2", gateway_id="2" * 12, mark=DEAD, known={"session_start": "s2", "session_id": "two"}
    )
    report = stop_named(context, "one")
    assert (report.method, report.kernels) == (StopMethod.ALREADY_STOPPED, (kernel_id(1),))
    assert names(engine) == {other.name}
    with pytest.raises(SessionNotFoundError):
        stop_named(context, "one")


def test_the_gateway_of_a_session_that_is_just_being_started_is_left_alone(
    context: Context, engine: FakeEngine
) -> None:
    made = add_gateway(engine, "s1", known={"session_start": "s1", "session_id": "one"})
    with pytest.raises(SessionNotFoundError):
        stop_named(context, "one")
    assert names(engine) == {made.name}


def test_reap_removes_a_session_that_ended_with_its_unit(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    unit(engine, jupyter, state="exited", exit_code=0)
    add_part(engine, "kernel", "start-1", number=1, of="start-1")
    (found,) = reap_sessions(context, min_age=0.0, keep=None, owner=None, dry_run=False)
    assert found.report is not None
    assert found.report.kernels == (kernel_id(1),)
    assert names(engine) == set()


def shared(engine: FakeEngine, jupyter: FakeJupyter, isolation: str = "kernel") -> SessionLabels:
    """A session on a gateway that others use too."""
    engine.every_network = HERE
    made = add_gateway(engine, "g1", networks={"bridge": "127.0.0.1"}, known={"isolation": isolation})
    return session_labels(Gateway(name=made.name, url=jupyter.url.rstrip("/"), container_id=made.id))


@pytest.mark.parametrize("known", [True, False], ids=["listed", "killed"])
def test_of_a_shared_gateway_only_the_sessions_own_kernels_end(
    context: Context,
    engine: FakeEngine,
    jupyter: FakeJupyter,
    known: bool,  # noqa: FBT001 - a case
) -> None:
    labels = shared(engine, jupyter)
    mine = [add_part(engine, "kernel", "g1", number=number, of="start-1") for number in (1, 2)]
    add_part(engine, "kernel", "g1", number=3, of="start-2")
    add_part(engine, "kernel", "g1", number=4)
    jupyter.kernels = {kernel_id(number) for number in (1, 2, 3, 4)} if not known else {kernel_id(1), kernel_id(2)}
    answer = jupyter.answer

    def answer_and_remove(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if method == "DELETE":  # as a broker does
            for info in mine:
                if info.name.endswith(path.rpartition("/")[2]):
                    engine.known.pop(info.id, None)
        return answer(method, path, headers)

    jupyter.answer = answer_and_remove  # type: ignore[method-assign]
    changes = {} if known else {"state": "exited", "exit_code": 137}
    info = jupyter.add(session_info(labels, id="5" * 64, **changes))
    report = stop_session(context, info, labels)
    assert set(report.kernels) == set(report.kernels_gone) == {kernel_id(1), kernel_id(2)}
    left = {name for name in names(engine) if name.startswith("jupyter-kernel")}
    assert left == {f"jupyter-kernel.unit.{kernel_id(number)}" for number in (3, 4)}
    assert any(name.startswith("kernel-gateway") for name in names(engine))
    assert kernel_id(3) not in report.kernels_of_others
    deleted = {path.rpartition("/")[2] for method, path in jupyter.asked if method == "DELETE"}
    assert deleted == {kernel_id(1), kernel_id(2)}, "gracefully, by the gateway"


@pytest.mark.parametrize("state", ["running", "exited", "gone"])
def test_a_container_that_no_broker_removes_is_removed_here(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter, state: str
) -> None:
    labels = shared(engine, jupyter)
    add_part(engine, "kernel", "g1", number=1, of="start-1")
    (gateway,) = [info for info in engine.known.values() if info.name.startswith("kernel-gateway")]
    if state == "gone":
        del engine.known[gateway.id]
    else:
        engine.change(gateway.id, state=state)
    info = jupyter.add(session_info(labels, id="5" * 64, state="exited", exit_code=137))
    report = stop_session(context, info, labels)
    assert report.kernels == report.kernels_gone == (kernel_id(1),)
    assert [name for name in names(engine) if name.startswith("jupyter-kernel")] == []


def test_the_marks_of_kernels_are_looked_for_where_they_run(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    labels = shared(engine, jupyter, "environment")
    agents = [add_part(engine, "agent", "g1", number=number) for number in (0, 1)]
    add_part(engine, "agent", "g1", number=2, state="exited")
    jupyter.marked = ["a", "b"]
    looked: list[str] = []
    run = jupyter.run

    def look(container: str, argv: tuple[str, ...]) -> Any:
        if argv[3] == "find":
            looked.append(container)
        return run(container, argv)

    engine.run = look
    info = jupyter.add(session_info(labels, id="5" * 64, state="exited", exit_code=137))
    report = stop_session(context, info, labels)
    assert (report.kernels, report.kernels_gone) == (("a", "b"), ("a", "b"))
    assert looked == [info.id for info in agents]


def test_kernels_are_listed_with_their_session_by_one_call(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    labels = shared(engine, jupyter)
    add_part(engine, "kernel", "g1", number=1, of="start-1")
    add_part(engine, "kernel", "g1", number=2, of="start-2", state="exited")
    add_part(engine, "agent", "g1")
    for start_id, session_id in (("start-1", "one"), ("start-2", "two"), ("start-3", "three")):
        other = session_labels(labels.gateway, start_id, session_id=session_id)
        jupyter.add(session_info(other, id=start_id.replace("-", "") * 10))
    engine.calls.clear()
    found = {item.session_id: item.kernels for item in list_sessions(context, probe=False)}
    assert engine.calls == [("containers", "")]
    assert {session_id: [item.kernel_id for item in kernels] for session_id, kernels in found.items()} == {
        "one": [kernel_id(1)],
        "two": [kernel_id(2)],
        "three": [],
    }
    assert [(item.name, item.image, item.state) for item in found["two"]] == [("py", "image", "exited")]
    assert set(list_ids(context)) == {"one", "two", "three"}


def test_a_kernel_of_an_image_that_was_committed_from_a_session_is_no_session(
    context: Context, engine: FakeEngine
) -> None:
    copied = session_labels().to_labels()
    labels = {name: text for name, text in copied.items() if not name.endswith(("namespace", "owner"))}
    add_part(engine, "kernel", "g1", number=1, of="start-1", more=labels)
    assert (list_sessions(context), list_ids(context)) == ([], [])
    assert reap_sessions(context, min_age=0.0, keep=[], owner=None, dry_run=False) == []


def test_the_use_of_kernels_is_asked_with_that_of_the_session(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    labels = shared(engine, jupyter)
    first = add_part(engine, "kernel", "g1", number=1, of="start-1")
    add_part(engine, "kernel", "g1", number=2, of="start-1", state="exited")
    add_part(engine, "kernel", "g1", number=3, of="start-2")
    gone = add_part(engine, "kernel", "g1", number=4, of="start-1")
    info = jupyter.add(session_info(labels, id="5" * 64))
    used = {info.id: Stats(memory=1), first.id: Stats(memory=2)}

    def stats(container: str) -> Stats:
        if container == gone.id:
            raise refusal(404, "it has ended")
        return used[container]

    engine.stats = stats  # type: ignore[method-assign]
    session = get_session(context, "one")
    assert session.stats() == Stats(memory=1, kernels={kernel_id(1): Stats(memory=2)})


def test_the_use_of_agents_is_that_of_a_sessions_own_gateway(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    unit(engine, jupyter)
    add_part(engine, "agent", "start-1")
    add_part(engine, "agent", "start-1", number=1, more={KERNEL_NAME: "other"}, state="exited")
    engine.used = Stats(memory=7)
    assert get_session(context, "one").stats() == Stats(memory=7, kernels={"py": Stats(memory=7)})


def test_the_agents_of_a_shared_gateway_are_not_one_sessions(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter
) -> None:
    labels = shared(engine, jupyter, "environment")
    add_part(engine, "agent", "g1")
    jupyter.add(session_info(labels, id="5" * 64))
    engine.used = Stats(memory=7)
    assert get_session(context, "one").stats() == Stats(memory=7)

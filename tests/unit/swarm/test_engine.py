"""``SwarmEngine`` over a manager whose answers are made up."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    ExecError,
    ImageNotFoundError,
    OptionError,
    PipelineDirError,
    PlacementError,
    Swarm,
    UnsupportedOptionError,
)
from jupyter_launcher.engine import connection
from jupyter_launcher.engine.protocol import Engine, NodesEngine
from jupyter_launcher.engine.swarm import lifecycle
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.engine.swarm.shapes import service_name
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.waiting import Deadline
from tests.unit.sdk import FakeApi, api_error, docker_engine, framed, http_response, inspected, sdk_client
from tests.unit.swarm.answers import (
    CONTAINER,
    IMAGE_ID,
    NAME,
    SERVICE,
    TASK,
    FakeManager,
    no_quorum,
    node_engine,
    raw_node,
    raw_service,
    raw_task,
)

CONFIG = ContainerConfig(image="image:1", labels={"attempt": "first"})


def running(**changes: Any) -> FakeManager:
    """A manager with one session that runs on node 2."""
    return FakeManager(services=[raw_service()], tasks=[raw_task(**changes)])


def on_node_2(manager: FakeManager, **answers: Any) -> tuple[SwarmEngine, Any]:
    """The swarm, and the API of node 2's engine."""
    node = node_engine(2, **answers)
    return manager.swarm(Swarm(engines={"node2": "tcp://n2:1"}), lambda _: node), node.api


def hasten(monkeypatch: pytest.MonkeyPatch, *, start: float = 0.2, unplaced: float = 0.05) -> None:
    monkeypatch.setattr(lifecycle, "_START_SECONDS", start)
    monkeypatch.setattr(lifecycle, "_UNPLACED_SECONDS", unplaced)


def raise_(error: Exception) -> Any:
    raise error


def one_by_one(*answers: object) -> Callable[..., Any]:
    """A call that answers otherwise each time; an error is raised."""
    left = iter(answers)
    return lambda *_, **__: raise_(found) if isinstance(found := next(left), Exception) else found


def test_it_is_an_engine() -> None:
    engine = running().swarm()
    plain: Engine = engine
    nodes: NodesEngine = engine
    assert (plain.endpoint, nodes.proxies.values) == ("unix:///x", {})


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({}, "is no manager of a swarm"),
        ({"Swarm": {"NodeID": "", "ControlAvailable": False}}, "is no manager"),
        ({"Swarm": {"NodeID": "n2", "ControlAvailable": False}}, "but one of its workers"),
    ],
)
def test_what_is_no_manager_is_refused(info: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        SwarmEngine.from_manager(Swarm(), docker_engine(FakeApi(info=info)), lambda _: raise_(AssertionError()))
    assert caught.value.option == "swarm"


def test_a_client_that_was_handed_in_is_refused() -> None:
    with pytest.raises(OptionError, match="needs an address") as caught:
        SwarmEngine.connect(Swarm(), client=sdk_client(FakeApi()))
    assert caught.value.option == "client"


def test_the_connection_is_closed_where_the_engine_is_no_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = sdk_client(FakeApi(info={}))
    monkeypatch.setattr(connection, "_make_client", lambda *_: (client, None))
    with pytest.raises(OptionError, match="no manager"):
        SwarmEngine.connect(Swarm(), docker_host="unix:///made/up")
    assert client.closed


def test_nodes_are_reached_as_the_manager_is(monkeypatch: pytest.MonkeyPatch) -> None:
    targets: list[tuple[str, float]] = []
    apis = {"tcp://10.77.0.1:2376": running().api, "tcp://10.77.0.2:2376": node_engine(2).api}

    def make(target: Any, timeout: float) -> Any:
        targets.append((target.endpoint, timeout))
        return sdk_client(apis[target.endpoint]), None  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "_make_client", make)
    engine = SwarmEngine.connect(Swarm(), docker_host="tcp://10.77.0.1:2376", timeout=7.0)
    node = engine.nodes()[1]
    assert engine.engine_of(node).endpoint == "tcp://10.77.0.2:2376"
    assert targets == [("tcp://10.77.0.1:2376", 7.0), ("tcp://10.77.0.2:2376", 7.0)]
    engine.close()


def test_nothing_of_the_manager_is_taken_for_this_process_s() -> None:
    traits = running().swarm().traits
    assert (traits.name, traits.same_kernel, traits.rootless, traits.cores) == ("Docker", False, False, None)


def test_what_the_manager_tells() -> None:
    manager = running()
    manager.api.answers["inspect_network"] = {"Driver": "overlay", "IPAM": {"Config": [{"Subnet": "10.0.1.0/24"}]}}
    engine = manager.swarm()
    assert (engine.heartbeat(), engine.now()) == (20.0, 1700000060.0)
    assert [node.hostname for node in engine.nodes()] == ["node1", "node2", "node3"]
    network = engine.network("lan")
    assert network is not None
    assert network.driver == "overlay"


@pytest.mark.parametrize("asked", [NAME, SERVICE, CONTAINER, service_name(NAME)])
def test_a_container_is_found_by_its_name_its_service_and_its_own_id(asked: str) -> None:
    info = running().swarm().inspect(asked)
    assert info is not None
    assert (info.id, info.name, info.state, info.node) == (CONTAINER, NAME, "running", "node2")


def test_a_container_that_was_seen_is_not_searched_for() -> None:
    manager = running()
    engine = manager.swarm()
    engine.inspect(NAME)
    manager.api.asked.clear()
    assert engine.inspect(CONTAINER) is not None
    assert manager.api.names == ["inspect_service", "tasks", "inspect_node"]


def test_a_container_that_is_gone() -> None:
    manager = running()
    engine = manager.swarm()
    engine.inspect(NAME)
    manager.services.clear()
    manager.tasks.clear()
    assert engine.inspect(NAME) is None
    assert engine.inspect(CONTAINER) is None


def test_a_container_of_the_manager_s_own_engine() -> None:
    manager = FakeManager()
    config = {"Image": "image", "Labels": {"jupyter-launcher.inputs": "of our image"}}
    manager.api.answers["inspect_container"] = inspected(Id=CONTAINER, Name="/mine", Config=config)
    for asked in ("mine", CONTAINER):
        info = manager.swarm().inspect(asked)
        assert info is not None
        assert (info.name, info.node, info.host) == ("mine", "node1", "10.77.0.1")


@pytest.mark.parametrize("asked", [NAME, CONTAINER])
def test_a_session_of_a_launcher_without_a_swarm_is_no_session_of_it(asked: str) -> None:
    manager = FakeManager()
    config = {"Image": "image", "Labels": {"jupyter-launcher.attempt": "x"}}
    manager.api.answers["inspect_container"] = inspected(Id=CONTAINER, Name=f"/{NAME}", Config=config)
    assert manager.swarm().inspect(asked) is None


def test_the_beginning_of_an_id_finds_no_service() -> None:
    manager = running()
    manager.api.answers["inspect_service"] = raw_service()  # as the manager answers it
    assert manager.swarm().service("sss") is None
    assert manager.swarm().service("no.service") is None
    assert manager.swarm().service(SERVICE) == SERVICE


def test_the_entrypoint_of_the_image_where_the_service_keeps_it() -> None:
    manager = FakeManager(services=[raw_service(container={"Command": None})], tasks=[raw_task()])
    manager.images = {"image:1": {"Id": IMAGE_ID, "Config": {"Entrypoint": ["tini", "--"]}}}
    info = manager.swarm().inspect(NAME)
    assert info is not None
    assert info.entrypoint == ("tini", "--")


@pytest.mark.parametrize("killed", [True, False])
def test_only_the_node_s_engine_tells_of_memory(*, killed: bool) -> None:
    state = {"Status": "exited", "ExitCode": 137, "OOMKilled": killed}
    engine, _ = on_node_2(
        running(state="failed", code=137, error="task: non-zero exit (137)"),
        inspect_container=inspected(Id=CONTAINER, State=state),
    )
    info = engine.inspect(NAME)
    assert info is not None
    assert (info.exit_code, info.oom_killed) == (137, killed)


def test_a_node_that_cannot_be_asked_tells_nothing_of_memory() -> None:
    manager = running(state="failed", code=137, error="task: non-zero exit (137)")
    info = manager.swarm(Swarm(), lambda _: raise_(AssertionError())).inspect(NAME)
    assert info is not None
    assert info.oom_killed is False


def test_the_list_is_three_calls_to_the_manager() -> None:
    manager = running()
    other = raw_service("jupyter-server.unit.two", ID="o" * 25)
    other["Spec"]["Labels"] |= {"attempt": "second"}
    manager.services += [other, raw_service("x") | {"Spec": {**raw_service("x")["Spec"], "Labels": {}}}]
    manager.tasks.append(raw_task(ID="u", ServiceID="o" * 25, NodeID="n3", attempt="second"))
    manager.nodes[2] = raw_node(3, "down")
    found = manager.swarm().containers("attempt")
    assert manager.api.names == ["tasks", "nodes", "services"]
    assert [(item.name, item.state, item.node) for item in found] == [
        (NAME, "running", "node2"),
        ("jupyter-server.unit.two", "unreachable", "node3"),
    ]
    assert [item.name for item in manager.swarm().containers("attempt=second")] == ["jupyter-server.unit.two"]
    assert manager.api.asked[-1][2]["filters"] == {"label": ["attempt=second", "jupyter-launcher.name"]}


@pytest.mark.parametrize(("minute", "state"), [("22:13", "exited"), ("22:14", "created")])
def test_a_listed_service_without_a_task_is_judged_by_the_manager_s_clock(minute: str, state: str) -> None:
    manager = FakeManager(services=[raw_service(CreatedAt=f"2023-11-14T{minute}:10Z")])
    assert [item.state for item in manager.swarm().containers()] == [state]


def test_a_service_is_made_of_the_image_s_id_with_all_constraints() -> None:
    manager = FakeManager()
    engine = manager.swarm(Swarm(constraints=("node.role==worker",), network="lan", publish="all"))
    more = engine.constrained(("node.hostname==node2", "node.role==worker"))
    assert more.create(CONFIG, NAME) == SERVICE
    (body,) = manager.bodies
    template = body["TaskTemplate"]
    assert (body["Name"], template["ContainerSpec"]["Image"]) == (service_name(NAME), IMAGE_ID)
    assert template["Placement"]["Constraints"] == ["node.role==worker", "node.hostname==node2"]
    assert engine.constrained(()) is engine


def test_an_image_that_the_manager_lacks() -> None:
    with pytest.raises(EngineError, match="No such image: other:1") as caught:
        FakeManager().swarm().create(ContainerConfig(image="other:1"), NAME)
    assert caught.value.status == 404


def test_what_no_service_can_have_is_refused_before_anything_is_made() -> None:
    manager = FakeManager()
    with pytest.raises(UnsupportedOptionError, match="gpus"):
        manager.swarm().create(ContainerConfig(image="image:1", gpus="all"), NAME)
    assert manager.bodies == []


def conflict() -> requests.Response:
    return http_response(b'{"message": "name conflicts with an existing object"}', 409, to="POST /services/create")


def test_the_name_is_the_lock() -> None:
    manager = FakeManager(on_create=lambda _: conflict())
    with pytest.raises(EngineError) as caught:
        manager.swarm().create(CONFIG, NAME)
    assert caught.value.status == 409


def test_a_service_that_is_too_large_for_the_managers() -> None:
    words = b'{"message": "rpc error: code = Unknown desc = raft: raft message is too large and can\'t be sent"}'
    manager = FakeManager(on_create=lambda _: http_response(words, 500, to="POST /services/create"))
    with pytest.raises(UnsupportedOptionError, match="too large") as caught:
        manager.swarm().create(CONFIG, NAME)
    assert caught.value.option == "labels"


def test_a_service_that_runs_is_a_conflict_too() -> None:
    manager = running()
    with pytest.raises(EngineError, match="already") as caught:
        manager.swarm().create(CONFIG, NAME)
    assert (caught.value.status, manager.bodies) == (409, [])


def test_a_container_of_a_removed_service_is_waited_for() -> None:
    manager = FakeManager(tasks=[raw_task(DesiredState="remove")])
    looks = iter([manager.tasks[0], manager.tasks[0], api_error(404, "task not found")])
    manager.api.answers["inspect_task"] = lambda _: (
        raise_(found) if isinstance(found := next(looks), Exception) else found
    )
    assert manager.swarm().create(CONFIG, NAME) == SERVICE
    assert manager.api.names.count("inspect_task") == 3
    assert manager.api.names.index("inspect_task") < manager.api.names.index("post")


def test_a_container_of_a_removed_service_that_takes_its_time_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_KILL_SECONDS", 0.0)
    monkeypatch.setattr(lifecycle, "_GRACE", 0.1)
    monkeypatch.setattr(lifecycle, "_MORE", 0.0)
    manager = FakeManager(tasks=[raw_task(DesiredState="remove")])
    engine, node = on_node_2(manager)
    with pytest.raises(EngineError, match="does not end"):
        engine.create(CONFIG, NAME)
    assert (node.names, manager.bodies) == ([], [])


def test_the_container_of_another_session_is_neither_waited_for_nor_killed() -> None:
    """Of two filters for one label the manager takes one, and tells of the others' tasks too."""
    manager = FakeManager(tasks=[raw_task(name="jupyter-server.unit.two")])
    engine, node = on_node_2(manager)
    assert engine.create(CONFIG, NAME) == SERVICE
    (asked,) = [options for name, _, options in manager.api.asked if name == "tasks"]
    assert asked == {"filters": {"label": [f"jupyter-launcher.name={NAME}"]}}
    assert ("inspect_task" in manager.api.names, node.names) == (False, [])


def test_a_node_that_is_unknown_for_a_moment_is_waited_for() -> None:
    """So it is after a manager has come back: its containers run."""
    manager = FakeManager(tasks=[raw_task(DesiredState="remove")])
    manager.api.answers["inspect_node"] = one_by_one(raw_node(2, "unknown"), raw_node(2), *[raw_node(2, "down")] * 2)
    assert manager.swarm().create(CONFIG, NAME) == SERVICE
    assert manager.api.names.count("inspect_task") == 3


def test_a_copy_of_a_service_with_its_labels_is_neither_waited_for_nor_killed() -> None:
    copy = raw_service(ID="o" * 25)
    copy["Spec"]["Name"] = "copy"
    manager = FakeManager(services=[copy], tasks=[raw_task(ServiceID="o" * 25)])
    engine, node = on_node_2(manager)
    assert engine.create(CONFIG, NAME) == SERVICE
    assert ("inspect_task" in manager.api.names, node.names) == (False, [])


def test_a_container_on_a_node_that_is_away_is_not_waited_for() -> None:
    manager = FakeManager(tasks=[raw_task(DesiredState="remove")], nodes=[raw_node(1), raw_node(2, "down")])
    assert manager.swarm().create(CONFIG, NAME) == SERVICE


def lost(manager: FakeManager, made: Mapping[str, Any] | None) -> Callable[[Mapping[str, Any]], Any]:
    """A create whose answer is lost; ``made``: the labels of the service that is there then."""

    def create(body: Mapping[str, Any]) -> Any:
        if made is not None:
            manager.services.append(raw_service(Spec={**body, "Labels": {**body["Labels"], **made}}))
        msg = "cut"
        raise requests.ConnectionError(msg)

    return create


def test_a_create_whose_answer_is_lost_is_looked_for() -> None:
    manager = FakeManager()
    manager.on_create = lost(manager, {})
    assert manager.swarm().create(CONFIG, NAME) == SERVICE


def test_a_create_whose_answer_is_lost_may_have_been_another_s() -> None:
    manager = FakeManager()
    manager.on_create = lost(manager, {"attempt": "second"})
    with pytest.raises(EngineError) as caught:
        manager.swarm().create(CONFIG, NAME)
    assert caught.value.status == 409


def test_a_create_that_came_to_nothing() -> None:
    manager = FakeManager()
    manager.on_create = lost(manager, None)
    with pytest.raises(EngineUnavailableError, match="cut"):
        manager.swarm().create(CONFIG, NAME)


def test_without_a_quorum_nothing_is_made_and_the_error_says_so() -> None:
    manager = FakeManager(on_create=lambda _: raise_(no_quorum()))
    with pytest.raises(EngineUnavailableError, match="no quorum"):
        manager.swarm().create(CONFIG, NAME)


def test_without_a_quorum_the_list_says_so() -> None:
    manager = running()
    manager.api.answers["tasks"] = no_quorum()
    with pytest.raises(EngineUnavailableError, match="no quorum"):
        manager.swarm().containers()


def test_a_manager_that_does_not_answer_may_have_no_quorum() -> None:
    manager = running()
    manager.api.answers["tasks"] = requests.ReadTimeout("timed out")
    with pytest.raises(EngineUnavailableError, match="timed out") as caught:
        manager.swarm().containers()
    assert "no quorum" in caught.value.hint


def test_a_start_waits_until_the_task_runs() -> None:
    manager = running()
    states = iter([[], [raw_task("pending", NodeID="")], [raw_task("preparing")], [raw_task("starting")]])
    manager.api.answers["tasks"] = lambda filters: next(states, [raw_task()])
    manager.swarm().start(SERVICE)
    assert manager.api.names.count("tasks") == 5


@pytest.mark.parametrize(
    ("state", "error"), [("complete", ""), ("failed", "task: non-zero exit (3)"), ("shutdown", "")]
)
def test_a_start_of_what_has_run_already_is_no_failure(state: str, error: str) -> None:
    running(state=state, error=error).swarm().start(SERVICE)


def test_a_start_of_no_service() -> None:
    with pytest.raises(EngineError) as caught:
        FakeManager().swarm().start(NAME)
    assert caught.value.status == 404


def test_a_start_of_a_service_that_is_removed_meanwhile() -> None:
    manager = FakeManager(services=[raw_service()])
    looks = iter([raw_service(), raw_service(), api_error(404, "gone")])
    manager.api.answers["inspect_service"] = lambda _: (
        raise_(found) if isinstance(found := next(looks), Exception) else found
    )
    with pytest.raises(EngineError, match="was removed before it ran"):
        manager.swarm().start(SERVICE)


def test_a_node_without_the_directory() -> None:
    words = 'invalid mount config for type "bind": bind source path does not exist: /srv/p'
    with pytest.raises(PipelineDirError, match="on node node2") as caught:
        running(state="rejected", error=words).swarm().start(SERVICE)
    assert caught.value.path == "/srv/p"


def test_a_node_without_the_image_is_asked_again_by_the_next_start() -> None:
    manager = running(state="rejected", error=f"No such image: {IMAGE_ID}")
    engine = manager.swarm()
    engine.images._memory.remember("n2", IMAGE_ID)
    with pytest.raises(ImageNotFoundError, match="image image:1 is not on node node2"):
        engine.start(SERVICE)
    assert not engine.images._memory.has("n2", IMAGE_ID)


def test_no_node_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch, start=30.0)
    waiting = raw_task("pending", NodeID="", error="no suitable node (scheduling constraints not satisfied on 3 nodes)")
    with pytest.raises(PlacementError, match=r"within 0 s: no suitable node .*constraints not satisfied"):
        FakeManager(services=[raw_service()], tasks=[waiting]).swarm().start(SERVICE)


def test_a_task_that_nobody_takes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)
    with pytest.raises(PlacementError, match="it has no task"):
        FakeManager(services=[raw_service()]).swarm().start(SERVICE)


@pytest.mark.parametrize(
    ("state", "expected", "words"),
    [("ready", EngineError, "its task is preparing"), ("down", EngineUnavailableError, "node node2 is down")],
)
def test_a_task_that_does_not_get_to_run(
    monkeypatch: pytest.MonkeyPatch, state: str, expected: type[EngineError], words: str
) -> None:
    hasten(monkeypatch)
    manager = running(state="preparing")
    manager.nodes[1] = raw_node(2, state)
    with pytest.raises(expected, match=words):
        manager.swarm().start(SERVICE)


def test_a_task_that_the_swarm_ends_before_it_runs() -> None:
    with pytest.raises(EngineError, match="ended container"):
        running(state="starting", DesiredState="shutdown").swarm().start(SERVICE)


def test_a_wait_ends_with_the_task() -> None:
    manager = running()
    looks = iter([raw_task(), raw_task(), raw_task("failed", code=3, error="task: non-zero exit (3)")])
    manager.api.answers["inspect_task"] = lambda _: next(looks)
    assert manager.swarm().wait(SERVICE, Deadline(10.0)) == 3


def test_a_wait_ends_with_the_removal() -> None:
    manager = running()
    engine = manager.swarm()
    engine.inspect(NAME)
    manager.services.clear()
    manager.tasks.clear()
    assert engine.wait(CONTAINER, Deadline(10.0)) == -1


def test_a_wait_ends_at_its_deadline() -> None:
    engine = running().swarm()
    assert engine.wait(NAME, Deadline(0.0)) is None
    assert engine.wait(NAME, Deadline(0.05)) is None


def test_a_wait_goes_on_while_the_node_is_away() -> None:
    manager = running(DesiredState="shutdown")
    manager.nodes[1] = raw_node(2, "down")
    assert manager.swarm().wait(NAME, Deadline(0.05)) is None


def removal(manager: FakeManager, *looks: object) -> None:
    """What the manager knows of the task after the service was removed."""
    answers = iter([*looks, api_error(404, "task not found")])
    manager.api.answers["inspect_task"] = lambda _: (
        raise_(found) if isinstance(found := next(answers), Exception) else found
    )


def test_a_removal_waits_until_the_container_is_gone() -> None:
    manager = running()
    removal(manager, raw_task(), raw_task("shutdown"))
    manager.swarm().remove(NAME)
    assert manager.services == []
    assert manager.api.names.count("inspect_task") == 2


def test_what_the_node_has_not_removed_yet_is_removed_there() -> None:
    manager = running()
    removal(manager)
    engine, node = on_node_2(manager)
    engine.remove(NAME)
    assert node.arguments("remove_container") == (CONTAINER,)


def test_a_task_that_just_got_its_container_is_removed_too() -> None:
    manager = FakeManager(services=[raw_service()], tasks=[raw_task("pending", NodeID="", container="")])
    removal(manager, raw_task("starting"))
    engine, node = on_node_2(manager)
    engine.remove(NAME)
    assert node.arguments("remove_container") == (CONTAINER,)


def test_a_task_without_a_node_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_UNPLACED_TASK_SECONDS", 0.0)
    manager = FakeManager(services=[raw_service()], tasks=[raw_task("pending", NodeID="", container="")])
    removal(manager, *[raw_task("pending", NodeID="", container="")] * 2)
    manager.swarm().remove(NAME)
    assert manager.services == []


def test_a_removal_of_nothing_is_done() -> None:
    FakeManager().swarm().remove(NAME)


def test_a_removal_does_not_wait_for_a_node_that_is_away() -> None:
    manager = running()
    removal(manager, *[raw_task()] * 9)
    manager.nodes[1] = raw_node(2, "down")
    manager.swarm().remove(NAME)
    assert manager.services == []


def test_a_container_that_does_not_end_is_killed_on_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_KILL_SECONDS", 0.0)
    manager = running()
    engine, node = on_node_2(manager)

    def look(_: str) -> Any:
        if "remove_container" in node.names:
            raise api_error(404, "task not found")
        return raw_task()

    manager.api.answers["inspect_task"] = look
    engine.remove(NAME)
    assert "remove_container" in node.names


def test_a_container_that_does_not_end_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_KILL_SECONDS", 0.0)
    monkeypatch.setattr(lifecycle, "_MORE", 0.1)
    manager = FakeManager(services=[raw_service(container={"StopGracePeriod": 0})], tasks=[raw_task()])
    manager.api.answers["inspect_task"] = raw_task()
    engine, _ = on_node_2(manager, remove_container=api_error(500, "busy"))
    with pytest.raises(EngineError, match="does not end"):
        engine.remove(NAME)


def test_a_service_of_somebody_else_is_never_removed() -> None:
    raw = raw_service()
    raw["Spec"] |= {"Name": "gateway", "Labels": {}}
    manager = FakeManager(services=[raw], tasks=[raw_task()])
    for asked in ("gateway", SERVICE):
        with pytest.raises(EngineError, match="none of this library"):
            manager.swarm().remove(asked)
    assert manager.services == [raw]


@pytest.mark.parametrize(
    ("call", "option"),
    [
        (lambda engine: engine.rename(CONTAINER, "other"), "pool"),
        (lambda engine: engine.pause(CONTAINER), "pause"),
        (lambda engine: engine.unpause(CONTAINER), "pause"),
        (lambda engine: engine.events(), "events"),
    ],
)
def test_what_a_swarm_cannot_do(call: Callable[[SwarmEngine], object], option: str) -> None:
    with pytest.raises(UnsupportedOptionError, match="a swarm cannot do that") as caught:
        call(running().swarm())
    assert caught.value.option == option


def executes(**answers: Any) -> dict[str, Any]:
    """The answers of a node's engine to an exec that prints a word."""
    body = framed((1, b"\x02word"))
    return {
        "exec_create": {"Id": "e"},
        "post": lambda *_, **__: http_response(body),
        "exec_inspect": {"Running": False, "ExitCode": 0},
        **answers,
    }


@pytest.mark.parametrize("asked", [NAME, SERVICE, CONTAINER])
def test_a_command_runs_on_the_engine_of_the_node(asked: str) -> None:
    engine, node = on_node_2(running(), **executes())
    assert engine.exec(asked, ("echo",), Deadline(5.0)).stdout == "word"
    assert node.arguments("exec_create")[0] == CONTAINER


def test_after_the_first_look_an_exec_asks_the_manager_for_the_node_alone() -> None:
    manager = running()
    engine, _ = on_node_2(manager, **executes())
    engine.exec(NAME, ("echo",), Deadline(5.0))
    manager.api.asked.clear()
    engine.exec(CONTAINER, ("echo",), Deadline(5.0))
    assert manager.api.names == ["inspect_node"]


def test_a_command_runs_also_while_no_manager_answers() -> None:
    manager = running()
    engine, _ = on_node_2(manager, **executes())
    engine.exec(NAME, ("echo",), Deadline(5.0))
    manager.api.answers["inspect_node"] = requests.ConnectionError("gone")
    assert engine.exec(CONTAINER, ("echo",), Deadline(5.0)).stdout == "word"


@pytest.mark.parametrize("asked", [NAME, CONTAINER])
def test_no_command_goes_to_a_node_that_is_not_ready(asked: str) -> None:
    manager = running()
    engine, node = on_node_2(manager, **executes())
    engine.exec(NAME, ("echo",), Deadline(5.0))
    node.asked.clear()
    manager.nodes[1] = raw_node(2, "down")
    with pytest.raises(EngineUnavailableError, match="node node2 is down"):
        engine.exec(asked, ("echo",), Deadline(5.0))
    assert node.asked == []


def test_a_node_that_left_the_swarm_is_not_asked() -> None:
    manager = running()
    engine, _ = on_node_2(manager, **executes())
    engine.exec(NAME, ("echo",), Deadline(5.0))
    manager.nodes.pop(1)
    for asked in (NAME, CONTAINER):
        with pytest.raises(EngineError, match="no longer in the swarm"):
            engine.exec(asked, ("echo",), Deadline(5.0))


@pytest.mark.parametrize(
    ("manager", "words"),
    [
        (FakeManager(), "no such container"),
        (running(state="pending", NodeID="", container=""), "its task is pending"),
        (FakeManager(services=[raw_service()]), "there is no task"),
    ],
)
def test_a_command_in_a_container_that_is_not_there_did_not_run(manager: FakeManager, words: str) -> None:
    with pytest.raises(ExecError, match=words) as caught:
        manager.swarm().exec(NAME, ("echo",), Deadline(5.0))
    assert caught.value.started is False


def test_the_log_is_read_on_the_node() -> None:
    log = http_response(framed((1, b"line\n")))
    engine, node = on_node_2(running(), get=lambda *_, **__: log)
    assert engine.logs(NAME) == "line\n"
    assert node.arguments("get")[0].endswith(f"/containers/{CONTAINER}/logs")


def test_the_end_of_a_log_for_a_message_raises_nothing() -> None:
    assert running(state="rejected", container="").swarm().log_tail(NAME).startswith("(no log: ")
    engine, _ = on_node_2(running(), get=lambda *_, **__: http_response(framed((1, b"line\n"))))
    assert engine.log_tail(NAME) == "line\n"


def test_what_a_container_uses_is_told_by_its_node() -> None:
    engine, node = on_node_2(running(), stats={"memory_stats": {"usage": 5}})
    assert engine.stats(NAME).memory == 5
    assert node.arguments("stats") == (CONTAINER,)


def test_a_command_with_an_open_input_is_the_node_s() -> None:
    engine, node = on_node_2(running(), exec_create=api_error(409, "is not running"))
    with pytest.raises(EngineError) as caught, engine.attach(CONTAINER, ("cat",)):
        pass
    assert (caught.value.status, node.arguments("exec_create")[0]) == (409, CONTAINER)


def test_a_short_lived_container_is_removed_at_the_end() -> None:
    manager = FakeManager()

    def create(body: Mapping[str, Any]) -> None:
        manager.services.append(raw_service(Spec=body))
        manager.tasks.append(raw_task("complete"))

    manager.on_create = create
    engine = manager.swarm()
    with engine.temporary(CONFIG, "jupyter-launcher-look.1") as made:
        assert (made, len(manager.services), engine.wait(made, Deadline(5.0))) == (SERVICE, 1, 0)
    assert manager.services == []


def test_closing_closes_all() -> None:
    manager = running()
    engine, _ = on_node_2(manager)
    closed: list[object] = []
    for number in (0, 1):
        own = engine.engine_of(engine.nodes()[number])
        own.close = functools.partial(closed.append, own)  # type: ignore[method-assign]
    engine.close()
    assert len(closed) == 2


def test_a_task_that_an_administrator_had_made_anew() -> None:
    manager = running()
    engine = manager.swarm()
    engine.inspect(NAME)
    manager.tasks = [
        raw_task("shutdown", DesiredState="shutdown"),
        raw_task(ID="newer", container="d" * 64, CreatedAt="2023-11-14T22:14:20Z"),
    ]
    info = engine.inspect(NAME)
    assert info is not None
    assert (info.id, info.started, TASK) == ("d" * 64, "newer", TASK)

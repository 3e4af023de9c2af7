"""The command over a swarm: its options, and what the doctor says of managers, nodes, images and networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner, Result

from jupyter_launcher import DEFAULT_IMAGE, EngineUnavailableError, LauncherError, OptionError, Swarm, SwarmNode
from jupyter_launcher.cli import doctor
from jupyter_launcher.cli.checks import Check, CheckState
from jupyter_launcher.cli.commands import cli
from jupyter_launcher.cli.looks.swarm import examine_swarm
from jupyter_launcher.cli.options import CommandContext, pass_context
from jupyter_launcher.cli.spelling import respell
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.engine.traits import NetworkInfo
from jupyter_launcher.swarm.address import SwarmAddress
from tests.unit.fakes import NOW, FakeEngine, FakeJupyter, FakeSwarm, printed, session_info, session_labels

# The options


@pytest.fixture
def call(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """Run a command that does something with the global options."""

    def run(act: Callable[[CommandContext], object], *line: str) -> Result:
        @cli.command("seen")
        @pass_context
        def _(state: CommandContext) -> None:
            act(state)

        request.addfinalizer(lambda: cli.commands.pop("seen", None))
        return CliRunner().invoke(cli, line)

    return run


def made(call: Callable[..., Result], *line: str) -> Swarm | None:
    found: list[Swarm | None] = []
    ended = call(lambda state: found.append(state.swarm_words.make()), *line)
    assert ended.exit_code == 0, ended.output
    return found[0]


def test_without_the_option_there_is_no_swarm(call: Callable[..., Result]) -> None:
    assert made(call, "seen") is None


def test_the_options_describe_a_swarm_wherever_they_stand(call: Callable[..., Result]) -> None:
    line = ["--swarm", "--swarm-engine", "a=tcp://x:1", "seen", "--swarm-engine", "b=ssh://y", "--swarm-network", "net"]
    engines = {"a": "tcp://x:1", "b": "ssh://y"}
    assert made(call, *line) == Swarm(engines=engines, network="net")
    assert made(call, "seen", "--swarm", "--swarm-publish", "all", "--swarm-weaker") == Swarm(
        publish="all", weaker=True
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["--swarm-network", "net"], "--swarm-network is given without --swarm; give --swarm too"),
        (["--swarm-weaker"], "--swarm-weaker is given without --swarm"),
        (["--swarm", "--swarm-engine", "node2"], "--swarm-engine is 'node2'; give HOST=ADDRESS, such as node2=tcp://"),
        (["--swarm", "--swarm-engine", "a=x", "--swarm-engine", "a=y"], "--swarm-engine has 'a' twice"),
    ],
)
def test_what_cannot_be_read_is_refused(call: Callable[..., Result], line: list[str], told: str) -> None:
    ended = call(lambda state: state.swarm_words.make(), *line, "seen")
    assert (ended.exit_code, told in ended.stderr) == (2, True), ended.stderr


def test_a_further_call_means_the_same_swarm(call: Callable[..., Result]) -> None:
    given = "--swarm --swarm-network net --swarm-publish all --swarm-engine a=tcp://x:1 --swarm-weaker"
    ended = call(lambda state: click.echo(state.line), *given.split(), "seen")
    assert ended.stdout.strip() == f"jupyter-launcher {given}"


def test_the_launcher_and_the_engine_are_of_the_swarm(
    call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr("jupyter_launcher.launcher.Launcher", lambda **given: seen.append(given.get("swarm", "none")))
    monkeypatch.setattr(SwarmEngine, "connect", lambda swarm, **given: seen.append((swarm, given)))
    monkeypatch.setattr(DockerEngine, "connect", lambda **given: seen.append(given))
    for line in (["seen"], ["--swarm", "--context", "far", "seen"]):
        call(lambda state: (state.make_launcher(), state.connect()), *line)
    assert seen == ["none", {"context": None}, Swarm(), (Swarm(), {"context": "far"})]


def test_list_shows_the_nodes_of_a_swarm(monkeypatch: pytest.MonkeyPatch, jupyter: FakeJupyter) -> None:
    monkeypatch.setattr(SwarmEngine, "connect", lambda *_, **__: jupyter.engine)
    for number, state in ((1, "running"), (2, "unreachable")):
        labels = session_labels(session_id=f"s{number}")
        info = session_info(labels, id=str(number) * 64, state=state, node=f"node{number}", host="127.0.0.1")
        jupyter.engine.born[jupyter.add(info).id] = NOW - 1000
    lines = CliRunner().invoke(cli, ["--namespace", "unit", "--swarm", "--swarm-publish", "all", "list"]).stdout
    head, *rows = sorted((line.split() for line in lines.splitlines()), key=lambda words: words[0])
    assert head[:4] == ["ID", "STATE", "STATUS", "NODE"]
    assert [(row[0], row[1]) for row in rows] == [("s1", "ready"), ("s2", "unreachable")]
    assert [f"node{number}" in row for number, row in enumerate(rows, 1)] == [True, True]
    plain = CliRunner().invoke(cli, ["--namespace", "unit", "list"]).stdout
    assert "NODE" not in plain
    document = CliRunner().invoke(cli, ["--namespace", "unit", "--swarm", "list", "--format", "json"]).stdout
    assert {item["node"] for item in json.loads(document)} == {"node1", "node2"}


@pytest.mark.parametrize(
    ("text", "respelled"),
    [
        ("give publish='all'", "give --swarm-publish all"),
        ("or weaker=True", "or --swarm-weaker"),
        ("name it by engines=", "name it by --swarm-engine"),
        ("without swarm=", "without --swarm"),
        ("Swarm(publish='all') does it", "--swarm-publish all does it"),
        ("Swarm(network='net') does it", "--swarm-network net does it"),
        ('give Swarm(network="…") or', "give --swarm-network or"),
        ("Swarm(network=…) names no network", "--swarm-network names no network"),
        ("use Launcher(swarm=Swarm(...))", "use --swarm"),
        (
            "name it in Swarm(engines={'node2': 'tcp://HOST:2376'}), or",
            "name it in --swarm-engine node2=tcp://HOST:2376, or",
        ),
        ("name that in Swarm(engines=...) or", "name that in --swarm-engine HOST=ADDRESS or"),
        ("accept that: Swarm(weaker=True)", "accept that: --swarm-weaker"),
        ("Swarm(other=True)", "Swarm(other=True)"),
        ("give network= one", "give --network one"),
        ("swarm.engines gives 5 for node a", "--swarm-engine gives 5 for node a"),
        ("swarm.network is 5", "--swarm-network is 5"),
        ("swarm.other is 5", "swarm.other is 5"),
        ("the swarm was asked to publish", "the swarm was asked to publish"),
    ],
)
def test_messages_name_the_options_of_the_command(text: str, respelled: str) -> None:
    error = LauncherError(text, hint=text)
    respell(error)
    assert (error.message, error.hint) == (respelled, respelled)


# The doctor


def node(number: int, **changes: Any) -> SwarmNode:
    """The first is the manager."""
    known = {"hostname": f"node{number}", "address": f"10.77.0.{number}", "engine_version": "28.5.2"}
    manager = {"role": "manager", "reachability": "leader"} if number == 1 else {}
    return SwarmNode(id=f"id{number}", **{**known, **manager, **changes})


OVERLAY = NetworkInfo(driver="overlay", subnets=(), attachable=True)


def engine(version: str = "1.51") -> FakeEngine:
    found = FakeEngine()
    found.traits = replace(found.traits, api_version=version)
    found.images.known |= {"image", "sha256:image"}  # by name and by id
    return found


@dataclass
class Manager:
    """A manager, as the doctor asks it."""

    known: tuple[SwarmNode, ...] = (node(1), node(2), node(3))
    seconds: float = 20.0
    networks: Mapping[str, NetworkInfo] = field(default_factory=lambda: {"net": OVERLAY})
    engines: dict[str, FakeEngine] = field(default_factory=lambda: {f"id{number}": engine() for number in (1, 2, 3)})
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images = self.engines["id1"].images
        self.traits = self.engines["id1"].traits

    def nodes(self) -> list[SwarmNode]:
        return list(self.known)

    def heartbeat(self) -> float:
        return self.seconds

    def engine_of(self, node: SwarmNode) -> FakeEngine:
        self.asked.append(node.hostname)
        if node.id not in self.engines:
            msg = f"nothing listens at {node.address}"
            raise EngineUnavailableError(msg, hint="give its address")
        return self.engines[node.id]

    def network(self, name: str) -> NetworkInfo | None:
        return self.networks.get(name)


@dataclass
class Address:
    """How servers are reached, if they are."""

    obstacle: str = ""

    def choose_publish_ip(self, given: str | None) -> str:
        if self.obstacle:
            raise OptionError(self.obstacle, hint="give publish='all'", option="swarm")
        return given or ""


def examined(
    manager: Manager, swarm: Swarm | None = None, *, image: str = "image", obstacle: str = ""
) -> dict[str, Check]:
    swarm = swarm or Swarm(network="net")
    address = cast("SwarmAddress", Address(obstacle))
    found = examine_swarm(cast("SwarmEngine", manager), address, swarm, image=image, network=swarm.network)
    return {check.name: check for check in found}


def test_nothing_is_wrong() -> None:
    found = examined(Manager())
    assert {name: check.state.value for name, check in found.items()} == dict.fromkeys(
        [
            "swarm",
            "managers",
            "heartbeat",
            "node node1",
            "node node2",
            "node node3",
            "image on the nodes",
            "no-new-privileges",
            "overlay",
            "publishing",
        ],
        "ok",
    )
    assert not any(check.hint for check in found.values())
    assert found["swarm"].detail == "3 nodes, 1 manager among them"
    assert found["node node2"].detail.startswith(
        "worker, 10.77.0.2, engine 28.5.2, ready, active; its engine is reached"
    )


def test_no_quorum_is_said_and_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    error = EngineUnavailableError("the swarm has no quorum", hint="bring back its managers")

    def fail(_: object) -> list[SwarmNode]:
        raise error

    monkeypatch.setattr(Manager, "nodes", fail)
    (check,) = examined(Manager()).values()
    assert (check.name, check.state, check.detail) == ("swarm", CheckState.FAILED, "the swarm has no quorum")


@pytest.mark.parametrize(
    ("reachable", "state", "told"),
    [
        ((True,), CheckState.OK, "1 of 1 reachable, 0 may be lost"),
        ((True, True), CheckState.WARNING, "2 of 2 reachable, and none of them may be lost"),
        ((True, True, True), CheckState.OK, "3 of 3 reachable, 1 may be lost"),
        ((True, True, False), CheckState.WARNING, "2 of 3 reachable; not reachable: node3"),
    ],
)
def test_how_many_managers_may_be_lost(reachable: tuple[bool, ...], state: CheckState, told: str) -> None:
    nodes = tuple(
        node(number, role="manager", reachability="reachable" if is_here else "unreachable")
        for number, is_here in enumerate(reachable, 1)
    )
    found = examined(Manager(known=nodes))["managers"]
    assert (found.state, found.detail) == (state, told)


def test_a_short_heartbeat_is_a_warning() -> None:
    found = examined(Manager(seconds=5.0))["heartbeat"]
    assert (found.state, "cut off for about 10 to 15 s" in found.detail) == (CheckState.WARNING, True)
    assert "docker swarm update --dispatcher-heartbeat 20s" in found.hint


def test_a_node_that_is_away_is_never_asked() -> None:
    manager = Manager(known=(node(1), node(2, state="down"), node(3, availability="drain")))
    found = examined(manager)
    assert manager.asked == ["node1", "node3"]
    assert (found["node node2"].state, found["node node3"].state) == (CheckState.WARNING, CheckState.WARNING)
    assert "unreachable" in found["node node2"].hint
    assert "docker node update --availability active node3" in found["node node3"].hint
    assert found["image on the nodes"].detail == "image is on node1"


def test_an_engine_that_is_not_reached() -> None:
    manager = Manager()
    del manager.engines["id3"]
    found = examined(manager)
    assert found["node node3"].state is CheckState.FAILED
    assert "active; nothing listens at 10.77.0.3" in found["node node3"].detail
    assert found["node node3"].hint == "give its address; a session that is placed there cannot be started"
    assert found["image on the nodes"].detail == "image is not seen on node3"
    assert found["no-new-privileges"].state is CheckState.OK, "the manager tells its version"


def test_no_node_takes_sessions() -> None:
    found = examined(Manager(known=(node(1, availability="drain"), node(2, state="down"))))
    assert (found["nodes"].state, found["nodes"].detail) == (CheckState.FAILED, "no node is ready and active")


def test_an_image_that_a_node_lacks() -> None:
    manager = Manager()
    manager.engines["id2"].images.known.clear()
    found = examined(manager)["image on the nodes"]
    assert (found.state, found.detail) == (CheckState.WARNING, "image is not seen on node2")
    assert found.hint.startswith("`docker save image | docker -H ADDRESS load`")
    assert examined(manager, image="other")["image on the nodes"].state is CheckState.SKIPPED


@pytest.mark.parametrize(
    ("old", "weaker", "state", "told"),
    [
        ([2], False, CheckState.WARNING, "older than Docker 25: node2: a start there is refused"),
        ([2, 3], True, CheckState.WARNING, "older than Docker 25: node2, node3; the server is started by setpriv"),
        ([1], False, CheckState.FAILED, "the manager's engine is older than Docker 25: a start there is refused"),
        ([1, 2, 3], True, CheckState.WARNING, "the manager's engine is older than Docker 25; the server is started"),
    ],
)
def test_nodes_that_cannot_forbid_new_privileges(
    old: list[int],
    weaker: bool,  # noqa: FBT001 - pytest hands it over by name
    state: CheckState,
    told: str,
) -> None:
    versions = {number: "20.10.24" if number in old else "28.5.2" for number in (1, 2, 3)}
    manager = Manager(known=tuple(node(number, engine_version=version) for number, version in versions.items()))
    manager.traits = engine("1.41" if 1 in old else "1.51").traits
    found = examined(manager, Swarm(network="net", weaker=weaker))["no-new-privileges"]
    assert (found.state, found.detail[: len(told)]) == (state, told)
    assert ("--swarm-weaker" in found.hint) is not weaker


@pytest.mark.parametrize(
    ("network", "state", "told"),
    [
        (None, CheckState.FAILED, "the swarm has no network net"),
        (replace(OVERLAY, driver="bridge"), CheckState.FAILED, "of driver bridge"),
        (replace(OVERLAY, attachable=False), CheckState.WARNING, "no plain container"),
    ],
)
def test_networks_that_sessions_cannot_use(network: NetworkInfo | None, state: CheckState, told: str) -> None:
    found = examined(Manager(networks={} if network is None else {"net": network}))["overlay"]
    assert (found.state, told in found.detail) == (state, True)
    assert found.hint


def test_where_servers_are_published() -> None:
    everywhere = examined(Manager(), Swarm(publish="all"))
    assert "overlay" not in everywhere
    assert everywhere["publishing"].state is CheckState.WARNING
    assert "com.docker.network.bridge.host_binding_ipv4" in everywhere["publishing"].hint
    nowhere = examined(Manager(), Swarm(), obstacle="nobody reaches it")["publishing"]
    assert (nowhere.state, nowhere.detail, nowhere.hint) == (
        CheckState.FAILED,
        "nobody reaches it",
        "give --swarm-publish all",
    )


def test_an_option_of_the_swarm_is_told_as_the_command_spells_it() -> None:
    error = OptionError("publish is 5", hint="give publish='all'", option="publish")
    respell(error)
    assert (error.message, error.hint) == ("--swarm-publish is 5", "give --swarm-publish all")


# The doctor as a command


class Swarmed(FakeSwarm):
    """A swarm that the doctor can ask."""

    def nodes(self) -> list[SwarmNode]:
        return [node(1), node(2)]

    def heartbeat(self) -> float:
        return 20.0

    def engine_of(self, _: SwarmNode) -> FakeEngine:
        return engine()


@pytest.fixture
def swarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Swarmed]:
    """A swarm whose probes answer."""
    with FakeJupyter(Swarmed()).serve() as found:
        made = found.engine
        assert isinstance(made, Swarmed)
        made.images.known |= {DEFAULT_IMAGE, "image"}
        made.run = lambda *_: printed("")
        monkeypatch.setattr(SwarmEngine, "connect", lambda *_, **__: made)
        monkeypatch.setattr(doctor, "_SECONDS", 0.2)
        yield made


def by_command(*line: str, field: str = "state") -> tuple[int, dict[str, str]]:
    ended = CliRunner().invoke(cli, ["doctor", "--swarm", "--image", "image", "--format", "json", *line])
    return ended.exit_code, {check["name"]: check[field] for check in json.loads(ended.stdout)}


def test_the_command_looks_at_the_swarm_and_then_from_inside(swarmed: Swarmed) -> None:
    code, found = by_command("--swarm-publish", "all", "/pipelines/one", "--user", "1000:1000")
    assert (code, found["swarm"], found["node node2"], found["published port"]) == (0, "ok", "ok", "ok")
    assert found["write to the pipeline dir"] == "ok"
    assert not {"pool", "container IPs"} & set(found), "a swarm has neither"
    assert swarmed.known == {}, "the probe is gone"
    _, told = by_command("--swarm-publish", "all", "/pipelines/one", "--user", "1000:1000", field="detail")
    assert told["write to the pipeline dir"] == "on node node2: user 1000:1000 can"


def test_the_command_says_that_nobody_would_reach_a_server(swarmed: Swarmed) -> None:
    code, found = by_command()
    assert (code, found["publishing"], found["container"]) == (1, "failed", "failed")
    assert swarmed.configs == {}, "no probe was made"


def test_the_command_looks_for_a_service_as_gateway(swarmed: Swarmed) -> None:
    _, found = by_command("--swarm-publish", "all", "--gateway", "none-such")
    assert found["gateway"] == "failed"
    assert swarmed.known == {}

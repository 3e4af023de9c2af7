"""The images of a swarm: on the manager, and on each node that may get a session."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import BuildOptions, EngineUnavailableError, ImageNotFoundError, Swarm
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.waiting import Deadline
from tests.unit.sdk import api_error
from tests.unit.swarm.answers import IMAGE_ID, FakeManager, node_engine, raw_node

DIGEST = f"registry.example/image@sha256:{'d' * 64}"


class Node:
    """A node's engine, which has an image, or gets one by a pull."""

    def __init__(self, number: int, *, has: bool, pulls: bool = False) -> None:
        self.has, self.pulls = has, pulls
        self.pulled: list[str] = []
        self.engine = node_engine(number, inspect_image=self._inspect, pull=self._pull)

    def _inspect(self, image: str) -> dict[str, Any]:
        if not self.has or image not in (IMAGE_ID, DIGEST):
            raise api_error(404, "no such image")
        return {"Id": IMAGE_ID}

    def _pull(self, image: str, **_: Any) -> Any:
        self.pulled.append(image)
        if not self.pulls:
            raise api_error(404, "not found")
        self.has = True
        return iter([{"status": "done"}])

    @property
    def asked(self) -> int:
        api: Any = self.engine.api
        return sum(name == "inspect_image" for name in api.names)


def swarm_of(manager: FakeManager, *nodes: Node, **options: Any) -> SwarmEngine:
    engines = {f"tcp://10.77.0.{number}:1": node.engine for number, node in enumerate(nodes, 2)}
    hosts = {f"node{number}": f"tcp://10.77.0.{number}:1" for number in (2, 3)}

    def reach(address: str) -> DockerEngine:
        if address not in engines:
            msg = "nothing listens there"
            raise EngineUnavailableError(msg, hint="start it")
        return engines[address]

    return manager.swarm(Swarm(engines=hosts, **options), reach)


def ensure(engine: SwarmEngine, image: str = "image:1", pull: str = "missing") -> None:
    engine.images.ensure(image, pull, BuildOptions(), Deadline(10.0), lambda detail, done=0, total=0: None)


def test_every_node_that_may_get_a_session_is_asked_once() -> None:
    nodes = Node(2, has=True), Node(3, has=True)
    engine = swarm_of(FakeManager(), *nodes)
    ensure(engine)
    ensure(engine.constrained(("node.role==worker",)))
    assert [node.asked for node in nodes] == [1, 1]


def test_the_nodes_that_lack_an_image_are_named() -> None:
    with pytest.raises(ImageNotFoundError, match="image image:1 is not on nodes node2, node3") as caught:
        ensure(swarm_of(FakeManager(), Node(2, has=False), Node(3, has=False)))
    assert "docker save" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"Spec": {"Labels": {}, "Availability": "drain"}},
        {"Spec": {"Labels": {}, "Availability": "pause"}},
        {"Status": {"State": "down", "Addr": "10.77.0.3"}},
    ],
)
def test_a_node_that_gets_no_session_is_not_asked(change: dict[str, Any]) -> None:
    other = Node(3, has=False)
    ensure(swarm_of(FakeManager(nodes=[raw_node(1), raw_node(2), raw_node(3, **change)]), Node(2, has=True), other))
    assert other.asked == 0


def test_a_node_that_does_not_fit_the_constraints_is_not_asked() -> None:
    other = Node(3, has=False)
    engine = swarm_of(FakeManager(), Node(2, has=True), other, constraints=("node.hostname!=node3",))
    ensure(engine)
    assert other.asked == 0


def test_where_nobody_can_judge_a_constraint_a_missing_image_is_the_start_s_matter() -> None:
    engine = swarm_of(FakeManager(), Node(2, has=True), Node(3, has=False), constraints=("node.ip==10.77.0.2",))
    ensure(engine)


def test_a_node_pulls_by_the_digest() -> None:
    node = Node(2, has=False, pulls=True)
    manager = FakeManager(images={"image:1": {"Id": IMAGE_ID, "RepoDigests": [DIGEST]}})
    ensure(swarm_of(manager, node, Node(3, has=True)))
    assert node.pulled == [DIGEST]


@pytest.mark.parametrize("pull", ["missing", "never"])
def test_a_node_that_cannot_pull_or_may_not_is_named(pull: str) -> None:
    node = Node(2, has=False)
    manager = FakeManager(images={"image:1": {"Id": IMAGE_ID, "RepoDigests": [DIGEST]}})
    with pytest.raises(ImageNotFoundError, match="not on node node2"):
        ensure(swarm_of(manager, node, Node(3, has=True)), pull=pull)
    assert node.pulled == ([DIGEST] if pull == "missing" else [])


def test_the_registry_that_an_image_was_named_for_is_asked() -> None:
    digest, here = f"sha256:{'d' * 64}", "registry:5000/team/image"
    others = [f"other/team/image@{digest}", f"registry:5000/team/image-of-others@{digest}"]
    for name in (here, f"{here}:1", f"{here}@{digest}"):
        node = Node(2, has=False, pulls=True)
        raw = {"Id": IMAGE_ID, "RepoDigests": [*others, f"{here}@{digest}"]}
        ensure(swarm_of(FakeManager(images={name: raw}), node, Node(3, has=True)), name)
        assert node.pulled == [f"{here}@{digest}"]


def test_the_error_says_why_a_node_cannot_pull() -> None:
    manager = FakeManager(images={"image:1": {"Id": IMAGE_ID, "RepoDigests": [DIGEST]}})
    with pytest.raises(ImageNotFoundError, match=r"not on nodes node2, node3: .*cannot be pulled: "):
        ensure(swarm_of(manager, Node(2, has=False), Node(3, has=False)))


def test_always_asks_a_node_again() -> None:
    nodes = Node(2, has=True), Node(3, has=True)
    engine = swarm_of(FakeManager(), *nodes)
    ensure(engine)
    engine.images._images.ensure = lambda *_: None  # type: ignore[method-assign]
    ensure(engine, pull="always")
    assert [node.asked for node in nodes] == [2, 2]


def test_an_image_of_ours_is_on_no_registry() -> None:
    node = Node(2, has=False, pulls=True)
    name = "jupyter-launcher/jupyter-server:made-up"
    manager = FakeManager(images={name: {"Id": IMAGE_ID, "RepoDigests": [DIGEST]}})
    with pytest.raises(ImageNotFoundError, match="not on node node2"):
        ensure(swarm_of(manager, node, Node(3, has=True)), name)
    assert node.pulled == []


def test_a_node_whose_engine_cannot_be_asked_is_left_out_and_asked_again() -> None:
    engine = swarm_of(FakeManager(), Node(2, has=True))
    ensure(engine)
    ensure(engine)


def test_an_image_that_the_manager_lacks() -> None:
    with pytest.raises(ImageNotFoundError, match="pull is 'never'"):
        ensure(swarm_of(FakeManager(images={})), pull="never")


def test_images_are_looked_up_and_built_on_the_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeManager().swarm()
    assert engine.images.find("image:1") == IMAGE_ID
    found = engine.images.inspect("image:1")
    assert found is not None
    assert found.id == IMAGE_ID
    built: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        "jupyter_launcher.engine.images.ImageStore.build",
        lambda *given, **options: built.append((*given[1:3], options)),
    )
    engine.images.build("jupyter-server", "t", BuildOptions(), Deadline(1.0), lambda detail, done=0, total=0: None)
    assert built == [("jupyter-server", "t", {"force": False})]


def test_an_image_tells_its_digests_and_its_entrypoint() -> None:
    raw = {"Id": IMAGE_ID, "RepoDigests": [DIGEST], "Config": {"Entrypoint": ["tini"], "Cmd": ["sh"]}}
    found = FakeManager(images={"image:1": raw}).swarm().images.inspect("image:1")
    assert found is not None
    assert (found.digests, found.entrypoint, found.argv) == ((DIGEST,), ("tini",), ("tini", "sh"))

"""Images of a registry: each node's own engine pulls them, with the credentials of the launcher's user."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from jupyter_launcher import DEFAULT_IMAGE, ImageNotFoundError, Launcher, Swarm
from jupyter_launcher.launcher import Pull
from tests.containers import eventually
from tests.swarm.conftest import Cluster, Start

pytestmark = pytest.mark.skipif(
    shutil.which("docker-registry") is None, reason="needs docker-registry; `make tools` installs it"
)

HOST = "10.77.0.254:5123"
IMAGE = f"{HOST}/team/small:1"
LOGIN = {"username": "robot", "password": "pass of a test"}
HASHED = "robot:$2b$04$abcdefghijklmnopqrstuuNOD/wfUUnNrh0XbQMaKtg4bXqNFHLU6\n"


class Registry:
    """A registry beside the nodes, and the images that are pushed to it through the manager's engine."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, closed: bool = False) -> None:
        """Start it; a closed one wants the credentials."""
        self.stop()
        password = self._folder / "htpasswd"
        password.write_text(HASHED)
        access = f"auth: {{htpasswd: {{realm: test, path: {password}}}}}\n" if closed else ""
        file = self._folder / "registry.yml"
        file.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: {HOST}}}\n{access}"
            f"storage: {{filesystem: {{rootdirectory: {self._folder / 'data'}}}}}\n"
        )
        self._process = subprocess.Popen(["docker-registry", "serve", str(file)])
        assert eventually(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """It has no image any more."""
        shutil.rmtree(self._folder / "data")
        self.start()

    def push(self, image: str = IMAGE) -> str:
        """Push a new small image, which then stays on the manager too; gives its id."""
        self._cluster.client().api.import_image_from_data(archive(), *image.rsplit(":", 1))
        return self.push_existing(image)

    def push_existing(self, image: str) -> str:
        client = self._cluster.client()
        for line in client.images.push(image, auth_config=LOGIN, stream=True, decode=True):
            assert "error" not in line, line
        return str(client.images.get(image).id)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://{HOST}/v2/", timeout=2).status_code in (200, 401)
        except requests.RequestException:
            return False


def archive() -> bytes:
    """A file system that no other image has."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        member = tarfile.TarInfo("noise")
        member.size = 1000
        file.addfile(member, io.BytesIO(os.urandom(member.size)))
    return buffer.getvalue()


@pytest.fixture
def registry(cluster: Cluster, tmp_path: Path, as_it_was: None) -> Iterator[Registry]:
    registry = Registry(cluster, tmp_path)
    registry.start()
    yield registry
    registry.stop()
    for node in cluster.nodes:
        client = cluster.client(node.number)
        for image in client.images.list():
            if any(name.startswith(HOST) for name in (*image.tags, *image.attrs["RepoDigests"])):
                client.images.remove(image.id, force=True)


def having(cluster: Cluster, image_id: str) -> list[str]:
    """The nodes that have an image."""
    return [
        node.name
        for node in cluster.nodes
        if image_id in {image.id for image in cluster.client(node.number).images.list()}
    ]


def log_in(monkeypatch: pytest.MonkeyPatch, folder: Path, password: str | None) -> None:
    """As ``docker login`` by the launcher's user; None: never."""
    folder.mkdir()
    login = base64.b64encode(f"{LOGIN['username']}:{password}".encode()).decode()
    auths = {} if password is None else {HOST: {"auth": login}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


@pytest.mark.parametrize("pull", ["missing", "always"])
@pytest.mark.parametrize("on_manager", [True, False])
def test_each_eligible_node_pulls_it_by_its_digest(
    cluster: Cluster, launcher: Launcher, registry: Registry, *, pull: Pull, on_manager: bool
) -> None:
    image_id = registry.push()
    digests = cluster.client().images.get(IMAGE).attrs["RepoDigests"]
    if not on_manager:
        cluster.client().images.remove(IMAGE)
        assert having(cluster, image_id) == []
    cluster.set_node(3, Availability="drain")
    launcher.ensure_image(IMAGE, pull=pull)
    assert having(cluster, image_id) == ["node1", "node2"]
    pulled = cluster.client(2).images.get(image_id)
    assert (pulled.attrs["RepoDigests"], pulled.tags) == (digests, [])
    cluster.set_node(3, Availability="active")
    launcher.ensure_image(IMAGE, pull=pull)
    assert having(cluster, image_id) == ["node1", "node2", "node3"]


def test_never(cluster: Cluster, launcher: Launcher, registry: Registry) -> None:
    image_id = registry.push()
    with pytest.raises(ImageNotFoundError, match="not on nodes node2, node3"):
        launcher.ensure_image(IMAGE, pull="never")
    assert having(cluster, image_id) == ["node1"]
    launcher.ensure_image(IMAGE)
    launcher.ensure_image(IMAGE, pull="never")
    cluster.client().images.remove(IMAGE, force=True)
    with pytest.raises(ImageNotFoundError, match="pull is 'never'"):
        launcher.ensure_image(IMAGE, pull="never")


def test_always_brings_a_newer_one_of_the_name(cluster: Cluster, launcher: Launcher, registry: Registry) -> None:
    older = registry.push()
    launcher.ensure_image(IMAGE)
    newer = registry.push()
    cluster.client().images.get(older).tag(IMAGE)  # as if another machine had pushed it
    cluster.client().images.remove(newer, force=True)
    launcher.ensure_image(IMAGE)
    assert having(cluster, newer) == []
    launcher.ensure_image(IMAGE, pull="always")
    assert having(cluster, newer) == ["node1", "node2", "node3"]
    assert cluster.client().images.get(IMAGE).id == newer


@pytest.mark.parametrize("pull", ["missing", "always"])
def test_credentials_of_the_launchers_user(
    cluster: Cluster,
    swarm: Swarm,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    pull: Pull,
) -> None:
    registry.start(closed=True)
    image_id = registry.push()
    caplog.set_level(logging.DEBUG)
    for name, password in (("none", None), ("wrong", "no pass")):
        log_in(monkeypatch, tmp_path / name, password)
        with Launcher(swarm=swarm) as launcher:
            with pytest.raises(ImageNotFoundError, match="not on nodes node2, node3") as caught:
                launcher.ensure_image(IMAGE)
            assert "no basic auth credentials" in str(caught.value) or "unauthorized" in str(caught.value)
            with pytest.raises(ImageNotFoundError, match="cannot be pulled"):
                launcher.ensure_image(IMAGE, pull="always")
    assert having(cluster, image_id) == ["node1"]
    log_in(monkeypatch, tmp_path / "right", LOGIN["password"])
    with Launcher(swarm=swarm) as launcher:
        if pull == "missing":
            cluster.client().images.remove(IMAGE)
        launcher.ensure_image(IMAGE, pull=pull)
    assert having(cluster, image_id) == ["node1", "node2", "node3"]
    login = json.loads((tmp_path / "right/config.json").read_text())["auths"][HOST]["auth"]
    assert LOGIN["password"] not in caplog.text
    assert login not in caplog.text


def test_a_registry_that_lacks_it(cluster: Cluster, launcher: Launcher, registry: Registry) -> None:
    image_id = registry.push()
    registry.forget()
    with pytest.raises(ImageNotFoundError, match="not on nodes node2, node3") as caught:
        launcher.ensure_image(IMAGE)
    assert "manifest unknown" in str(caught.value)
    cluster.client(2).images.load(cluster.client().api.get_image(image_id))
    with pytest.raises(ImageNotFoundError, match="not on node node3"):
        launcher.ensure_image(IMAGE)
    cluster.client(2).images.remove(image_id)


def test_a_registry_that_is_gone(cluster: Cluster, launcher: Launcher, registry: Registry) -> None:
    image_id = registry.push()
    registry.stop()
    with pytest.raises(ImageNotFoundError, match="not on nodes node2, node3") as caught:
        launcher.ensure_image(IMAGE)
    assert "connection refused" in str(caught.value)
    assert having(cluster, image_id) == ["node1"]


def test_a_session(cluster: Cluster, launcher: Launcher, registry: Registry, start: Start) -> None:
    image = f"{HOST}/team/jupyter:1"
    file = io.BytesIO(f"FROM {DEFAULT_IMAGE}\nLABEL test=registry\n".encode())
    cluster.client().images.build(fileobj=file, tag=image, rm=True)
    image_id = registry.push_existing(image)
    session = start(2, image=image)
    assert session.node == "node2"
    spec = cluster.services(launcher.namespace)[0].attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert spec["Image"] == image_id
    assert cluster.containers(2, launcher.namespace)[0].image.id == image_id
    assert having(cluster, image_id) == ["node1", "node2"]
    session.stop()
    # The next start believes that the node still has it; the one after that knows better.
    cluster.client(2).images.remove(image_id, force=True)
    with pytest.raises(ImageNotFoundError, match="node2"):
        start(2, image=image)
    start(2, image=image).stop()
    assert having(cluster, image_id) == ["node1", "node2"]


def test_an_image_that_was_pruned(cluster: Cluster, launcher: Launcher, registry: Registry) -> None:
    image_id = registry.push()
    launcher.ensure_image(IMAGE)
    # One that was pulled by its digest has no name.
    cluster.client(2).images.prune()
    assert having(cluster, image_id) == ["node1", "node3"]
    launcher.ensure_image(IMAGE, pull="always")
    assert having(cluster, image_id) == ["node1", "node2", "node3"]

"""Fixtures of all tests with real containers: each ``conftest.py`` that wants them imports them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, ContainerError

from jupyter_launcher import DEFAULT_IMAGE, Launcher, ReapedSession, Session

__all__ = [
    "OWNER",
    "build_image",
    "client",
    "eventually",
    "held_by_engine",
    "jupyter_gateway_dir",
    "jupyter_pipeline_dir",
    "log_of",
    "namespace",
    "nothing_left",
    "output_of",
    "owned",
    "past_proxy",
    "pause",
    "recorded_events",
    "require_pause",
    "user_inside",
    "warnings_of",
]

OWNER = 1234
"""A uid that neither the images nor this machine know."""


def past_proxy() -> docker.DockerClient:
    """Docker's own client of the engine itself, where a socket proxy is before it."""
    engine = os.environ.get("ENGINE_BEHIND_PROXY")
    return docker.DockerClient(base_url=engine) if engine else docker.from_env()


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """Docker's own client, to look at what the launcher did."""
    client = past_proxy()
    yield client
    client.close()


def build_image(client: Any, folder: Path, tag: str, arguments: Mapping[str, str] | None = None) -> None:
    """Build an image of a folder, whose files belong to root in it: a remapped engine may not know who made them."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(folder, arcname=".", filter=lambda member: member.replace(uid=0, gid=0, uname="", gname=""))
    context.seek(0)
    given = dict(arguments or {})
    client.images.build(fileobj=context, custom_context=True, rm=True, forcerm=True, tag=tag, buildargs=given)


def held_by_engine(client: Any, session: Session) -> dict[str, Any]:
    """What the engine holds of a session's container, but for what differs between any two."""
    attrs = client.containers.get(session.container_id).attrs
    config = {name: value for name, value in attrs["Config"].items() if name not in ("Hostname", "Labels")}
    # Podman tells the environment in any order and with the host's name, and the port that it chose.
    config["Env"] = sorted(item for item in config["Env"] if not item.startswith("HOSTNAME="))
    for ports in attrs["HostConfig"]["PortBindings"].values():
        for port in ports:
            port["HostPort"] = ""
    return {"HostConfig": attrs["HostConfig"], "Config": config, "AppArmorProfile": attrs["AppArmorProfile"]}


def log_of(container: Any) -> str:
    """What a container printed; empty where the engine's logging driver cannot be read."""
    try:
        return str(container.logs().decode())
    except APIError as error:
        if error.status_code == 501 or "cannot read logs" in str(error):
            return ""
        raise


def output_of(client: Any, image: str, command: list[str], **options: Any) -> str:
    """What a command prints in a container of an image, whatever the engine's logging driver is."""
    # Read after its end: an engine may cut a log that is followed on a busy machine.
    container = client.containers.run(image, command, detach=True, log_config={"Type": "json-file"}, **options)
    try:
        code = container.wait()["StatusCode"]
        if code != 0:
            raise ContainerError(container, code, command, image, container.logs(stdout=False))
        return str(container.logs().decode())
    finally:
        container.remove(force=True, v=True)


def owned(path: Path) -> Path:
    """Hand a directory over to a stranger, where this process may."""
    if os.getuid() == 0:
        os.chown(path, OWNER, OWNER)
    return path


def security_of(client: Any) -> set[str]:
    """The security options that an engine says of itself, such as ``name=rootless``."""
    return set(client.info().get("SecurityOptions") or ())


def remaps_users(client: Any) -> bool:
    """Whether users of containers are other users on the host, unless a container asks for the host's."""
    return "name=userns" in security_of(client)


def user_inside(client: Any, folder: Path) -> str:
    """The owner of a directory, ``uid:gid``, as a container of the engine sees it."""
    status = folder.stat()
    if not {"name=rootless", "name=userns"} & security_of(client):
        return f"{status.st_uid}:{status.st_gid}"
    command = ["stat", "-c", "%u:%g", "/folder"]
    volumes = {str(folder): {"bind": "/folder", "mode": "ro"}}
    return output_of(client, DEFAULT_IMAGE, command, user="0", volumes=volumes).strip()


def warnings_of(session: Session) -> list[str]:
    """The warnings of a session, but for those of an engine that enforces no limit at all."""
    return [text for text in session.warnings if not text.startswith("the engine does not enforce")]


@pytest.fixture(scope="session")
def jupyter_gateway_dir(jupyter_gateway_dir: Path) -> Path:
    return owned(jupyter_gateway_dir)


@pytest.fixture
def jupyter_pipeline_dir(jupyter_pipeline_dir: Path) -> Path:
    return owned(jupyter_pipeline_dir)


@pytest.fixture(scope="session")
def namespace(jupyter_launcher: Launcher) -> str:
    return jupyter_launcher.namespace


@pytest.fixture(autouse=True)
def nothing_left(client: Any, namespace: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """No container and no network of this namespace, and no anonymous volume more than before."""
    before = _networks_and_volumes(client, namespace)
    yield
    left = client.containers.list(
        all=True, filters={"label": f"jupyter-launcher.namespace={namespace}"}, ignore_removed=True
    )
    names = [container.name for container in left]
    for container in left:
        print(f"--- {container.name}: {container.status}\n{log_of(container)}")
        container.remove(force=True, v=True)
    assert names == [], f"{request.node.name} left containers behind"
    # A volume is there a moment longer than the container that the engine removes with it, for other workers too.
    assert eventually(lambda: _networks_and_volumes(client, namespace) <= before, 5)


def _networks_and_volumes(client: Any, namespace: str) -> set[str]:
    # Other workers make networks and named volumes at the same time; an anonymous volume that no container uses
    # is left over, whoever left it.
    networks = {item.name for item in client.networks.list() if item.name.startswith(namespace)}
    volumes = {
        item.id for item in client.volumes.list(filters={"dangling": True}) if re.fullmatch("[0-9a-f]{64}", item.id)
    }
    return networks | volumes


def eventually(what: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something becomes true; looks ten times a second."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.1)
    return True


def reaped(launcher: Launcher, **options: Any) -> list[ReapedSession]:
    """What ``reap`` removes, but for helpers: they belong to no namespace, so another test's may be among them."""
    return [item for item in launcher.reap(min_age=0, **options) if item.kind != "helper"]


def require_pause(client: Any) -> None:
    """Skip the test where the engine cannot pause a container."""
    info = client.info()
    if "name=rootless" in info["SecurityOptions"] and info["CgroupVersion"] == "1":
        pytest.skip("a rootless engine without control groups of version 2 cannot pause a container")


def pause(container: Any) -> None:
    """Freeze a container; on a busy machine the kernel does not always do it in time, so more than once."""
    require_pause(container.client)

    def paused() -> bool:
        with contextlib.suppress(docker.errors.APIError):
            container.pause()
        container.reload()
        return bool(container.status == "paused")

    assert eventually(paused)


@contextlib.contextmanager
def recorded_events() -> Iterator[list[str]]:
    """What the engine tells of its containers meanwhile, as JSON."""
    found: list[str] = []
    with contextlib.closing(past_proxy()) as watcher:
        stream: Any = watcher.events()
        reader = threading.Thread(target=lambda: found.extend(item.decode() for item in stream))
        reader.start()
        try:
            yield found
        finally:
            stream.close()
            reader.join(timeout=10)

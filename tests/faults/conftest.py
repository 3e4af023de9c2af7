"""Faults are made on an engine of the tests' own, so that a user's engine is never disturbed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE, Launcher, Timeouts
from jupyter_launcher.sessions import join
from tests.faults.own_engine import OwnEngine
from tests.faults.proxy import Proxy

NEEDED = ("dockerd", "mkfs.ext4", "iptables", "ip")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if os.getuid() != 0 or missing:
        pytest.skip(
            f"FAULTS NOT TRIED: an engine of the tests' own needs root and {', '.join(NEEDED)}; missing: {missing}"
        )
    engine = OwnEngine(Path("/tmp/jupyter-launcher-faults"))  # noqa: S108 - short, for a socket's path
    engine.set_up()
    try:
        engine.start()
        engine.load(DEFAULT_IMAGE, DEFAULT_GATEWAY_IMAGE)
        yield engine
    finally:
        engine.tear_down()


@pytest.fixture
def client(engine: OwnEngine) -> Iterator[Any]:
    client = engine.client()
    yield client
    client.close()


@pytest.fixture(autouse=True)
def nothing_left(engine: OwnEngine) -> Iterator[None]:
    """After each fault the engine runs, and has no container, network or volume more than before."""
    yield
    if not engine.answers():
        engine.restart()
    client = engine.client()
    left = client.containers.list(all=True, ignore_removed=True)
    names = [f"{item.name}: {item.status}" for item in left]
    for item in left:
        item.remove(force=True, v=True)
    networks = [item.name for item in client.networks.list()]
    volumes = client.volumes.list()
    client.close()
    assert names == []
    assert sorted(networks) == ["bridge", "host", "none"]
    assert volumes == []


@pytest.fixture
def namespace() -> str:
    return f"faults-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def timeouts() -> Timeouts:
    """Short, since most of these things will never come."""
    return Timeouts(engine=5, start=15, gateway=4, shutdown=3, terminate=2)


@pytest.fixture
def launcher(engine: OwnEngine, namespace: str, timeouts: Timeouts) -> Iterator[Launcher]:
    with Launcher(docker_host=engine.url, namespace=namespace, timeouts=timeouts) as launcher:
        yield launcher


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launchers that were killed are known to be: no need to wait for them."""
    monkeypatch.setattr(join, "_OTHERS_STEP", 1.0)


@pytest.fixture
def pipeline_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    os.chown(folder, 1234, 1234)
    return folder


@pytest.fixture
def gateway(launcher: Launcher, pipeline_dir: Path) -> Iterator[str]:
    with launcher.run_gateway(pipeline_dir) as found:
        yield found.name


@pytest.fixture
def proxy(engine: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    proxy = Proxy(tmp_path_factory.mktemp("p") / "s", engine.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def kernels(client: Any, gateway: str) -> Callable[[], list[str]]:
    """The gateway's kernels, by the processes that they are."""

    def found() -> list[str]:
        titles = client.containers.get(gateway).top()["Processes"]
        return [
            " ".join(row)
            for row in titles
            if "ipykernel_launcher" in " ".join(row) or "launch_ipykernel" in " ".join(row)
        ]

    return found

"""Behind a socket proxy: what each call asks for, as the docs say, and what is told where it is refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import DEFAULT_IMAGE, EngineError, Launcher
from jupyter_launcher.cli.checks import CheckState
from jupyter_launcher.cli.doctor import examine
from jupyter_launcher.engine.client import DockerEngine
from tests.integration.socket_proxy import HAPROXY, SWITCHES, SocketProxy
from tests.unit.strategies import error_of

pytestmark = pytest.mark.skipif(not Path(HAPROXY).exists(), reason="needs haproxy; `make tools` installs it")

PAGE = Path(__file__).parents[2] / "docs" / "where-it-runs.md"
ROW = re.compile(r"^\| `(\w+)(?:\(\))?` \| ([A-Z ]*) \| ([A-Z ]*)\|$", re.MULTILINE)
PATHS = re.compile(r"^-allow([A-Z]+)=(\S+)$", re.MULTILINE)  # as wollomatic's proxy takes them
USUAL = tuple(switch for switch in SWITCHES if switch not in ("INFO", "NETWORKS"))
Make = Callable[..., SocketProxy]


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """A call → the switches that it needs, and those that it uses where it may."""
    section = PAGE.read_text().partition("## Socket proxies")[2].partition("\n## ")[0]
    return {call: (set(needed.split()), set(more.split())) for call, needed, more in ROW.findall(section)}


@pytest.fixture
def make(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    engine = urlsplit(launcher._engine.endpoint).path
    with contextlib.ExitStack() as opened:

        def call(*switches: str) -> SocketProxy:
            proxy = SocketProxy(tmp_path_factory.mktemp("proxy"), engine, *switches)
            opened.callback(proxy.close)
            return proxy

        yield call


@pytest.mark.usefixtures("needs_logs")
def test_each_call_needs_the_switches_that_the_docs_name(make: Make, namespace: str, pipeline_dir: Path) -> None:
    proxy = make(*USUAL)
    paths = dict(PATHS.findall(PAGE.read_text()))
    asked: dict[str, tuple[set[str], set[str]]] = {}

    def note(call: str) -> None:
        found = proxy.requests()
        assert [item for item in found if not re.fullmatch(paths[item.method.replace("HEAD", "GET")], item.path)] == []
        passed = {switch for request in found if request.status != 403 for switch in request.switches}
        refused = {switch for request in found if request.status == 403 for switch in request.switches}
        asked[call] = (passed, refused)

    with Launcher(docker_host=proxy.url, namespace=namespace) as launcher:
        note("Launcher")
        with launcher.run_gateway(pipeline_dir) as gateway:
            note("run_gateway")
            session = launcher.start(pipeline_dir, session_id="one", gateway=gateway)
            note("start")
            # From version 2.4 on, haproxy upgrades no connection for a request with a body (haproxy#2684).
            refused = error_of(EngineError, lambda: session.run(["true"]))
            assert refused is None or (refused.status == 200 and "haproxy#2684" in refused.hint)
            note("run")
            assert [item.state.value for item in launcher.list()] == ["ready"]
            note("list")
            assert list(launcher.logs("one", tail=1))
            note("logs")
            # As another process makes these calls, which does not know the session's token.
            for name in ("get", "stop"):
                with Launcher(docker_host=proxy.url, namespace=namespace) as other:
                    proxy.requests()
                    getattr(other, name)("one")
                    note(name)
        proxy.requests()
        launcher.reap(min_age=0, keep=[])
        note("reap")
    found = list(examine(lambda: DockerEngine.connect(docker_host=proxy.url), pipeline_dir=pipeline_dir))
    note("doctor")
    assert {check.name for check in found if check.state is not CheckState.OK} == {"information", "limits"}
    for call in ("run_gateway", "get", "stop"):
        asked[call][0].discard("VERSION")  # a launcher asks once what the engine is, here in its first call
    asked["reap"][0].add("POST")  # nothing was there to be removed
    table = documented()
    assert {call: passed for call, (passed, _) in asked.items()} == {
        call: needed for call, (needed, _) in table.items()
    }
    # What is refused here is what the docs say is not needed, and the calls work.
    # Podman is asked for its own information too.
    assert all(refused - {"LIBPOD"} <= table[call][1] for call, (_, refused) in asked.items())


@pytest.mark.parametrize("without", ["CONTAINERS", "EXEC", "IMAGES", "POST"])
def test_a_start_without_a_switch_names_it(
    make: Make, namespace: str, pipeline_dir: Path, without: str, client: Any
) -> None:
    proxy = make(*(switch for switch in USUAL if switch != without))
    with (
        Launcher(docker_host=proxy.url, namespace=namespace) as launcher,
        pytest.raises(EngineError, match="a socket proxy or an authorisation plugin") as caught,
    ):
        launcher.start(pipeline_dir, session_id="one")
    assert caught.value.status == 403
    assert f"{without}=1" in caught.value.hint
    assert "<" not in caught.value.message
    found = client.containers.list(
        all=True, filters={"label": f"jupyter-launcher.namespace={namespace}"}, ignore_removed=True
    )
    assert found == []


def test_neither_version_nor_ping(make: Make) -> None:
    with pytest.raises(EngineError, match="forbids to connect") as caught:
        Launcher(docker_host=make("CONTAINERS", "POST").url)
    assert "VERSION=1" in caught.value.hint
    Launcher(docker_host=make("PING", "CONTAINERS").url).close()  # one of them is enough


@pytest.mark.parametrize(
    ("switches", "failed"),
    [
        ((), {"engine"}),
        (("VERSION",), {"image", "pipeline dir", "container"}),
        (tuple(switch for switch in USUAL if switch != "EXEC"), {"write to the pipeline dir"}),
    ],
)
def test_the_doctor_goes_on_after_a_refusal(
    make: Make, pipeline_dir: Path, switches: tuple[str, ...], failed: set[str]
) -> None:
    proxy = make(*switches)
    found = list(
        examine(lambda: DockerEngine.connect(docker_host=proxy.url), pipeline_dir=pipeline_dir, image=DEFAULT_IMAGE)
    )
    assert {check.name for check in found if check.state is CheckState.FAILED} == failed
    assert all("socket" in check.detail and "=1" in check.hint for check in found if check.state is CheckState.FAILED)

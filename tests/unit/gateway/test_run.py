"""A gateway of ours in a container."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import (
    EngineError,
    GatewayError,
    GatewayNotRunningError,
    GatewayUnreachableError,
    ImageNotFoundError,
    PipelineDirError,
    RunningGateway,
)
from jupyter_launcher.engine.traits import NetworkInfo
from jupyter_launcher.gateway.run import GatewayRequest, run_gateway
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.labels import gateway_labels
from jupyter_launcher.spec.server import RUN_DIR
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import (
    APART,
    GATEWAY_TOKEN,
    HERE,
    FakeJupyter,
    printed,
    refusal,
)
from tests.unit.hostile import KINDS, SOME, hostile_server


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        yield found


Running = contextlib.AbstractContextManager[RunningGateway]
Run = Callable[..., Running]


@pytest.fixture
def run(jupyter: FakeJupyter, tmp_path: Path) -> Run:
    """A gateway of ours whose published port leads to a real HTTP server."""

    def call(keep: Callable[[str], bool] | None = None, **given: Any) -> Running:
        known: dict[str, Any] = {
            "pipeline_dir": tmp_path,
            "image": "image",
            "namespace": "unit",
            "owner": "me",
            "network": None,
            "seconds": 5.0,
            "user": None,
            "rules": DirectoryRules(),
            "relabel": None,
        }
        request = GatewayRequest(**{**known, **given})
        return run_gateway(jupyter.engine, EngineAddress(jupyter.engine), request, keep=keep)

    return call


def test_a_gateway_of_ours_is_there_until_it_is_left(run: Run, jupyter: FakeJupyter, tmp_path: Path) -> None:
    with run() as gateway:
        name = gateway.name
        assert name == str(gateway)
        assert name.startswith("kernel-gateway.unit.")
        assert (gateway.url, gateway.token) == (jupyter.url, GATEWAY_TOKEN)
        assert GATEWAY_TOKEN not in repr(gateway)
        info = jupyter.engine.named(name)
        config = jupyter.engine.configs[name]
        assert (config.image, config.user) == ("image", f"{tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}")
        identity = f"{tmp_path.stat().st_dev}:{tmp_path.stat().st_ino}"
        assert config.entrypoint is not None
        assert config.entrypoint[3:] == ("gateway", RUN_DIR, "/pipeline-dir", identity, "run-gateway", "--port=8888")
        assert config.labels.items() >= gateway_labels("unit", "me", process_mark()).items()
        assert ("GET", "/api/kernelspecs") in jupyter.asked
        assert set(jupyter.authorizations) == {f"token {GATEWAY_TOKEN}"}
        assert GATEWAY_TOKEN not in str(config.to_docker())
    assert jupyter.engine.removed == [info.id]


def test_a_gateway_has_the_proxies_of_the_engine(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.proxies = HiddenTexts({"http_proxy": "http://one:3128"})
    with run() as gateway:
        assert jupyter.engine.configs[gateway.name].environment == {"http_proxy": "http://one:3128"}


def test_a_gateway_that_is_kept(run: Run, jupyter: FakeJupyter) -> None:
    asked: list[str] = []
    with run(keep=lambda name: not asked.append(name), may_stay=True) as gateway:  # type: ignore[func-returns-value]
        pass
    assert asked == [gateway.name]
    labels = gateway_labels("unit", "me", process_mark(), may_stay=True)
    assert jupyter.engine.configs[gateway.name].labels.items() >= labels.items()
    assert jupyter.engine.named(gateway.name).running


def test_a_gateways_image_says_nothing_of_a_session(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.images.labels = {"jupyter-launcher.session-id": "one", "theirs": "x"}
    with run() as gateway:
        labels = jupyter.engine.configs[gateway.name].labels
    assert labels["jupyter-launcher.session-id"] == ""
    assert "theirs" not in labels


def test_a_gateway_is_removed_when_the_block_fails(run: Run, jupyter: FakeJupyter) -> None:
    error = ValueError("made up")
    with pytest.raises(ValueError, match="made up"), run():
        raise error
    assert jupyter.engine.known == {}


def test_a_gateway_that_ends_is_noticed_at_once(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.on_start = lambda found: jupyter.engine.end(found, 3)
    with pytest.raises(GatewayNotRunningError, match="ended with exit code 3") as caught, run(seconds=600.0):
        pytest.fail("it does not run")
    error = caught.value
    assert (error.state, error.exit_code, error.log_tail) == ("exited", 3, "the log")
    assert error.gateway.startswith("kernel-gateway.unit.")
    assert jupyter.engine.known == {}


def test_a_gateway_of_another_directory_than_the_one_that_was_looked_at(
    run: Run, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    jupyter.engine.log = "nobody looked\njupyter-launcher: the launcher looked at directory 1:2\n"
    jupyter.engine.on_start = lambda found: jupyter.engine.end(found, 71)
    with (
        pytest.raises(PipelineDirError, match=r"another directory .*: the launcher looked at directory 1:2;") as caught,
        run(),
    ):
        pytest.fail("it does not run")
    assert caught.value.path == str(tmp_path)
    assert jupyter.engine.known == {}


def test_a_gateway_whose_user_cannot_enter_the_directory(run: Run, jupyter: FakeJupyter, tmp_path: Path) -> None:
    jupyter.engine.log = "jupyter-launcher: user 7:8 of the gateway cannot enter it"
    jupyter.engine.on_start = lambda found: jupyter.engine.end(found, 72)
    with pytest.raises(PipelineDirError, match=f"{tmp_path} cannot be used: user 7:8 .* cannot enter it"), run():
        pytest.fail("it does not run")
    assert jupyter.engine.known == {}


def test_where_no_log_can_be_read_the_exit_code_tells(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.log = "(no log: the engine's logging driver is none)"
    jupyter.engine.on_start = lambda found: jupyter.engine.end(found, 72)
    with pytest.raises(PipelineDirError, match=r"user of the gateway cannot enter it .*driver is none"), run():
        pytest.fail("it does not run")


@pytest.mark.parametrize("code", [71, 72, 73])
def test_a_gateway_that_ends_by_itself_with_a_code_of_ours(run: Run, jupyter: FakeJupyter, code: int) -> None:
    """Such as os.EX_OSFILE and os.EX_CANTCREAT."""
    jupyter.engine.log = "jupyter-launcher: said before\nno such option"
    jupyter.engine.on_start = lambda found: jupyter.engine.end(found, code)
    with pytest.raises(GatewayNotRunningError, match=f"ended with exit code {code}"), run():
        pytest.fail("it does not run")


def test_a_gateway_that_is_removed_meanwhile(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.on_start = jupyter.engine.remove
    with pytest.raises(GatewayNotRunningError) as caught, run():
        pytest.fail("it does not run")
    assert (caught.value.state, caught.value.exit_code) == ("gone", None)


def test_a_gateway_without_kernel_specs(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.kernelspecs = 503
    with pytest.raises(GatewayUnreachableError, match=r"no kernel specs within 0\.05 s") as caught, run(seconds=0.05):
        pytest.fail("it has no kernel specs")
    assert caught.value.log_tail == "the log"
    assert jupyter.engine.known == {}


@pytest.mark.parametrize("kind", SOME)
def test_a_gateway_that_answers_as_none_should(run: Run, jupyter: FakeJupyter, kind: str) -> None:
    """Deep JSON with status 200 is an answer: what is in it, the server will say."""
    deadline = Deadline(0.3)
    with hostile_server(KINDS[kind]) as url:
        jupyter.engine.port = urlsplit(url).port
        with contextlib.suppress(GatewayUnreachableError), run(seconds=0.3):
            pass
    assert deadline.elapsed() < 0.3 + 2
    assert jupyter.engine.known == {}


def test_a_gateway_on_a_network_that_publishes_nothing(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.port = None
    with pytest.raises(GatewayError, match="no published port on network 'net'"), run(network="net"):
        pytest.fail("it cannot be reached")
    assert jupyter.engine.known == {}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("created", KeyboardInterrupt()),
        ("start", KeyboardInterrupt()),
        ("start", refusal(500)),
        ("create", refusal(400)),
    ],
)
def test_a_gateway_whose_start_fails_leaves_nothing(
    run: Run, jupyter: FakeJupyter, call: str, error: BaseException
) -> None:
    jupyter.engine.fail(call, error)
    with pytest.raises((KeyboardInterrupt, EngineError)), run():
        pytest.fail("it did not start")
    assert jupyter.engine.known == {}


def test_a_gateway_for_a_directory_that_is_not_there(run: Run, jupyter: FakeJupyter, tmp_path: Path) -> None:
    with pytest.raises(PipelineDirError), run(pipeline_dir=tmp_path / "none"):
        pytest.fail("there is no directory")
    assert jupyter.engine.calls == []


def test_a_gateway_whose_bridge_is_reached_publishes_nothing(
    run: Run, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    jupyter.engine.every_network = HERE
    monkeypatch.setattr(EngineAddress, "bridge_url", lambda *_: jupyter.url)
    with run() as gateway:
        assert jupyter.engine.configs[gateway.name].container_port is None
        assert gateway.url == jupyter.url


SIX = ip_network("fd00::/64")


@pytest.mark.parametrize(
    ("name", "network", "seen"),
    [
        (None, None, "the engine has no network 'bridge'"),
        ("net", replace(HERE, subnets=(SIX,)), "network 'net' has no IPv4"),
    ],
)
def test_a_network_without_a_way_is_refused_before_anything_is_made(
    run: Run, jupyter: FakeJupyter, name: str | None, network: NetworkInfo | None, seen: str
) -> None:
    jupyter.engine.every_network = network
    with pytest.raises(GatewayError, match=seen) as caught, run(network=name):
        pytest.fail("it has no address")
    assert "network=" in caught.value.hint
    assert jupyter.engine.configs == {}


@pytest.mark.parametrize("call", ["create", "start"])
@pytest.mark.parametrize("status", [404, 500])
def test_a_network_that_is_not_there_is_named_once_the_engine_refuses(
    run: Run, jupyter: FakeJupyter, call: str, status: int
) -> None:
    jupyter.engine.every_network = None
    jupyter.engine.fail(call, refusal(status, "the engine's words"))
    with pytest.raises(GatewayError, match="no network 'net' for a gateway: the engine's words"), run(network="net"):
        pytest.fail("it has no network")
    assert jupyter.engine.known == {}


def test_a_directory_that_the_engine_may_not_enter_as_the_user(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.fail("start", refusal(400, 'chdir to cwd ("/pipeline-dir"): permission denied'))
    with pytest.raises(PipelineDirError, match="does not start a container there"), run():
        pytest.fail("it does not run")
    assert jupyter.engine.known == {}


def test_what_the_block_raises_is_never_the_networks_fault(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.every_network = None
    error = refusal(404)
    with pytest.raises(EngineError) as caught, run(network="net"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("network", [None, replace(APART, subnets=(SIX, *APART.subnets)), refusal(403)])
def test_a_network_of_which_little_is_known_is_tried(
    run: Run, jupyter: FakeJupyter, network: NetworkInfo | EngineError | None
) -> None:
    """A worker of a swarm does not know an attachable network until a container is on it."""
    if isinstance(network, EngineError):
        jupyter.engine.fail("network", network, network)
    else:
        jupyter.engine.every_network = network
    with run(network="net") as gateway:
        assert gateway.url == jupyter.url


def test_a_gateway_that_makes_no_token(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.gateway_token = printed("", 1)
    with pytest.raises(GatewayUnreachableError, match="made no token within") as caught, run(seconds=0.05):
        pytest.fail("it has no token")
    assert "sh and od" in caught.value.hint
    assert jupyter.asked == []
    assert jupyter.engine.known == {}


def test_an_image_that_is_not_there(run: Run, jupyter: FakeJupyter) -> None:
    with pytest.raises(ImageNotFoundError) as caught, run(image="other"):
        pytest.fail("there is no image")
    assert caught.value.image == "other"
    assert jupyter.engine.known == {}


def test_an_image_that_runs_nothing_by_itself(run: Run, jupyter: FakeJupyter) -> None:
    jupyter.engine.images.argv = ()
    with pytest.raises(GatewayError, match="neither an entrypoint nor a command"), run():
        pytest.fail("nobody knows what to run")

"""Gateways: found by a name or a URL, their kernels, and one of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import (
    AmbiguousNetworkError,
    EngineError,
    Gateway,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
    GatewayUnreachableError,
    OptionError,
    PipelineDirError,
)
from jupyter_launcher.gateway import (
    GatewayRequest,
    find_marked_kernels,
    gateway_api,
    resolve_gateway,
    run_gateway,
    stop_kernels,
)
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.server.api import ExecApi, JupyterApi
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import FakeEngine, FakeJupyter, container, http_server, not_run, printed, refusal
from tests.unit.hostile import KINDS, SOME, hostile_server, server_of_kernels


@pytest.mark.parametrize(
    ("gateway", "changes", "network", "url"),
    [
        ("gw", {}, None, "http://172.17.0.9:8888"),
        ("gw:9000", {}, None, "http://172.17.0.9:9000"),
        ("gw", {"networks": {"a": "10.1.0.2", "b": "10.2.0.2"}}, "b", "http://10.2.0.2:8888"),
        ("gw", {"networks": {"a": "10.1.0.2", "never-joined": ""}}, None, "http://10.1.0.2:8888"),
        ("gw", {"networks": {"six": "fd00::2"}}, None, "http://[fd00::2]:8888"),
    ],
)
def test_a_containers_address(gateway: str, changes: Any, network: str | None, url: str) -> None:
    found = resolve_gateway(FakeEngine(container(name="gw", **changes)), gateway, network)
    assert found.url == url
    assert found.name == gateway
    assert found.network in {"bridge", "a", "b", "six"}
    assert found.container_id == "c" * 64


@pytest.mark.parametrize(
    "gateway",
    [
        *("", " ", "gw:", "gw:x", ":80", "gw:70000", "gw:0", "gw:²", "gw:٣", "gw:+1", "gw:000001"),
        *("unix:///x", "http://h:x", "https://", "http://h:0", "http://h h/", "http://h\n/"),
    ],
)
def test_names_that_are_none(gateway: str) -> None:
    with pytest.raises(GatewayError) as caught:
        resolve_gateway(FakeEngine(container(name="gw")), gateway)
    assert caught.value.gateway == gateway


def test_a_url_is_taken_as_it_is() -> None:
    found = resolve_gateway(FakeEngine(), "https://gw.example:8443/base", "net")
    assert (found.url, found.network, found.container_id) == ("https://gw.example:8443/base", "net", None)


@pytest.mark.parametrize(
    ("gateway", "shown"),
    [
        ("http://me:secret@gw.example", "http://gw.example"),
        ("http://secret@gw.example:80/", "http://gw.example"),
        ("http://gw.example/?token=secret", "http://gw.example"),
        ("http://gw.example?secret", "http://gw.example"),
        ("http://gw.example#secret", "http://gw.example"),
        ("http://gw.example:9/x#", "http://gw.example"),
        ("ftp://me:secret@gw.example", "..."),
        ("http://me:a?secret@gw.example", "..."),
        ("http://gw.example:x/?token=secret", "..."),
        ("http://:1/#secret", "..."),
        ("gw:8888/?token=secret", "..."),
        ("gw?token=secret", "..."),
        ("me:secret@gw", "..."),
    ],
)
def test_what_may_hold_a_secret_is_refused_without_showing_it(gateway: str, shown: str) -> None:
    with pytest.raises(GatewayError) as caught:
        resolve_gateway(FakeEngine(container(name="gw")), gateway)
    assert "secret" not in repr(caught.value) + str(caught.value)
    assert caught.value.gateway == shown


@pytest.mark.parametrize("gateway", [5, None, b"gw", "gw\0", "http://h/\udcff"])
def test_what_is_no_text_is_refused(gateway: Any) -> None:
    with pytest.raises(OptionError) as caught:
        resolve_gateway(FakeEngine(), gateway)
    assert caught.value.option == "gateway"


def test_no_such_container() -> None:
    with pytest.raises(GatewayNotFoundError, match="no container 'gw'") as caught:
        resolve_gateway(FakeEngine(), "gw:9000")
    assert caught.value.gateway == "gw:9000"


@pytest.mark.parametrize("state", ["exited", "created", "paused", "restarting"])
def test_a_gateway_that_does_not_run(state: str) -> None:
    with pytest.raises(GatewayNotRunningError, match=rf"is {state} \(exit code 3\)") as caught:
        resolve_gateway(FakeEngine(container(name="gw", state=state, exit_code=3)), "gw")
    assert (caught.value.state, caught.value.exit_code) == (state, 3)
    assert "`docker start gw`" in caught.value.hint


def test_a_gateway_on_several_networks() -> None:
    engine = FakeEngine(container(name="gw", networks={"b": "10.2.0.2", "a": "10.1.0.2"}))
    with pytest.raises(AmbiguousNetworkError) as caught:
        resolve_gateway(engine, "gw")
    assert caught.value.networks == ("a", "b")


@pytest.mark.parametrize(
    ("changes", "network", "seen"),
    [
        ({"network_mode": "host"}, None, "on the host's network"),
        ({}, "other", "not on network 'other' but on bridge"),
        ({"networks": {}}, "other", "not on network 'other' but on none"),
        ({"networks": {"a": ""}}, "a", "not on network 'a'"),
        ({"networks": {}}, None, "on no network"),
    ],
)
def test_a_gateway_on_no_network_that_a_server_could_share(
    changes: dict[str, Any], network: str | None, seen: str
) -> None:
    with pytest.raises(GatewayError, match=seen) as caught:
        resolve_gateway(FakeEngine(container(name="gw", **changes)), "gw", network)
    assert caught.value.gateway == "gw"


@pytest.mark.parametrize(
    ("endpoint", "container_id", "kind"),
    [
        ("unix:///x", "g", JupyterApi),
        ("tcp://10.0.0.7:2376", None, JupyterApi),
        ("tcp://10.0.0.7:2376", "g", ExecApi),
    ],
)
def test_a_gateway_that_this_process_does_not_reach_is_asked_from_inside(
    endpoint: str, container_id: str | None, kind: type[JupyterApi]
) -> None:
    engine = FakeEngine(endpoint=endpoint)
    gateway = Gateway(name="gw", url="http://10.0.0.1:8888", container_id=container_id)
    assert type(gateway_api(engine, EngineAddress(engine), gateway, None)) is kind


def test_marked_kernels_are_found_in_the_gateways_container() -> None:
    engine = FakeEngine(container(), answers=[printed("a\nb\n")])
    assert find_marked_kernels(engine, "c", "start-1", Deadline(5)) == ("a", "b")
    assert engine.execs[0][3:] == ("find", "KERNEL_JUPYTER_LAUNCHER=start-1")


@pytest.mark.parametrize("answer", [not_run("gone"), printed("", 1, "no sh")])
def test_kernels_that_cannot_be_seen_are_none(answer: Any) -> None:
    assert find_marked_kernels(FakeEngine(answers=[answer]), "c", "start-1", Deadline(5)) == ()


@pytest.mark.parametrize(
    "text", ["OCI runtime exec failed: no sh", "a ..", "a/b", "a\n" * 1001, "é", "x" * 129, "a \x1b[2J"]
)
def test_what_is_no_list_of_ids_says_nothing_of_kernels(text: str) -> None:
    engine = FakeEngine(container(), answers=[printed(text)])
    assert find_marked_kernels(engine, "c", "start-1", Deadline(5)) is None


def test_no_marked_kernels_are_known_to_be_none() -> None:
    assert find_marked_kernels(FakeEngine(container(), answers=[printed("\n")]), "c", "start-1", Deadline(5)) == ()


def test_kernels_in_a_gateway_into_which_nobody_can_look_are_unknown() -> None:
    engine = FakeEngine(container(), answers=[not_run("no sh")])
    assert find_marked_kernels(engine, "c", "start-1", Deadline(5)) is None


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        yield found


def test_kernels_that_are_left_are_deleted_and_no_others(jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a", "b", "other"}
    assert stop_kernels(JupyterApi(jupyter.url), ("a", "b", "gone"), Deadline(5)) == ("a", "b", "gone")
    assert jupyter.kernels == {"other"}


def test_a_kernel_that_stays_is_not_said_to_be_gone(jupyter: FakeJupyter) -> None:
    jupyter.kernels, jupyter.sticky = {"a", "b"}, {"b"}
    deadline = Deadline(60)

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if jupyter.asked.count(("GET", "/api/kernels")) == 2:
            deadline.seconds = 0.0
        return jupyter.answer(method, path, headers)

    with http_server(answer) as url:
        assert stop_kernels(JupyterApi(url), ("a", "b"), deadline) == ("a",)
    assert jupyter.kernels == {"b"}


@pytest.mark.parametrize(("status", "body"), [(403, b"{}"), (200, b"{}"), (200, b"no json")])
def test_kernels_that_must_not_be_listed_are_unknown(status: int, body: bytes) -> None:
    with http_server(lambda *_: (status, body)) as url:
        assert stop_kernels(JupyterApi(url), ("a",), Deadline(5)) == ()


def test_where_nobody_lists_kernels_ours_are_deleted_and_none_is_called_gone(jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a", "other"}

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        return (403, b"{}") if method == "GET" else jupyter.answer(method, path, headers)

    with http_server(answer) as url:
        assert stop_kernels(JupyterApi(url), ("a",), Deadline(5)) == ()
    assert jupyter.kernels == {"other"}


def test_what_was_seen_gone_is_gone_although_the_gateway_does_not_answer_any_more(jupyter: FakeJupyter) -> None:
    jupyter.kernels, jupyter.sticky = {"b"}, {"b"}

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if method == "GET" and ("GET", "/api/kernels") in jupyter.asked:
            return 500, b"{}"
        return jupyter.answer(method, path, headers)

    with http_server(answer) as url:
        assert stop_kernels(JupyterApi(url), ("a", "b"), Deadline(5)) == ("a",)


@pytest.mark.parametrize("kind", SOME)
def test_a_hostile_gateway_costs_no_more_than_the_deadline(kind: str) -> None:
    deadline = Deadline(0.3)
    ids = tuple(f"k{number}" for number in range(300))
    with hostile_server(KINDS[kind]) as url:
        assert stop_kernels(JupyterApi(url), ids, deadline) == ()
    assert deadline.elapsed() < 0.3 + 2


def test_kernels_that_do_not_end_cost_no_more_than_the_deadline() -> None:
    ids = tuple(f"k{number}" for number in range(300))
    deadline = Deadline(0.5)
    with server_of_kernels(ids, []) as url:
        assert stop_kernels(JupyterApi(url), (*ids, "gone"), deadline) == ("gone",)
        assert deadline.elapsed() < 0.5 + 2


Run = Callable[..., contextlib.AbstractContextManager[str]]


@pytest.fixture
def run(jupyter: FakeJupyter, tmp_path: Path) -> Run:
    """A gateway of ours whose published port leads to a real HTTP server."""

    def call(keep: Callable[[str], bool] = lambda _: False, **given: Any) -> contextlib.AbstractContextManager[str]:
        known: dict[str, Any] = {
            "pipeline_dir": tmp_path,
            "image": "gateway",
            "namespace": "unit",
            "owner": "me",
            "network": None,
            "seconds": 5.0,
            "user": None,
            "rules": DirectoryRules(),
        }
        request = GatewayRequest(**{**known, **given})
        return run_gateway(jupyter.engine, EngineAddress(jupyter.engine), request, keep=keep)

    return call


def test_a_gateway_of_ours_is_there_until_it_is_left(run: Run, jupyter: FakeJupyter, tmp_path: Path) -> None:
    with run() as name:
        assert name.startswith("enterprise-gateway.unit.")
        info = jupyter.engine.named(name)
        config = jupyter.engine.configs[name]
        assert (config.image, config.user) == ("gateway", f"{tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}")
        assert ("GET", "/api/kernelspecs") in jupyter.asked
    assert jupyter.engine.removed == [info.id]


def test_a_gateway_that_is_kept(run: Run, jupyter: FakeJupyter) -> None:
    asked: list[str] = []
    with run(keep=lambda name: not asked.append(name)) as name:  # type: ignore[func-returns-value]
        pass
    assert asked == [name]
    assert jupyter.engine.named(name).running


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
    assert error.gateway.startswith("enterprise-gateway.unit.")
    assert jupyter.engine.known == {}


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
    assert len(jupyter.engine.removed) == 1


def test_a_gateway_for_a_directory_that_is_not_there(run: Run, jupyter: FakeJupyter, tmp_path: Path) -> None:
    with pytest.raises(PipelineDirError), run(pipeline_dir=tmp_path / "none"):
        pytest.fail("there is no directory")
    assert jupyter.engine.calls == []

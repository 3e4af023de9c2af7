"""Kernels on a gateway: whose they are, and their end."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from jupyter_launcher import (
    Gateway,
)
from jupyter_launcher.engine.traits import NetworkInfo
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.gateway.kernels import MarkedKernels, find_marked_kernels, gateway_api, stop_kernels
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.server.api import JupyterApi, NoAnswerError
from jupyter_launcher.server.exec_api import ExecApi
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import (
    APART,
    HERE,
    FakeEngine,
    FakeJupyter,
    container,
    http_server,
    not_run,
    printed,
)
from tests.unit.hostile import KINDS, SOME, hostile_server, server_of_kernels


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        yield found


HIDDEN = NetworkInfo(driver="bridge", subnets=(ip_network("10.0.0.0/24"),))
REMOTE = "tcp://10.0.0.7:2376"


def choose_api(engine: FakeEngine, url: str, container: ContainerInfo | None, **given: Any) -> type[JupyterApi] | None:
    gateway = Gateway(**{"name": "gw", "url": url, "container_id": "g", **given})
    found = gateway_api(engine, EngineAddress(engine), gateway, None, container=container, networks=["mine"])
    return None if found is None else type(found)


@pytest.mark.parametrize(
    ("network", "endpoint", "ip", "kind"),
    [
        (HERE, "unix:///x", "127.0.0.9", JupyterApi),
        (APART, "unix:///x", "127.0.0.9", ExecApi),
        (None, "unix:///x", "127.0.0.9", ExecApi),
        (HERE, REMOTE, "127.0.0.9", ExecApi),
        (HERE, "unix:///x", "127.0.0.10", ExecApi),  # it has another IP by now
    ],
)
def test_a_gateway_that_this_process_does_not_reach_is_asked_from_inside(
    network: NetworkInfo | None, endpoint: str, ip: str, kind: type[JupyterApi]
) -> None:
    engine = FakeEngine(endpoint=endpoint)
    engine.every_network = network
    now = container(networks={"other": "10.0.0.1", "mine": ip})
    assert choose_api(engine, "http://127.0.0.9:8888", now) is kind
    assert choose_api(engine, "http://127.0.0.9:8888", None) is ExecApi


@pytest.mark.parametrize(
    ("network", "url", "kind"),
    [
        (HERE, "http://127.0.0.9:8888", JupyterApi),
        (HIDDEN, "http://10.0.0.9:8888", None),
        (HIDDEN, "http://10.0.1.9:8888", JupyterApi),
        (HIDDEN, "http://[fd00::9]:8888", JupyterApi),
        (HIDDEN, "https://gateway.example", JupyterApi),
        (None, "http://10.0.0.9:8888", JupyterApi),
    ],
)
def test_a_url_is_asked_unless_only_the_engines_containers_have_its_ip(
    network: NetworkInfo | None, url: str, kind: type[JupyterApi] | None
) -> None:
    engine = FakeEngine()
    engine.every_network = network
    assert choose_api(engine, url, None, container_id=None) is kind


def test_marked_kernels_are_found_in_the_gateways_container() -> None:
    engine = FakeEngine(container(), answers=[printed("b - - 7\na - - 8\n")])
    assert find_marked_kernels(engine, "c", "start-1", Deadline(5)) == MarkedKernels(own=("a", "b"))
    assert engine.execs[0][3:] == ("find", "KERNEL_JUPYTER_LAUNCHER=start-1")


@pytest.mark.parametrize("answer", [not_run("gone"), printed("", 1, "no sh")])
def test_kernels_that_cannot_be_seen_are_none(answer: Any) -> None:
    assert find_marked_kernels(FakeEngine(answers=[answer]), "c", "start-1", Deadline(5)) == MarkedKernels()


@pytest.mark.parametrize(
    "text",
    [
        *("OCI runtime exec failed: no sh", ".. - - 1", "a/b - - 1", "é - - 1", f"{'x' * 129} - - 1", "a \x1b[2J"),
        *("a", "a - -", "a - x 1", "a - 1 1", "a - - x", "a - - 1 1"),
        "".join(f"k{number} - - 1\n" for number in range(1001)),
    ],
)
def test_what_is_no_list_of_ids_says_nothing_of_kernels(text: str) -> None:
    engine = FakeEngine(container(), answers=[printed(text)])
    assert find_marked_kernels(engine, "c", "start-1", Deadline(5)) is None


def test_no_marked_kernels_are_known_to_be_none() -> None:
    engine = FakeEngine(container(), answers=[printed("\n")])
    assert find_marked_kernels(engine, "c", "start-1", Deadline(5)) == MarkedKernels()


ONE, TWO = f"1795651868.082-{'1' * 32}", f"1795651869.000-{'2' * 32}"


@pytest.mark.parametrize(
    ("lines", "own", "others"),
    [
        # Of one number the oldest, by the connection file, whatever a restart has made of its process.
        ([f"a {ONE} 1795651868.200000000 90", f"b {ONE} 1795651868.300000000 10"], "a", "b"),
        ([f"a {ONE} 1795651868.300000000 90", f"b {ONE} 1795651868.200000000 10"], "b", "a"),
        # Where one has no such file, by the process.
        ([f"a {ONE} 1795651868.200000000 90", f"b {ONE} - 10"], "b", "a"),
        # What a kernel has started is no kernel, and has no file.
        ([f"a {ONE} 1795651868.200000000 5", f"a {ONE} - 9", f"b {ONE} 1795651868.300000000 3"], "a", "b"),
        ([f"a {ONE} - 9", f"b {ONE} - 7", f"a {ONE} - 5"], "a", "b"),
        # Each number has one.
        ([f"a {ONE} 1795651868.200000000 1", f"b {TWO} 1795651869.200000000 2", f"c {TWO} - 3"], "ab", "c"),
        # Made long after the request: the session's own kernel is gone.
        ([f"a {ONE} 1795651999.000000000 1"], "", "a"),
        ([f"a {ONE} 1795651988.000000000 1"], "a", ""),
        # Without a number nobody can tell, as with a server that does not take our configuration.
        (["a - 1795651868.200000000 1", "b - - 2"], "ab", ""),
        ([f"a {ONE} 1795651868.200000000 1", "b - 1795651868.100000000 2"], "ab", ""),
        # A number that a kernel has made up is none.
        (["a made-up - 1", "b made-up - 2"], "ab", ""),
    ],
)
def test_of_the_kernels_of_one_start_the_oldest_is_the_sessions(lines: list[str], own: str, others: str) -> None:
    engine = FakeEngine(container(), answers=[printed("\n".join(lines))])
    found = find_marked_kernels(engine, "c", "start-1", Deadline(5))
    assert found == MarkedKernels(own=tuple(own), of_others=tuple(others))


def test_kernels_in_a_gateway_into_which_nobody_can_look_are_unknown() -> None:
    engine = FakeEngine(container(), answers=[not_run("no sh")])
    assert find_marked_kernels(engine, "c", "start-1", Deadline(5)) is None


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


def test_where_no_connection_is_made_nothing_more_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(_: JupyterApi, method: str, *__: object, **___: object) -> NoAnswerError:
        asked.append(method)
        return NoAnswerError("TimeoutError", connected=False)

    monkeypatch.setattr(JupyterApi, "_ask", ask)
    assert stop_kernels(JupyterApi("http://10.0.0.1:8888"), ("a", "b"), Deadline(60)) == ()
    assert asked == ["GET"]


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
    deadline = Deadline(2)
    with server_of_kernels(ids, []) as url:
        assert stop_kernels(JupyterApi(url), (*ids, "gone"), deadline) == ("gone",)
        assert deadline.elapsed() < 2 + 2

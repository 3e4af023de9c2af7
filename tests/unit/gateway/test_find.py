"""Gateways: found by a name or a URL, with the token of one of ours."""

from __future__ import annotations

from typing import Any

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
)
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.gateway import find
from jupyter_launcher.gateway.find import find_container, find_token, resolve_gateway
from jupyter_launcher.spec.kernels.labels import GatewayLabels
from jupyter_launcher.spec.labels import gateway_labels, gateway_name
from jupyter_launcher.spec.server import RUN_DIR
from tests.unit.fakes import (
    GATEWAY_TOKEN,
    FakeEngine,
    container,
    not_run,
    printed,
)


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
    ("url", "networks", "joined", "asked"),
    [
        ("http://gw:8888/gw", {"mine": "10.1.0.2"}, "mine", "http://gw:8888/gw"),
        ("https://gw:8888", {"mine": "10.1.0.2"}, "mine", "https://gw:8888"),
        ("http://gw/gw", {"bridge": "172.17.0.9"}, "bridge", "http://172.17.0.9/gw"),
        ("https://gw", {"bridge": "172.17.0.9"}, "bridge", "https://gw"),
    ],
)
def test_a_url_with_a_containers_name(url: str, networks: dict[str, str], joined: str, asked: str) -> None:
    found = resolve_gateway(FakeEngine(container(name="gw", networks=networks)), url)
    assert (found.name, found.url, found.network, found.container_id) == (url, asked, joined, None)


def test_a_url_with_the_name_of_a_container_on_several_networks() -> None:
    engine = FakeEngine(container(name="gw", networks={"a": "10.1.0.2", "b": "10.2.0.2"}))
    with pytest.raises(AmbiguousNetworkError):
        resolve_gateway(engine, "http://gw:8888")
    assert resolve_gateway(engine, "http://gw:8888", "b").network == "b"


@pytest.mark.parametrize(
    ("url", "changes"),
    [
        ("http://gw.example:8888", {}),
        ("http://cccc:8888", {}),  # an id is no name
        ("http://172.17.0.9:8888", {}),
        ("http://gw:8888", {"state": "exited"}),
        ("http://gw:8888", {"network_mode": "host"}),
    ],
)
def test_a_url_with_another_name_is_taken_as_it_is(url: str, changes: dict[str, Any]) -> None:
    found = resolve_gateway(FakeEngine(container(name="gw", **changes)), url)
    assert (found.url, found.network, found.container_id) == (url, None, None)


AT = {"networks": {"mine": "10.1.0.2", "other": "10.2.0.2"}, "aliases": {"mine": ("Service",), "other": ("far",)}}


@pytest.mark.parametrize(
    ("url", "is_found"),
    [
        ("http://gw:8888/gw", True),
        ("https://gw:8888", True),
        ("http://10.1.0.2:8888", True),
        ("http://service:8888", True),
        ("https://SERVICE", True),
        ("http://far:8888", False),
        ("http://10.2.0.2:8888", False),
        ("http://10.1.0.3:8888", False),
        ("http://service.example", False),
    ],
)
def test_the_container_of_a_url_is_found_on_the_sessions_networks(url: str, *, is_found: bool) -> None:
    engine = FakeEngine(
        container(name="gw", **AT), container(id="d" * 64, name="beside", networks={"mine": "10.1.0.9"})
    )
    found = find_container(engine, Gateway(name=url, url=url), ("mine",))
    assert found.container_id == ("c" * 64 if is_found else None)


def test_a_name_that_several_containers_have_is_nobodys() -> None:
    engine = FakeEngine(container(name="one", **AT), container(id="d" * 64, name="two", **AT))
    gateway = Gateway(name="gw", url="http://service:8888")
    assert find_container(engine, gateway, ("mine",)) == gateway


def test_a_gateway_of_ours_has_no_tls() -> None:
    gateway = Gateway(name="gw", url=f"https://{NAME}:8888")
    assert find_container(ours(networks={"mine": "10.1.0.2"}), gateway, ("mine",)) == gateway


def test_an_engine_that_does_not_tell_its_containers_is_no_reason_to_fail() -> None:
    engine = FakeEngine(container(name="gw", **AT))
    engine.fail("containers", EngineError("no", hint="look"))
    gateway = Gateway(name="gw", url="http://gw:8888")
    assert find_container(engine, gateway, ("mine",)) == gateway


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


@pytest.mark.parametrize("state", ["exited", "created", "restarting"])
def test_a_gateway_that_does_not_run(state: str) -> None:
    with pytest.raises(GatewayNotRunningError, match=rf"is {state} \(exit code 3\)") as caught:
        resolve_gateway(FakeEngine(container(name="gw", state=state, exit_code=3)), "gw")
    assert (caught.value.state, caught.value.exit_code) == (state, 3)
    assert "`docker start gw`" in caught.value.hint


def test_a_gateway_that_is_paused() -> None:
    with pytest.raises(GatewayNotRunningError, match="container gw is paused") as caught:
        resolve_gateway(FakeEngine(container(name="gw", state="paused")), "gw")
    assert (caught.value.state, caught.value.exit_code) == ("paused", None)
    assert caught.value.hint == "`docker unpause gw` first"


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
        ({"networks": {"none": ""}}, None, "on no network"),
        ({"networks": {"six": ""}}, None, "has no IPv4 address on six"),
    ],
)
def test_a_gateway_on_no_network_that_a_server_could_share(
    changes: dict[str, Any], network: str | None, seen: str
) -> None:
    with pytest.raises(GatewayError, match=seen) as caught:
        resolve_gateway(FakeEngine(container(name="gw", **changes)), "gw", network)
    assert caught.value.gateway == "gw"


NAME = gateway_name("unit", "0" * 12)


def ours(*answers: Any, **changes: Any) -> FakeEngine:
    """An engine with a gateway of ours, whose token is read so."""
    labels = gateway_labels("unit", "me", "mark")
    return FakeEngine(container(**{"name": NAME, "labels": labels, **changes}), answers=answers)


def test_the_token_of_a_gateway_of_ours_is_read_in_its_container() -> None:
    engine = ours(printed(GATEWAY_TOKEN))
    found = resolve_gateway(engine, NAME)
    assert found.token == GATEWAY_TOKEN
    assert GATEWAY_TOKEN not in repr(found)
    assert engine.execs[0][3:] == ("read", RUN_DIR, "")
    assert engine.secrets == [True]
    assert engine.limits == [1024]


@pytest.mark.parametrize(("isolation", "port"), [("environment", "22B8"), ("kernel", "")])
def test_a_gateway_that_others_share_a_network_with_listens_before_its_token_is_read(isolation: str, port: str) -> None:
    labels = gateway_labels("unit", "me", "mark", more=GatewayLabels(start="s", isolation=isolation))
    engine = ours(printed(GATEWAY_TOKEN), labels=labels)
    assert resolve_gateway(engine, NAME).token == GATEWAY_TOKEN
    assert engine.execs[0][3:] == ("read", RUN_DIR, port)


def test_the_token_of_a_gateway_of_ours_that_is_just_starting() -> None:
    assert resolve_gateway(ours(printed("", 1), printed("ab"), printed(GATEWAY_TOKEN)), NAME).token == GATEWAY_TOKEN


def test_other_gateways_are_not_asked_for_a_token() -> None:
    engine = FakeEngine(container(name="gw", labels=gateway_labels("unit", "me", "mark")))  # a copy of our labels
    assert resolve_gateway(engine, "gw").token is None
    assert engine.execs == []


@pytest.mark.parametrize("answer", [not_run("no sh"), printed("", 1), printed("A" * 64), printed(GATEWAY_TOKEN + "\n")])
def test_a_gateway_of_ours_whose_token_cannot_be_read(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "_TOKEN_SECONDS", 0.05)
    with pytest.raises(GatewayUnreachableError, match="none could be read in its container") as caught:
        resolve_gateway(ours(answer), f"{NAME}:9000")
    assert (caught.value.gateway, caught.value.gateway_url) == (f"{NAME}:9000", "http://172.17.0.9:9000")


@pytest.mark.parametrize("gateway", [NAME, "http://172.17.0.9:8888"])
@pytest.mark.parametrize(("given", "seconds"), [({}, 15.0), ({"seconds": 3.0}, 3.0), ({"seconds": 60.0}, 15.0)])
def test_a_token_has_no_more_time_than_the_caller_gives(
    monkeypatch: pytest.MonkeyPatch, gateway: str, given: dict[str, Any], seconds: float
) -> None:
    seen: list[float] = []

    def read(_engine: object, _info: object, limit: float) -> str:
        seen.append(limit)
        return GATEWAY_TOKEN

    monkeypatch.setattr(find, "find_token", read)
    assert resolve_gateway(ours(), gateway, **given).token == GATEWAY_TOKEN
    assert seen == [seconds]


NETWORKS = {"a": "10.1.0.2", "b": "10.2.0.2"}


@pytest.mark.parametrize(
    ("url", "network", "joined"),
    [
        ("http://10.1.0.2:8888", None, "a"),
        ("http://10.2.0.2:8888/", None, "b"),
        ("http://10.2.0.2:8888/", "b", "b"),
        (f"http://{NAME}:8888", "b", "b"),
        (f"http://{NAME}:8888", None, "a"),
    ],
)
def test_a_url_of_a_gateway_of_ours(url: str, network: str | None, joined: str) -> None:
    found = resolve_gateway(ours(printed(GATEWAY_TOKEN), networks=NETWORKS), url, network)
    assert (found.name, found.url, found.network) == (url, url, joined)
    assert (found.container_id, found.token) == (None, GATEWAY_TOKEN)


@pytest.mark.parametrize(
    ("url", "network", "changes"),
    [
        ("http://10.9.0.2:8888", None, {}),
        ("http://10.1.0.2:8888", "b", {}),
        ("http://10.1.0.2:8888", None, {"name": "copy"}),
        ("http://alias:8888", None, {}),
        (f"http://{NAME}:8888", None, {"state": "exited", "networks": {"a": ""}}),
        ("http://10.1.0.2:8888", None, {"state": "exited"}),
    ],
)
def test_a_url_of_another_gateway_is_taken_as_it_is(url: str, network: str | None, changes: Any) -> None:
    engine = ours(**{"networks": NETWORKS, **changes})
    found = resolve_gateway(engine, url, network)
    assert (found.url, found.network, found.container_id, found.token) == (url, network, None, None)
    assert engine.execs == []


def test_a_url_of_a_gateway_of_ours_that_is_paused() -> None:
    with pytest.raises(GatewayNotRunningError) as caught:
        resolve_gateway(ours(state="paused"), "http://172.17.0.9:8888")
    assert caught.value.hint == f"`docker unpause {NAME}` first"


OURS_ENDED = container(name=NAME, labels=gateway_labels("unit", "", ""), state="exited")
COPY = container(name="copy", labels=gateway_labels("unit", "", ""))


@pytest.mark.parametrize("info", [None, container(), OURS_ENDED, COPY])
def test_what_is_no_running_gateway_of_ours_has_no_token(info: ContainerInfo | None) -> None:
    assert find_token(FakeEngine(), info, 5.0) is None

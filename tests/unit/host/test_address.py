"""How this process reaches servers: from the engine's host, from a container, or from another machine."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineError, EngineUnavailableError, OptionError
from jupyter_launcher.engine.traits import NetworkInfo
from jupyter_launcher.host import address, mountinfo
from jupyter_launcher.host.address import EngineAddress, bracket
from tests.unit.fakes import APART, DOCKER, HERE, FakeEngine, container, listed, refusal

OWN_ID = "0f" * 32
MOUNTS = (
    "1 2 0:1 / / rw - overlay overlay rw\n"
    f"3 1 8:1 /var/lib/docker/containers/{OWN_ID}/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw\n"
)


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: "")


def inside(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> EngineAddress:
    """As a process in a container of the engine sees it."""
    monkeypatch.setattr(address, "read_mountinfo", lambda: MOUNTS)
    return EngineAddress(FakeEngine(container(**{"id": OWN_ID, "name": "orchestrator", **changes})))


def at(endpoint: str) -> EngineAddress:
    return EngineAddress(FakeEngine(endpoint=endpoint))


@pytest.mark.parametrize(
    ("endpoint", "host", "socket_path"),
    [
        ("unix:///var/run/docker.sock", "127.0.0.1", "/var/run/docker.sock"),
        ("tcp://10.0.0.7:2376", "10.0.0.7", None),
        ("https://engine.example:2376", "engine.example", None),
        ("ssh://me@far.example", "far.example", None),
        ("http+docker://localhost", "127.0.0.1", None),
    ],
)
def test_where_published_ports_are(endpoint: str, host: str, socket_path: str | None) -> None:
    found = at(endpoint)
    assert found.host == host
    assert found.socket_path is None if socket_path is None else str(found.socket_path) == socket_path


@pytest.mark.parametrize(
    ("endpoint", "remote"),
    [
        ("unix:///var/run/docker.sock", False),
        ("tcp://localhost:2375", False),
        ("tcp://127.0.0.1:2375", False),
        ("tcp://[::1]:2375", False),
        ("tcp://10.0.0.7:2376", True),
        ("ssh://me@far.example", True),
    ],
)
def test_which_engines_are_on_another_machine(endpoint: str, remote: bool) -> None:  # noqa: FBT001 - pytest's
    assert at(endpoint).is_remote == remote


def test_an_engine_that_runs_this_process_is_not_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: MOUNTS)
    engine = FakeEngine(container(id=OWN_ID), endpoint="tcp://10.0.0.7:2376")
    assert not EngineAddress(engine).is_remote


def test_an_address_in_a_url() -> None:
    assert (bracket("10.0.0.1"), bracket("::1")) == ("10.0.0.1", "[::1]")


def test_outside_of_containers_the_engine_is_not_asked() -> None:
    engine = FakeEngine()
    assert EngineAddress(engine).find_own_container() is None
    assert engine.calls == []


@pytest.mark.parametrize("file", ["hostname", "hosts", "resolv.conf"])
def test_the_own_container_is_known_by_the_engines_mounts(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    mounts = f"3 1 8:1 /containers/{OWN_ID}/{file} /etc/{file} rw - ext4 /dev/sda1 rw\n"
    monkeypatch.setattr(address, "read_mountinfo", lambda: mounts)
    found = EngineAddress(FakeEngine(container(id=OWN_ID, name="mine"))).find_own_container()
    assert found is not None
    assert found.name == "mine"


def test_a_container_of_another_engine_is_not_this_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: MOUNTS)
    assert EngineAddress(FakeEngine(container(id="a" * 64))).find_own_container() is None


def test_the_own_container_is_asked_for_once_unless_its_networks_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: MOUNTS)
    engine = FakeEngine(container(id=OWN_ID))
    found = EngineAddress(engine)
    assert found.find_own_container() is found.find_own_container()
    assert engine.calls == [("inspect", OWN_ID)]
    found.choose_network(None)
    assert len(engine.calls) == 2


def test_the_mounts_of_this_process_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert " / " in mountinfo.read_mountinfo()


def test_without_proc_this_process_is_in_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", missing)
    assert EngineAddress(FakeEngine()).find_own_container() is None


@pytest.mark.parametrize(("wanted", "network"), [(None, "bridge"), ("mine", "mine")])
def test_the_network_as_seen_from_the_host(wanted: str | None, network: str) -> None:
    assert EngineAddress(FakeEngine()).choose_network(wanted) == network


@pytest.mark.parametrize(
    ("networks", "wanted", "network"),
    [
        (("a", "bridge", "b"), None, "bridge"),
        (("b", "a"), None, "a"),
        (("b", "a"), "b", "b"),
    ],
)
def test_the_network_is_one_that_this_container_is_on(
    monkeypatch: pytest.MonkeyPatch, networks: tuple[str, ...], wanted: str | None, network: str
) -> None:
    found = inside(monkeypatch, networks=dict.fromkeys(networks, "10.0.0.9"))
    assert found.choose_network(wanted) == network


@pytest.mark.parametrize(
    ("networks", "wanted", "seen"), [(("a",), "other", "on a, and would not"), ((), None, "on no network")]
)
def test_a_network_that_this_container_is_not_on(
    monkeypatch: pytest.MonkeyPatch, networks: tuple[str, ...], wanted: str | None, seen: str
) -> None:
    found = inside(monkeypatch, networks=dict.fromkeys(networks, "10.0.0.9"))
    with pytest.raises(OptionError, match=seen) as caught:
        found.choose_network(wanted)
    assert caught.value.option == "network"
    assert f"docker network connect {wanted or 'bridge'} orchestrator" in caught.value.hint


def test_in_the_hosts_network_it_is_as_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inside(monkeypatch, network_mode="host", networks={"host": ""})
    assert found.choose_network(None) == "bridge"
    assert found.server_url(container(), "127.0.0.1") == "http://127.0.0.1:49153/"


@pytest.mark.parametrize(("given", "chosen"), [(None, "127.0.0.1"), ("0.0.0.0", "0.0.0.0")])
def test_servers_are_published_on_loopback_unless_asked_otherwise(given: str | None, chosen: str) -> None:
    assert EngineAddress(FakeEngine()).choose_publish_ip(given) == chosen


def test_with_a_remote_engine_it_is_the_address_of_its_host() -> None:
    assert at("tcp://10.0.0.7:2376").choose_publish_ip(None) == "10.0.0.7"


@pytest.mark.parametrize("given", ["0.0.0.0", "10.0.0.8", "no address"])
def test_with_a_remote_engine_another_address_may_be_given(given: str) -> None:
    assert at("tcp://10.0.0.7:2376").choose_publish_ip(given) == given


@pytest.mark.parametrize("given", ["127.0.0.1", "127.0.0.2", "::1"])
def test_the_loopback_of_a_remote_engine_is_refused(given: str) -> None:
    with pytest.raises(OptionError, match="does not reach") as caught:
        at("tcp://10.0.0.7:2376").choose_publish_ip(given)
    assert caught.value.option == "host_ip"


def test_a_remote_host_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EngineUnavailableError, match=r"far\.example has no address") as caught:
        at("ssh://me@far.example").choose_publish_ip(None)
    assert caught.value.endpoint == "ssh://me@far.example"


def test_a_server_is_reached_over_a_network_that_both_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inside(monkeypatch, networks={"a": "10.1.0.2", "b": "10.2.0.2"})
    server = container(networks={"other": "10.9.0.3", "b": "fd00::3"})
    assert found.server_url(server, "127.0.0.1", "/x/") == "http://[fd00::3]:8888/x/"
    assert found.server_url(listed(server), "127.0.0.1", "/x/") == "http://[fd00::3]:8888/x/"


def test_without_a_shared_network_it_is_reached_by_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inside(monkeypatch, networks={"a": "10.1.0.2"})
    assert found.server_url(container(networks={"b": "10.2.0.3"}), "127.0.0.1") == "http://127.0.0.1:49153/"


@pytest.mark.parametrize(
    ("host_ip", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:49153/x/"),
        ("127.0.0.2", "http://127.0.0.2:49153/x/"),
        ("0.0.0.0", "http://127.0.0.1:49153/x/"),
        ("::1", "http://[::1]:49153/x/"),
        ("::", "http://[::1]:49153/x/"),
        ("10.0.0.8", "http://10.0.0.8:49153/x/"),
        ("fd00::8", "http://[fd00::8]:49153/x/"),
    ],
)
def test_published_ports(host_ip: str, url: str) -> None:
    assert EngineAddress(FakeEngine()).published_url(container(), host_ip, "/x/") == url


@pytest.mark.parametrize(
    ("bindings", "host_ip", "port"),
    [
        ({"0.0.0.0": 1, "::": 2}, "0.0.0.0", 1),
        ({"::": 2, "0.0.0.0": 1}, "0.0.0.0", 1),
        ({"0.0.0.0": 1, "::": 2}, "::", 2),
        ({"": 1, "::": 2}, "0.0.0.0", 1),
        ({"": 1}, "::", 49153),
        ({"127.0.0.1": 1, "127.0.0.2": 2}, "127.0.0.2", 2),
        ({"10.0.0.8": 1}, "127.0.0.1", 49153),
        ({}, "127.0.0.1", 49153),
    ],
)
def test_the_port_is_that_of_the_address(bindings: dict[str, int], host_ip: str, port: int) -> None:
    server = container(bindings={"8888/tcp": bindings})
    for item in (server, listed(server)):
        assert EngineAddress(FakeEngine()).published_url(item, host_ip).endswith(f":{port}/")


@pytest.mark.parametrize(
    ("host_ip", "host"),
    [
        ("0.0.0.0", "10.0.0.7"),
        ("::", "10.0.0.7"),
        ("127.0.0.1", "10.0.0.7"),
        ("::1", "10.0.0.7"),
        ("10.0.0.8", "10.0.0.8"),
    ],
)
def test_published_ports_of_a_remote_engine(host_ip: str, host: str) -> None:
    assert at("tcp://10.0.0.7:2376").published_url(container(), host_ip) == f"http://{host}:49153/"


def test_paths_of_the_engines_host_seen_from_there() -> None:
    assert EngineAddress(FakeEngine()).find_here(Path("/a")) == Path("/a")
    assert EngineAddress(FakeEngine()).find_on_host(Path("/a")) == Path("/a")


def test_paths_of_an_engine_elsewhere_are_not_seen() -> None:
    assert at("tcp://10.0.0.7:2376").find_here(Path("/a")) is None
    elsewhere = FakeEngine(traits=replace(DOCKER, same_kernel=False))
    assert EngineAddress(elsewhere).find_here(Path("/a")) is None


def test_paths_of_the_engines_host_seen_from_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = {"/work": "/host", "/work/inner": "/other", "/again": "/host/deep"}
    found = inside(monkeypatch, mounts=mounts)
    pairs = {"/host/x": "/work/x", "/other/y": "/work/inner/y", "/host/deep/z": "/again/z"}
    for there, here in pairs.items():
        assert found.find_here(Path(there)) == Path(here)
        assert found.find_on_host(Path(here)) == Path(there)
    for path in ("/host/inner/x", "/hosts", "/elsewhere"):  # the first is under another mount
        assert found.find_here(Path(path)) is None
    assert found.find_on_host(Path("/home")) is None


def test_a_container_without_a_published_port_has_port_0() -> None:
    assert EngineAddress(FakeEngine()).published_url(container(ports={}), "127.0.0.1") == "http://127.0.0.1:0/"


def test_a_server_is_reached_by_a_port_or_over_a_shared_network(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = EngineAddress(FakeEngine())
    assert outside.reaches(container())
    assert not outside.reaches(container(ports={}))
    assert not outside.reaches(container(ports={"8888/tcp": ()}))
    within = inside(monkeypatch, networks={"a": "10.1.0.2"})
    assert within.reaches(container(ports={}, networks={"a": "10.1.0.3"}))
    assert not within.reaches(container(ports={}, networks={"b": "10.2.0.3"}))


@pytest.mark.parametrize(
    ("traits", "endpoint", "reached"),
    [
        ({}, "unix:///var/run/docker.sock", True),
        ({}, "tcp://127.0.0.1:2375", True),
        ({}, "tcp://10.0.0.7:2376", False),
        ({"rootless": True}, "unix:///run/user/1000/docker.sock", False),
        ({"desktop": True}, "unix:///var/run/docker.sock", False),
        ({"same_kernel": False}, "unix:///var/run/docker.sock", False),
        # A proxy does not let the engine tell: its networks may not be this host's.
        ({"rootless": None}, "unix:///var/run/docker.sock", False),
        ({"desktop": None}, "unix:///var/run/docker.sock", False),
        ({"same_kernel": None}, "unix:///var/run/docker.sock", False),
    ],
)
def test_whether_the_bridge_is_reached(
    traits: dict[str, Any],
    endpoint: str,
    reached: bool,  # noqa: FBT001 - pytest's
) -> None:
    known = replace(DOCKER, **{"rootless": False, "desktop": False, **traits})
    engine = FakeEngine(endpoint=endpoint, traits=known)
    engine.every_network = HERE
    assert EngineAddress(engine).reaches_network("mine") is reached
    assert {name for call, name in engine.calls if call == "network"} == ({"mine"} if reached else set())


@pytest.mark.parametrize(
    ("network", "reached"),
    [
        (HERE, True),
        (APART, False),
        (None, False),
        (refusal(403), False),
        (replace(HERE, driver="macvlan"), False),  # its containers are hidden from this host
        (replace(HERE, subnets=()), False),
        (replace(HERE, subnets=(*APART.subnets, *HERE.subnets)), True),
        (replace(HERE, subnets=(ip_network("127.0.0.1/32"),)), True),
        (replace(HERE, subnets=(ip_network("203.0.113.9/32"),)), False),
        (replace(HERE, subnets=(ip_network("::1/128"),)), False),  # containers are known by IPv4
        (replace(HERE, subnets=(ip_network("255.255.255.254/31"),)), False),  # nobody may send there
    ],
    ids=str,
)
def test_a_network_is_reached_where_this_host_has_an_address(
    network: NetworkInfo | EngineError | None,
    reached: bool,  # noqa: FBT001 - pytest's
) -> None:
    engine = FakeEngine()
    if isinstance(network, EngineError):
        engine.fail("network", network)
    else:
        engine.every_network = network
    assert EngineAddress(engine).reaches_network("mine") is reached


@pytest.mark.parametrize(
    ("traits", "reached"),
    [({}, True), ({"rootless": True}, False), ({"rootless": None}, False), ({"same_kernel": None}, False)],
)
def test_a_network_of_podman_has_no_bridge_before_its_first_container(
    traits: dict[str, Any],
    reached: bool,  # noqa: FBT001 - pytest's
) -> None:
    engine = FakeEngine(traits=replace(DOCKER, **{"name": "Podman", "rootless": False, **traits}))
    assert EngineAddress(engine).reaches_network("mine") is reached
    engine.every_network = replace(APART, driver="macvlan")
    assert not EngineAddress(engine).reaches_network("mine")


@pytest.mark.parametrize(
    ("network", "host", "hidden"),
    [
        (APART, "203.0.113.9", True),
        (APART, "198.51.100.1", False),
        (APART, "gateway", False),
        (APART, "", False),
        (HERE, "127.0.0.9", False),
        (None, "203.0.113.9", False),
    ],
)
def test_an_ip_of_a_network_that_is_not_reached_is_hidden(
    network: NetworkInfo | None,
    host: str,
    hidden: bool,  # noqa: FBT001 - pytest's
) -> None:
    engine = FakeEngine()
    engine.every_network = network
    assert EngineAddress(engine).is_hidden_ip(host, ["a", "b"]) is hidden
    assert not EngineAddress(engine).is_hidden_ip(host, [])


def test_from_a_container_the_networks_of_that_one_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inside(monkeypatch, networks={"b": "10.2.0.3"})
    assert found.reaches_network("b")
    assert not found.reaches_network("a")
    both = container(networks={"a": "10.1.0.2", "b": "10.2.0.2"})
    assert found.bridge_url(both) == "http://10.2.0.2:8888/"


def test_a_server_at_its_own_address() -> None:
    found = at("unix:///var/run/docker.sock")
    assert found.bridge_url(container(networks={"six": "fd00::2"})) == "http://[fd00::2]:8888/"
    assert found.bridge_url(container(networks={"a": ""})) is None

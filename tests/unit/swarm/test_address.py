"""How a process reaches servers in a swarm."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from jupyter_launcher import OptionError, Swarm
from jupyter_launcher.engine.traits import NetworkInfo
from jupyter_launcher.host import address
from jupyter_launcher.swarm.address import SwarmAddress
from tests.unit.fakes import FakeSwarm, container

OWN = f"1 2 0:1 /docker/containers/{'f' * 64}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"
LAB = Swarm(network="lab")
NEAR = NetworkInfo(driver="overlay", subnets=(ip_network("127.0.0.0/8"),))
PUBLISHED = container(
    node="node2", host="10.77.0.2", ports={"8888/tcp": (30001,), "6006/tcp": (30002,)}, networks={"lab": "10.0.1.5"}
)
HIDDEN = container(node="node2", host="10.77.0.2", ports={}, networks={"lab": "10.0.1.5"})


@pytest.fixture(autouse=True)
def _in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: OWN)


def test_paths_are_paths_of_a_node() -> None:
    engine = FakeSwarm(container(id="f" * 64, mounts={"/srv": "/host/srv"}))
    here = SwarmAddress(engine, LAB)
    assert here.is_remote
    assert here.find_seen(Path("/")) is None
    assert here.find_on_host(Path("/srv/p")) == Path("/srv/p")
    assert engine.calls == []


def test_a_published_server_is_at_its_node() -> None:
    here = SwarmAddress(FakeSwarm(), Swarm(publish="all", network="lab"))
    assert here.choose_publish_ip(None) == "0.0.0.0"
    assert here.server_url(PUBLISHED, "0.0.0.0", "/base/") == "http://10.77.0.2:30001/base/"
    assert here.published_url(PUBLISHED, "0.0.0.0") == "http://10.77.0.2:30001/"
    assert here.find_port(PUBLISHED, "6006/tcp", "0.0.0.0") == ("10.77.0.2", 30002)
    assert here.reaches(PUBLISHED)


def test_a_node_with_an_ipv6_address() -> None:
    info = container(host="fd00::2", ports={"8888/tcp": (30001,)}, networks={})
    assert SwarmAddress(FakeSwarm(), LAB).server_url(info, "0.0.0.0") == "http://[fd00::2]:30001/"


def test_a_server_on_the_overlay_network() -> None:
    engine = FakeSwarm()
    engine.every_network = NEAR
    here = SwarmAddress(engine, LAB)
    assert here.choose_publish_ip(None) == "127.0.0.1"
    assert here.server_url(HIDDEN, "127.0.0.1") == here.published_url(HIDDEN, "127.0.0.1") == "http://10.0.1.5:8888/"
    assert here.reaches(HIDDEN)


def test_nothing_answers_for_a_container_without_an_address() -> None:
    here = SwarmAddress(FakeSwarm(), LAB)
    assert (
        here.server_url(container(host="10.77.0.2", ports={}, networks={"lab": ""}), "0.0.0.0") == "http://10.77.0.2:0/"
    )


@pytest.mark.parametrize(
    ("swarm", "network", "mounts"),
    [
        (Swarm(), NEAR, OWN),
        (LAB, None, OWN),
        (LAB, NetworkInfo(driver="overlay", subnets=(ip_network("203.0.113.0/24"),)), OWN),
        (LAB, NetworkInfo(driver="bridge", subnets=NEAR.subnets), OWN),
        (LAB, NEAR, ""),  # the network of this machine may have the same addresses
    ],
)
def test_a_launcher_that_would_reach_no_session(
    monkeypatch: pytest.MonkeyPatch, swarm: Swarm, network: NetworkInfo | None, mounts: str
) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: mounts)
    engine = FakeSwarm()
    engine.every_network = network
    with pytest.raises(OptionError, match="would not reach its sessions") as caught:
        SwarmAddress(engine, swarm).choose_publish_ip(None)
    assert 'publish="all"' in caught.value.hint
    assert swarm.network is None or not SwarmAddress(engine, swarm).reaches(HIDDEN)


def test_no_single_address_is_published() -> None:
    with pytest.raises(OptionError, match="host_ip"):
        SwarmAddress(FakeSwarm(), Swarm(publish="all")).choose_publish_ip("10.77.0.2")


def test_the_network_of_a_session() -> None:
    engine = FakeSwarm()
    assert SwarmAddress(engine, Swarm()).choose_network(None) == "bridge"
    assert SwarmAddress(engine, Swarm()).choose_network("other") == "other"
    assert SwarmAddress(engine, LAB).choose_network(None) == "lab"
    assert SwarmAddress(engine, LAB).choose_network("lab") == "lab"


def test_networks_that_no_session_can_join() -> None:
    engine = FakeSwarm()
    with pytest.raises(OptionError, match="every session of this launcher joins lab"):
        SwarmAddress(engine, LAB).choose_network("other")
    engine.every_network = NetworkInfo(driver="bridge", subnets=())
    with pytest.raises(OptionError, match="network is lab, a bridge, which is of one node"):
        SwarmAddress(engine, LAB).choose_network(None)
    engine.every_network = None
    with pytest.raises(OptionError, match="network is lab, which is no network of the swarm"):
        SwarmAddress(engine, LAB).choose_network(None)

"""Ports, hosts, groups, and the options by the engine's own names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyter_launcher import OptionError
from jupyter_launcher.spec.engine_options import (
    check_container_options,
    check_extra_hosts,
    check_gpus,
    check_groups,
    check_ports,
    find_unknown,
    refuse_host_ports,
    refuse_unsafe,
    spell_port,
)
from tests.unit.fakes import session_spec


def test_ports_are_spelled_one_way() -> None:
    assert check_ports({"7000": 7001, 6006: None, "05000/udp": 7001, "8888/udp": None}, "ports") == {
        "5000/udp": 7001,
        "6006/tcp": None,
        "7000/tcp": 7001,
        "8888/udp": None,
    }
    assert check_ports(None, "ports") == {}
    assert (spell_port(6006), spell_port("6006/udp"), spell_port("x")) == ("6006/tcp", "6006/udp", None)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (6006, "is 6006"),
        ([6006], "is "),
        ({0: None}, "has 0"),
        ({65536: None}, "has 65536"),
        ({"65536": None}, "has '65536'"),
        ({True: None}, "has True"),
        ({"6006/sctp": None}, "has '6006/sctp'"),
        ({"\uff16": None}, "has "),
        ({6006: None, "6006/tcp": 7000}, "has '6006/tcp'"),
        ({6006: 0}, "is 0"),
        ({6006: "7000"}, "is '7000'"),
        ({6006: 7000, 6007: 7000}, "has the port 7000 of the host twice"),
        ({8888: None}, "has 8888, which is the server's"),
        ({"8888/tcp": 7000}, "has 8888"),
        (dict.fromkeys(range(1, 300)), "is "),
    ],
)
def test_ports_that_cannot_be(given: Any, seen: str) -> None:
    with pytest.raises(OptionError, match=f"ports {seen}") as caught:
        check_ports(given, "ports")
    assert caught.value.option == "ports"


def test_the_servers_own_port_is_taken_too() -> None:
    refuse_host_ports({"6006/udp": 7000, "6007/tcp": None, "6008/tcp": None}, 7000, "ports")
    with pytest.raises(OptionError, match="ports has the port 7000 of the host twice"):
        session_spec(host_port=7000, ports={6006: 7000})


def test_hosts() -> None:
    given = {"host.docker.internal": "host-gateway", "db": "10.0.0.1", "six": "0:0:0:0:0:0:0:1"}
    plain = {"db": "10.0.0.1", "host.docker.internal": "host-gateway", "six": "::1"}
    assert check_extra_hosts(given, "extra_hosts") == plain
    assert check_extra_hosts(None, "extra_hosts") == {}


@pytest.mark.parametrize(
    "given",
    [
        "db:10.0.0.1",
        ["db:10.0.0.1"],
        {"db": "elsewhere"},
        {"db": None},
        {"": "10.0.0.1"},
        {"a b": "10.0.0.1"},
        {"a:b": "10.0.0.1"},
        {"a\n10.0.0.2 c": "10.0.0.1"},
        {5: "10.0.0.1"},
        {"a" * 254: "10.0.0.1"},
        {f"a{number}": "10.0.0.1" for number in range(257)},
    ],
)
def test_hosts_that_cannot_be(given: Any) -> None:
    with pytest.raises(OptionError, match=r"^extra_hosts ") as caught:
        check_extra_hosts(given, "extra_hosts")
    assert "host-gateway" in caught.value.hint


def test_a_host_that_is_given_twice() -> None:
    with pytest.raises(OptionError, match="extra_hosts has 'DB' twice"):
        check_extra_hosts({"db": "10.0.0.1", "DB": "10.0.0.2"}, "extra_hosts")


def test_groups() -> None:
    assert check_groups((2000, "0100", "users", "100", 0), "groups") == ("2000", "100", "users", "0")
    assert check_groups({5}, "groups") == ("5",)
    assert check_groups(None, "groups") == ()


@pytest.mark.parametrize(
    "given",
    [
        "users",
        b"users",
        2000,
        {"a": 1},
        [True],
        [-1],
        [2**31],
        [str(2**31)],
        ["9" * 60],
        ["a b"],
        ["keep-groups"],
        [None],
    ],
)
def test_groups_that_cannot_be(given: Any) -> None:
    with pytest.raises(OptionError, match=r"^groups "):
        check_groups(given, "groups")


SAFE = {
    "Ulimits": [{"Name": "nofile", "Soft": 4096, "Hard": 4096}],
    "Hostname": "lab",
    "Dns": ["10.0.0.1"],
    "PidsLimit": 500,
    "OomScoreAdj": 100,
    "IpcMode": "private",
    "CgroupnsMode": "private",
    "Healthcheck": {"Test": ["CMD", "true"]},
}


def test_options_that_concern_the_container_alone() -> None:
    found = check_container_options({**SAFE, "Sysctls": {"a": "b"}, "CpusetCpus": "0"}, "container_options")
    assert found == {**SAFE, "Sysctls": {"a": "b"}, "CpusetCpus": "0"}
    assert list(found) == sorted(found)
    refuse_unsafe(found, "container_options")
    assert check_container_options(None, "container_options") == {}
    assert check_container_options({"Dns": ("10.0.0.1",)}, "container_options") == {"Dns": ["10.0.0.1"]}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Image", "image="),
        ("Entrypoint", "leave it out"),
        ("Cmd", "leave it out"),
        ("Labels", "labels="),
        ("Env", "environment="),
        ("User", "user="),
        ("Binds", "mounts="),
        ("Mounts", "mounts="),
        ("Volumes", "mounts="),
        ("PortBindings", "ports="),
        ("ExposedPorts", "ports="),
        ("PublishAllPorts", "ports="),
        ("NetworkMode", "network="),
        ("NetworkingConfig", "network="),
        ("ExtraHosts", "extra_hosts="),
        ("GroupAdd", "groups="),
        ("Tmpfs", "tmpfs="),
        ("Memory", "memory="),
        ("memory", "memory="),
        ("NanoCpus", "cpus="),
        ("CpuQuota", "cpus="),
        ("ShmSize", "shm_size="),
        ("DeviceRequests", "gpus="),
        ("ReadonlyRootfs", "read_only="),
        ("AutoRemove", "leave it out"),
        ("RestartPolicy", "start"),
        ("HostConfig", "write what is in it"),
        ("StopSignal", "leave it out"),
    ],
)
def test_what_the_launcher_holds_is_refused_with_the_option_for_it(name: str, hint: str) -> None:
    with pytest.raises(OptionError, match=f"container_options has {name}, which the launcher holds") as caught:
        session_spec(container_options={name: "x"}, unsafe=True)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"Privileged": True},
        {"CapAdd": ["SYS_ADMIN"]},
        {"CapDrop": []},
        {"SecurityOpt": ["seccomp=unconfined"]},
        {"Devices": [{"PathOnHost": "/dev/fuse"}]},
        {"DeviceCgroupRules": ["c *:* rwm"]},
        {"PidMode": "host"},
        {"UTSMode": "host"},
        {"UsernsMode": "host"},
        {"IpcMode": "host"},
        {"IpcMode": "container:x"},
        {"CgroupnsMode": "host"},
        {"Cgroup": "container:x"},
        {"CgroupParent": "/"},
        {"VolumesFrom": ["other"]},
        {"VolumeDriver": "local"},
        {"Links": ["other:other"]},
        {"Runtime": "other"},
        {"MaskedPaths": []},
        {"ReadonlyPaths": []},
        {"OomKillDisable": True},
        {"CpuRealtimeRuntime": 1},
        {"OomScoreAdj": -1},
        {"PidsLimit": 0},
        {"PidsLimit": -1},
        {"LogConfig": {"Type": "syslog"}},
        {"Annotations": {"a": "b"}},
    ],
    ids=str,
)
def test_what_opens_the_host_must_be_meant(options: dict[str, Any]) -> None:
    assert session_spec(container_options=options, unsafe=True).container_options == options
    with pytest.raises(OptionError, match=r"^container_options has .*opens the engine's host") as caught:
        session_spec(container_options=options)
    assert (caught.value.option, "unsafe=True" in caught.value.hint) == ("container_options", True)


@pytest.mark.parametrize(("name", "hint"), [("Priviledged", "give 'Privileged'"), ("OfTomorrow", "see the engine's")])
def test_a_name_that_is_not_known_must_be_meant(name: str, hint: str) -> None:
    assert session_spec(container_options={name: 1}, unsafe=True).container_options == {name: 1}
    with pytest.raises(OptionError, match=f"has {name}, which is not known") as caught:
        session_spec(container_options={name: 1})
    assert hint in caught.value.hint
    assert find_unknown([name, "Dns", "Privileged"]) == [name]


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ([("Dns", [])], "is "),
        ({5: 1}, "has the name 5"),
        ({"": 1}, "has the name ''"),
        ({"Dn\u017f": []}, "has the name"),  # Go reads this letter as an s
        ({"Dns ": []}, "has the name"),
        ({"dns": []}, "has dns"),
        ({"privileged": True}, "has privileged"),
        ({"Dns": {1, 2}}, "none of JSON"),
        ({"Dns": object()}, "none of JSON"),
        ({"Dns": float("nan")}, "none of JSON"),
        ({"Dns": 10**5000}, "none of JSON"),
        ({"Dns": ["\udcff"]}, "cannot be encoded"),
        ({"Dns": ["x" * 2**16]}, "too long"),
        ({f"A{number}": 1 for number in range(300)}, "is "),
    ],
)
def test_options_that_cannot_be(given: Any, seen: str) -> None:
    with pytest.raises(OptionError, match=rf"^container_options .*{seen}") as caught:
        check_container_options(given, "container_options")
    assert len(str(caught.value)) < 700


def test_a_value_that_is_too_deep() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(OptionError, match="none of JSON"):
        check_container_options({"Dns": value}, "container_options")


def test_they_make_another_session_and_unsafe_does_not() -> None:
    one = session_spec(container_options=SAFE)
    options = json.loads(json.dumps(one.to_options()))
    assert options["container_options"] == SAFE
    assert session_spec(container_options=SAFE, unsafe=True).to_options() == options
    assert session_spec(unsafe=True).to_options() == session_spec().to_options()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PidsLimit", "5"), ("PidsLimit", None), ("OomScoreAdj", 0.5), ("PidsLimit", True), ("IpcMode", 1)],
)
def test_a_value_of_the_wrong_kind_is_no_matter_of_safety(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"has {name}: ") as caught:
        refuse_unsafe({name: value}, "container_options")
    assert "unsafe" not in caught.value.hint


def test_a_set_has_the_same_order_in_each_process() -> None:
    names = {f"g{number}" for number in range(50)}
    assert check_groups(names, "groups") == tuple(sorted(names))
    assert check_gpus(frozenset({"2", "0", "1"}), "gpus") == ("0", "1", "2")

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from jupyter_launcher import EngineError
from jupyter_launcher.engine.traits import EngineTraits, NetworkInfo
from tests.unit.strategies import FEW, json_values, replaced

VERSION: dict[str, Any] = {"Version": "28.5.1", "Components": [{"Name": "Engine"}, "odd"]}
INFO: dict[str, Any] = {
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    "KernelVersion": os.uname().release,
    "DockerRootDir": "/var/lib/docker",
    "LoggingDriver": "json-file",
    "DefaultRuntime": "runc",
    "MemoryLimit": True,
    "CpuCfsQuota": False,
    "PidsLimit": True,
    "CgroupVersion": "2",
    "Debug": False,
    "NCPU": 4,
}


def test_a_docker_that_tells_everything() -> None:
    assert EngineTraits.from_answers(VERSION, INFO, "1.51") == EngineTraits(
        name="Docker",
        version="28.5.1",
        api_version="1.51",
        log_driver="json-file",
        runtime="runc",
        rootless=False,
        remapped=False,
        desktop=False,
        same_kernel=True,
        limits_memory=True,
        limits_cpus=False,
        limits_pids=True,
        cgroup_version="2",
        selinux=False,
        debug=False,
        cores=4,
        data_root=Path("/var/lib/docker"),
    )


def test_a_podman() -> None:
    traits = EngineTraits.from_answers({"Version": "5.4", "Components": [{"Name": "Podman Engine"}]}, {}, "1.41")
    assert traits.is_podman
    assert str(traits) == "Podman 5.4 (API 1.41)"


@pytest.mark.parametrize(
    ("info", "rootless", "remapped"),
    [
        ({"SecurityOptions": ["name=rootless"]}, True, False),
        ({"SecurityOptions": ["name=userns"]}, False, True),
        ({"SecurityOptions": [], "Rootless": True}, True, False),
        ({"SecurityOptions": ["name=rootlesskit"]}, False, False),
        ({}, None, None),
    ],
)
def test_whose_uids_are_meant(info: dict[str, Any], rootless: bool | None, remapped: bool | None) -> None:  # noqa: FBT001 - pytest's
    traits = EngineTraits.from_answers(VERSION, info, "1.51")
    assert (traits.rootless, traits.remapped) == (rootless, remapped)


def test_another_kernel() -> None:
    assert EngineTraits.from_answers(VERSION, {"KernelVersion": "1.0"}, "1.51").same_kernel is False
    # A socket proxy may keep the information to itself; the version tells it too.
    assert EngineTraits.from_answers({**VERSION, "KernelVersion": "1.0"}, None, "1.51").same_kernel is False


@pytest.mark.parametrize(("version", "info"), [(None, None), ({}, {})])
def test_an_engine_that_refuses_to_tell_is_unknown_and_taken_for_docker(
    version: dict[str, Any] | None, info: dict[str, Any] | None
) -> None:
    traits = EngineTraits.from_answers(version, info, "1.41")
    assert traits == EngineTraits(api_version="1.41")
    assert not traits.is_podman
    assert traits.limits_memory is None
    assert str(traits) == "unknown unknown (API 1.41)"


def test_a_deep_answer_is_unknown() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    version = {"Components": [{"Name": deep}], "Version": deep}
    assert str(EngineTraits.from_answers(version, {"DockerRootDir": deep}, "1.41")) == "Docker unknown (API 1.41)"


def test_a_path_that_is_none_is_unknown() -> None:
    assert EngineTraits.from_answers(VERSION, {"DockerRootDir": "/a\0b"}, "1.41").data_root is None


@FEW
@given(json_values())
def test_whatever_is_answered_is_a_value_or_unknown(value: Any) -> None:
    for version in replaced(VERSION, value):
        assert EngineTraits.from_answers(version, INFO, "1.51").name in ("Docker", "Podman", "unknown")
    for info in replaced(INFO, value):
        traits = EngineTraits.from_answers(VERSION, info, "1.51")
        for item in (traits.rootless, traits.remapped, traits.limits_memory, traits.limits_cpus, traits.limits_pids):
            assert item in (True, False, None)
        assert traits.cores is None or (type(traits.cores) is int and traits.cores > 0)
        assert traits.log_driver is None or isinstance(traits.log_driver, str)


@pytest.mark.parametrize(
    ("info", "desktop"),
    [({"OperatingSystem": "Docker Desktop"}, True), ({"OperatingSystem": "Debian GNU/Linux 12"}, False), (None, None)],
)
def test_docker_desktop(info: dict[str, Any] | None, desktop: bool | None) -> None:  # noqa: FBT001 - pytest's
    assert EngineTraits.from_answers(VERSION, info, "1.51").desktop is desktop


V4, V6 = ip_network("172.17.0.0/16"), ip_network("fd00::/64")


@pytest.mark.parametrize(
    ("raw", "subnets"),
    [
        (
            {"IPAM": {"Config": [{"Subnet": "172.17.0.1/16", "Gateway": "172.17.0.1"}, {"Subnet": "fd00::/64"}]}},
            (V4, V6),
        ),
        ({"IPAM": {"Config": [{"Gateway": "172.17.0.1"}]}}, ()),
        ({"IPAM": {"Config": None}}, ()),
        ({"IPAM": None}, ()),
        ({}, ()),
    ],
)
def test_the_subnets_of_a_network(raw: dict[str, Any], subnets: tuple[object, ...]) -> None:
    found = NetworkInfo.from_inspect({"Driver": "macvlan", **raw})
    assert (found.driver, found.subnets, found.allows_icc) == ("macvlan", subnets, True)


@pytest.mark.parametrize(
    ("options", "allows_icc"),
    [
        ({"com.docker.network.bridge.enable_icc": text}, text in ("true", "1", "odd"))
        for text in ("true", "1", "odd", "false", "0")
    ]
    + [(None, True), ({}, True)],
)
def test_whether_the_containers_of_a_network_may_speak(options: dict[str, str] | None, allows_icc: bool) -> None:  # noqa: FBT001 - pytest's
    assert NetworkInfo.from_inspect({"Driver": "bridge", "Options": options}).allows_icc is allows_icc


@pytest.mark.parametrize(
    ("raw", "attachable"), [({"Attachable": True}, True), ({"Attachable": "yes"}, False), ({}, False)]
)
def test_which_overlays_a_plain_container_may_join(raw: dict[str, Any], attachable: bool) -> None:  # noqa: FBT001
    assert NetworkInfo.from_inspect({"Driver": "overlay", **raw}).attachable is attachable


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"Driver": 1},
        *(
            {"Driver": "bridge", **more}
            for more in (
                {"IPAM": "x"},
                {"IPAM": {"Config": 1}},
                {"IPAM": {"Config": ["x"]}},
                {"IPAM": {"Config": [{"Subnet": "x"}]}},
                {"IPAM": {"Config": [{"Subnet": 1}]}},
                {"Options": "x"},
                {"Options": {"a": 1}},
            )
        ),
    ],
)
def test_what_is_no_network_is_a_typed_error(raw: Any) -> None:
    with pytest.raises(EngineError, match="about a network has an unexpected shape"):
        NetworkInfo.from_inspect(raw)


@pytest.mark.parametrize(
    ("swarm", "expected"),
    [
        ({"NodeID": "n1", "ControlAvailable": True}, ("n1", True)),
        ({"NodeID": "", "ControlAvailable": False}, ("", False)),
        ({"NodeID": 7, "ControlAvailable": "yes"}, (None, None)),
        ("off", (None, None)),
        (None, (None, None)),
    ],
)
def test_an_engine_s_part_in_a_swarm(swarm: object, expected: tuple[str | None, bool | None]) -> None:
    traits = EngineTraits.from_answers(VERSION, {"Swarm": swarm}, "1.41")
    assert (traits.node_id, traits.manages_swarm) == expected

"""The service that stands for a container."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jupyter_launcher import UnsupportedOptionError
from jupyter_launcher.engine.swarm.body import Placement, format_service, refuse_config
from jupyter_launcher.engine.swarm.shapes import Service, service_name
from jupyter_launcher.engine.types import BindMount, ContainerConfig, Tmpfs
from tests.unit.swarm.answers import CREATED, IMAGE_ID

NEW = Placement(image_id=IMAGE_ID, api=(1, 51), log_driver="json-file")
OLD = Placement(image_id=IMAGE_ID, api=(1, 41))


def body(placement: Placement = NEW, **options: Any) -> dict[str, Any]:
    return format_service(ContainerConfig(image="image:1", **options), "a.name", placement)


def container(placement: Placement = NEW, **options: Any) -> Any:
    return body(placement, **options)["TaskTemplate"]["ContainerSpec"]


def test_the_name_is_a_hash_that_a_service_may_have() -> None:
    name = service_name("jupyter-server.default.some.dotted.id")
    assert re.fullmatch("jl-[0-9a-f]{40}", name)
    assert name != service_name("jupyter-server.default.some.dotted.ic")


def test_one_task_that_is_never_run_again() -> None:
    found = body(labels={"a": "b"})
    assert found["Name"] == service_name("a.name")
    assert found["Mode"] == {"Replicated": {"Replicas": 1}}
    assert found["TaskTemplate"]["RestartPolicy"] == {"Condition": "none", "MaxAttempts": 0}
    assert found["EndpointSpec"] == {"Mode": "dnsrr", "Ports": []}
    labels = {"a": "b", "jupyter-launcher.name": "a.name", "jupyter-launcher.image": "image:1"}
    assert found["Labels"] == found["TaskTemplate"]["ContainerSpec"]["Labels"] == labels


def test_what_every_container_of_ours_has() -> None:
    found = body()
    spec = found["TaskTemplate"]["ContainerSpec"]
    assert (spec["Image"], spec["Init"], spec["Healthcheck"]) == (IMAGE_ID, True, {"Test": ["NONE"]})
    assert (spec["CapabilityDrop"], spec["CapabilityAdd"]) == (["ALL"], [])
    assert found["TaskTemplate"]["Resources"] == {"Limits": {"Pids": 4096}}
    assert found["TaskTemplate"]["LogDriver"]["Options"] == {"max-size": str(10 * 2**20), "max-file": "2"}


@pytest.mark.parametrize(("api", "expected"), [((1, 43), None), ((1, 44), {"NoNewPrivileges": True})])
def test_no_new_privileges_where_the_api_has_it(api: tuple[int, int], expected: object) -> None:
    assert container(Placement(image_id=IMAGE_ID, api=api)).get("Privileges") == expected


def test_the_first_process() -> None:
    assert {"Command", "Args"} & set(container()) == set()
    assert container(entrypoint=("sh", "-c"))["Command"] == ["sh", "-c"]
    assert container(entrypoint=("sh", "-c"))["Args"] == []
    kept = container(entrypoint=("sh", "-c"), keep_entrypoint=True)
    assert ("Command" in kept, kept["Args"]) == (False, ["sh", "-c"])


def test_options_of_a_session_come_back_as_they_were_asked_for() -> None:
    found = body(
        user="1000:100",
        working_dir="/w",
        environment={"A": "b=c"},
        mounts=(BindMount(source="/srv/p", target="/p", propagation="rslave"),),
        tmpfs=(Tmpfs(target="/run/x", mode="0700", size=2**20, uid=1000),),
        extra_hosts={"a.name": "10.0.0.1"},
        groups=("44",),
        read_only=True,
        memory=2**30,
        cpus=1.5,
        shm_size=2**27,
        stop_signal="SIGTERM",
        stop_seconds=30,
    )
    spec = found["TaskTemplate"]["ContainerSpec"]
    assert (spec["User"], spec["Dir"], spec["StopSignal"], spec["StopGracePeriod"]) == (
        "1000:100",
        "/w",
        "SIGTERM",
        30 * 10**9,
    )
    service = Service.from_answer({"ID": "s", "CreatedAt": CREATED, "Spec": found})
    assert (service.name, service.is_ours, service.image, service.image_id) == ("a.name", True, "image:1", IMAGE_ID)
    assert (service.environment, service.mounts, service.tmpfs) == ({"A": "b=c"}, {"/p": "/srv/p"}, ("/run/x",))
    assert (service.extra_hosts, service.groups, service.read_only) == (("a.name",), ("44",), True)
    assert (service.memory, service.cpus, service.shm_size, service.pids, service.grace) == (
        2**30,
        1.5,
        2**27,
        4096,
        30.0,
    )
    assert spec["Mounts"][0]["BindOptions"] == {"Propagation": "rslave"}


def test_a_file_system_in_memory_has_no_owner() -> None:
    (found,) = container(tmpfs=(Tmpfs(target="/run/x", mode="0700", size=5, uid=1, gid=2),))["Mounts"]
    assert found == {"Type": "tmpfs", "Target": "/run/x", "TmpfsOptions": {"Mode": 0o1777, "SizeBytes": 5}}


@pytest.mark.parametrize(("placement", "expected"), [(OLD, None), (NEW, [["exec"]])])
def test_programs_run_from_memory_where_the_api_has_it(placement: Placement, expected: object) -> None:
    (found,) = container(placement, tmpfs=(Tmpfs(target="/tmp", mode="1777", executable=True),))["Mounts"]  # noqa: S108
    assert found["TmpfsOptions"].get("Options") == expected


def test_a_volume_keeps_its_files() -> None:
    (found,) = container(mounts=(BindMount(source="data", target="/p", type="volume", no_copy=True),))["Mounts"]
    assert (found["Type"], found["Source"], found["VolumeOptions"]) == ("volume", "data", {"NoCopy": True})


def test_ports_are_published_on_the_node_only_where_the_caller_said_so() -> None:
    options: dict[str, Any] = {"container_port": 8888, "ports": {"6006/udp": 7006}}
    assert body(**options)["EndpointSpec"]["Ports"] == []
    found = body(Placement(image_id=IMAGE_ID, api=(1, 51), publish=True), **options)["EndpointSpec"]["Ports"]
    assert found == [
        {"Protocol": "tcp", "TargetPort": 8888, "PublishMode": "host"},
        {"Protocol": "udp", "TargetPort": 6006, "PublishMode": "host", "PublishedPort": 7006},
    ]
    assert body(Placement(image_id=IMAGE_ID, api=(1, 51), publish=True))["EndpointSpec"]["Ports"] == []


@pytest.mark.parametrize(
    ("asked", "overlay", "expected"),
    [
        ("bridge", None, []),
        ("bridge", "lan", ["lan"]),
        ("lan", "lan", ["lan"]),
        ("other", "lan", ["other", "lan"]),
        ("none", "lan", []),
        ("none", None, []),
    ],
)
def test_networks(asked: str, overlay: str | None, expected: list[str]) -> None:
    found = body(Placement(image_id=IMAGE_ID, api=(1, 51), network=overlay), network=asked)
    assert [item["Target"] for item in found["TaskTemplate"]["Networks"]] == expected


def test_constraints() -> None:
    found = body(Placement(image_id=IMAGE_ID, api=(1, 51), constraints=("node.role==worker",)))
    assert found["TaskTemplate"]["Placement"] == {"Constraints": ["node.role==worker"]}


@pytest.mark.parametrize(
    ("driver", "size", "is_read", "is_set"),
    [
        ("json-file", 5, False, True),
        ("journald", 5, False, False),
        (None, 5, False, False),
        ("json-file", None, False, False),
        ("journald", None, True, True),
    ],
)
def test_the_size_of_the_log(driver: str | None, size: int | None, *, is_read: bool, is_set: bool) -> None:
    placement = Placement(image_id=IMAGE_ID, api=(1, 51), log_driver=driver)
    assert ("LogDriver" in body(placement, log_size=size, log_is_read=is_read)["TaskTemplate"]) is is_set


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("gpus", {"gpus": "all"}),
        ("container_options", {"engine_options": {"Runtime": "runsc"}}),
        ("pipeline_relabel", {"mounts": (BindMount(source="/p", target="/p", relabel="z"),)}),
    ],
)
def test_what_no_service_can_have(option: str, given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOptionError, match=f"{option} cannot be given") as caught:
        refuse_config(ContainerConfig(image="image:1", **given))
    assert caught.value.option == option

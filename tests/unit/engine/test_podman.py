"""What Podman does otherwise: put into Docker's words, and asked for in its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from jupyter_launcher import EngineError
from jupyter_launcher.engine import podman
from jupyter_launcher.engine.types import BindMount, ContainerConfig, ContainerInfo, ListedContainer, Tmpfs
from tests.unit.sdk import FakeApi, api_error, docker_engine, http_response, in_the_list, inspected, podman_api
from tests.unit.strategies import FEW, json_values, replaced


def created(api: FakeApi, **options: Any) -> dict[str, Any]:
    """A container's host configuration as the engine gets it."""
    api.answers["create_container_from_config"] = {"Id": "abc"}
    assert docker_engine(api).create(ContainerConfig(image="image", **options), "name") == "abc"
    body, name = api.arguments("create_container_from_config")
    assert name == "name"
    got: dict[str, Any] = body["HostConfig"]
    return got


def bind(source: str, *, read_only: bool = False) -> BindMount:
    return BindMount(source=source, target="/t", read_only=read_only)


def long_form(source: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": "/t", "ReadOnly": read_only}


def looked_at(**changes: Any) -> ContainerInfo:
    info = docker_engine(podman_api(inspect_container=inspected(**changes))).inspect("abc")
    assert info is not None
    return info


def test_docker_gets_what_was_asked_for() -> None:
    tmpfs = Tmpfs(target="/run", mode="0700", uid=1, gid=2)
    host = created(FakeApi(), tmpfs=(tmpfs,), mounts=(bind("/a,b"),), gpus="all")
    assert host["Tmpfs"] == {"/run": "rw,nosuid,nodev,noexec,mode=0700,uid=1,gid=2"}
    assert host["Mounts"] == [long_form("/a,b")]
    assert host["DeviceRequests"] == [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]
    assert host["Binds"] == []


@pytest.mark.parametrize("api", [FakeApi, podman_api])
def test_a_mount_with_a_new_selinux_label_has_the_form_that_can_say_it(api: Callable[[], FakeApi]) -> None:
    mounts = (
        BindMount(source="/a", target="/t", relabel="z"),
        BindMount(source="/b,c", target="/u", read_only=True, relabel="Z"),
        bind("/d"),
    )
    host = created(api(), mounts=mounts)
    assert host["Binds"] == ["/a:/t:rw,z", "/b,c:/u:ro,Z"]
    assert host["Mounts"] == [long_form("/d")]


def test_a_tmpfs_of_the_containers_user() -> None:
    tmpfs = (Tmpfs(target="/run", mode="0700", uid=1234, gid=5), Tmpfs(target="/scratch", mode="1777"))
    assert created(podman_api(), tmpfs=tmpfs)["Tmpfs"] == {
        "/run": "rw,nosuid,nodev,noexec,mode=0700,U",
        "/scratch": "rw,nosuid,nodev,noexec,mode=1777",
    }


@pytest.mark.parametrize(
    ("source", "short"), [("/a:b", False), ("/a b", False), ("/a,b", True), ('/a"b', True), ("/a\nb", True)]
)
def test_mounts_by_the_form_that_takes_their_path(source: str, short: bool) -> None:  # noqa: FBT001 - pytest's
    host = created(podman_api(), mounts=(bind(source, read_only=True),))
    assert host["Binds"] == ([f"{source}:/t:ro"] if short else [])
    assert host["Mounts"] == ([] if short else [long_form(source, read_only=True)])


def test_a_short_mount_that_may_be_written() -> None:
    assert created(podman_api(), mounts=(bind("/a,b"),))["Binds"] == ["/a,b:/t:rw"]


def test_a_path_that_no_form_takes() -> None:
    api = podman_api()
    with pytest.raises(EngineError, match="rename"):
        created(api, mounts=(bind("/a:b,c"),))
    assert api.names == []


@pytest.mark.parametrize(
    ("options", "log"),
    [
        ({}, {"Type": "", "Config": {"max-size": str(10 * 2**20)}}),
        ({"log_size": 5}, {"Type": "", "Config": {"max-size": "5"}}),
        ({"log_size": None}, {"Type": "", "Config": {}}),
        ({"log_is_read": True, "log_size": 5}, {"Type": "k8s-file", "Config": {"max-size": "5"}}),
    ],
)
def test_the_size_of_the_log_leaves_the_driver_alone(options: dict[str, Any], log: dict[str, Any]) -> None:
    assert created(podman_api(), **options)["LogConfig"] == log


def test_the_logging_driver_of_docker_decides() -> None:
    assert "LogConfig" not in created(FakeApi())
    assert created(FakeApi(info={"LoggingDriver": "json-file"}))["LogConfig"]["Type"] == "json-file"


def libpod(**host: Any) -> Callable[..., Any]:
    """Podman's answer about itself."""
    return lambda *_, **__: http_response(json.dumps({"host": host}).encode())


@pytest.mark.parametrize(
    ("api", "limit"),
    [
        (FakeApi(), 4096),
        (FakeApi(info={"PidsLimit": True}), 4096),
        (FakeApi(info={"PidsLimit": False}), 0),
        (podman_api(get=libpod(cgroupControllers=["memory", "pids"])), 4096),
        (podman_api(get=libpod(cgroupControllers=["memory"]), info={"PidsLimit": True}), 0),
        (podman_api(get=api_error(403, "forbidden")), 4096),
    ],
)
def test_no_limit_of_processes_is_asked_of_an_engine_without_it(api: FakeApi, limit: int) -> None:
    assert created(api)["PidsLimit"] == limit


def test_podman_tells_its_controllers_and_its_logging_driver_itself() -> None:
    told = {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True, "LoggingDriver": ""}
    api = podman_api(info=told, get=libpod(cgroupControllers=["memory"], logDriver="journald"))
    traits = docker_engine(api).traits
    assert (traits.limits_memory, traits.limits_cpus, traits.limits_pids) == (True, False, False)
    assert traits.log_driver == "journald"
    assert api.arguments("get") == ("http+docker://localhost/v1.41/libpod/info",)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"host": 1}', b'{"host": {"cgroupControllers": "pids"}}', b"[" * 9999])
def test_podmans_own_information_of_another_shape_is_none(body: bytes) -> None:
    traits = docker_engine(podman_api(info={"PidsLimit": True}, get=http_response(body))).traits
    assert (traits.name, traits.limits_pids, traits.limits_memory, traits.log_driver) == ("Podman", True, None, None)


def test_docker_is_not_asked_for_podmans_information() -> None:
    api = FakeApi()
    _ = docker_engine(api).traits
    assert api.names == []


def test_a_log_that_podman_cannot_read_has_dockers_status() -> None:
    text = "failed to obtain logs for Container 'abc': this container is using the 'none' log driver, cannot read logs"
    api = podman_api(get=lambda *_, **__: http_response(json.dumps({"message": text}).encode(), 500))
    with pytest.raises(EngineError, match="cannot read logs") as caught:
        docker_engine(api).logs("abc")
    assert caught.value.status == 501
    assert "podman info" in caught.value.hint


@pytest.mark.parametrize(("gpus", "names"), [("all", ["all"]), (2, ["0", "1"])])
def test_gpus_by_their_cdi_names(gpus: int | str, names: list[str]) -> None:
    host = created(podman_api(), gpus=gpus)
    assert host["DeviceRequests"] == [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={name}" for name in names]}]


def test_a_name_that_is_taken() -> None:
    error = api_error(500, 'the container name "name" is already in use by abc: that name is already in use')
    engine = docker_engine(podman_api(create_container_from_config=error))
    with pytest.raises(EngineError) as caught:
        engine.create(ContainerConfig(image="image"), "name")
    assert caught.value.status == 409
    engine = docker_engine(podman_api(rename=api_error(500, "UNIQUE constraint failed: ContainerConfig.Name")))
    with pytest.raises(EngineError) as caught:
        engine.rename("abc", "name")
    assert caught.value.status == 409


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("stopped", "exited"),
        ("configured", "created"),
        ("initialized", "created"),
        ("stopping", "running"),
        ("running", "running"),
    ],
)
def test_states(word: str, state: str) -> None:
    assert looked_at(State={"Status": word}).state == state
    assert podman.listing_to_docker(in_the_list(State=word))["State"] == state


@pytest.mark.parametrize(("name", "mode"), [("podman", "bridge"), ("mine", "mine")])
def test_networks(name: str, mode: str) -> None:
    settings = {"Networks": {name: {"IPAddress": "10.88.0.2"}}, "Ports": {}}
    info = looked_at(HostConfig={"NetworkMode": "bridge"}, NetworkSettings=settings)
    assert (info.networks, info.network_mode) == ({mode: "10.88.0.2"}, mode)


def test_the_network_of_a_listed_container() -> None:
    raw = in_the_list(NetworkSettings={"Networks": {"podman": {"IPAddress": "10.88.0.2"}}})
    assert ListedContainer.from_listing(podman.listing_to_docker(raw)).networks == {"bridge": "10.88.0.2"}


def test_what_docker_answers_stays_as_it_is() -> None:
    raw = inspected(HostConfig={"NetworkMode": "bridge"})
    assert podman.inspect_to_docker(raw) == raw
    assert podman.listing_to_docker(in_the_list()) == in_the_list()


@pytest.mark.parametrize("error", [None, api_error(409, "it does not run")])
def test_a_removal_kills_first(error: Exception | None) -> None:
    api = podman_api(kill=error)
    docker_engine(api).remove("abc")
    assert api.names == ["kill", "remove_container"]


def test_a_removal_that_may_not_kill() -> None:
    api = podman_api(kill=api_error(403, "forbidden"))
    with pytest.raises(EngineError):
        docker_engine(api).remove("abc")
    assert api.names == ["kill"]


@FEW
@given(json_values())
def test_whatever_is_answered_is_parsed_or_a_typed_error(value: Any) -> None:
    for raw in replaced(inspected(HostConfig={"NetworkMode": "bridge"}), value):
        try:
            ContainerInfo.from_inspect(podman.inspect_to_docker(raw))
        except EngineError:
            continue
    for raw in replaced(in_the_list(), value):
        try:
            ListedContainer.from_listing(podman.listing_to_docker(raw))
        except EngineError:
            continue


def test_gpus_by_their_ids_are_names_of_devices() -> None:
    devices = created(podman_api(), gpus=("0", "GPU-1", "vendor.com/gpu=2"))["DeviceRequests"]
    assert devices == [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1", "vendor.com/gpu=2"]}]


def test_the_engines_own_options_replace_those_in_podmans_words_too() -> None:
    log = {"Type": "journald", "Config": {}}
    host = created(
        podman_api(), engine_options={"LogConfig": log, "Tmpfs": {}}, tmpfs=(Tmpfs(target="/x", mode="700"),)
    )
    assert (host["LogConfig"], host["Tmpfs"]) == (log, {})
    assert created(FakeApi(), engine_options={"LogConfig": log})["LogConfig"] == log


def test_volumes_and_propagation() -> None:
    mounts = (
        BindMount(source="cache", target="/v", type="volume"),
        BindMount(source="/a", target="/b", propagation="rslave"),
        BindMount(source="/a,b", target="/c", propagation="rslave"),
    )
    host = created(podman_api(), mounts=mounts)
    assert [item["Type"] for item in host["Mounts"]] == ["volume", "bind"]
    assert host["Mounts"][1]["BindOptions"] == {"Propagation": "rslave"}
    assert host["Binds"] == ["/a,b:/c:rw,rslave"]


def test_a_tmpfs_that_can_be_run_from() -> None:
    tmpfs = (Tmpfs(target="/scratch", mode="1777", size=16, executable=True),)
    assert created(podman_api(), tmpfs=tmpfs)["Tmpfs"] == {"/scratch": "rw,nosuid,nodev,exec,mode=1777,size=16"}


def test_every_mount_of_podmans_is_in_one_of_the_two_forms() -> None:
    mounts = (
        BindMount(source="/a", target="/plain"),
        BindMount(source="/b", target="/relabelled", relabel="z"),
        BindMount(source="/c,d", target="/comma"),
        BindMount(source="v1", target="/volume", type="volume"),
        BindMount(source="v2", target="/empty", type="volume", no_copy=True),
    )
    host = podman.to_podman(ContainerConfig(image="image", mounts=mounts))["HostConfig"]
    assert [item["Target"] for item in host["Mounts"]] == ["/plain", "/volume"]
    assert host["Binds"] == ["/b:/relabelled:rw,z", "/c,d:/comma:rw", "v2:/empty:rw,nocopy"]

"""What is sent to the engine, and what its answers are parsed into."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given

from jupyter_launcher import EngineError
from jupyter_launcher.engine.shapes import parse_exit_code, parse_id, parse_list, parse_status
from jupyter_launcher.engine.types import (
    LOG_SIZE,
    BindMount,
    ContainerConfig,
    ContainerInfo,
    ImageInfo,
    ListedContainer,
    Tmpfs,
)
from tests.unit.sdk import in_the_list, inspected
from tests.unit.strategies import FEW, json_values, replaced

FULL = inspected(
    Config={"Image": "image", "Labels": {"a": "b"}, "Env": ["A=b"]},
    State={"Status": "exited", "ExitCode": 137, "OOMKilled": True, "Error": "killed"},
    HostConfig={
        "NetworkMode": "bridge",
        "Memory": 2**30,
        "NanoCpus": 1_500_000_000,
        "ShmSize": 2**26,
        "PidsLimit": 4096,
        "ReadonlyRootfs": True,
    },
    NetworkSettings={
        "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
        "Ports": {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}]},
    },
    Mounts=[{"Source": "/a", "Destination": "/b"}, {"Type": "tmpfs", "Destination": "/c"}],
)


def test_a_container_that_never_ran() -> None:
    info = ContainerInfo.from_inspect(inspected())
    assert (info.name, info.labels, info.networks) == ("name", {}, {"bridge": "", "odd": ""})
    assert info.ports == {"8888/tcp": ()}
    assert info.environment == {"A": "b=c", "EMPTY": ""}
    assert info.created == 1_700_000_000.5
    assert info.bindings == {}
    assert not info.running
    assert "b=c" not in repr(info)


def test_a_container_that_ended() -> None:
    info = ContainerInfo.from_inspect(FULL)
    assert (info.state, info.exit_code, info.oom_killed, info.error) == ("exited", 137, True, "killed")
    assert (info.labels, info.mounts, info.ports) == ({"a": "b"}, {"/b": "/a"}, {"8888/tcp": (49153,)})


def test_a_container_tells_when_it_was_started_last() -> None:
    state = {**FULL["State"], "StartedAt": "2026-01-01T00:00:00.123456789Z"}
    assert ContainerInfo.from_inspect({**FULL, "State": state}).started == "2026-01-01T00:00:00.123456789Z"
    assert ContainerInfo.from_inspect(FULL).started == ""


def limits(info: ContainerInfo) -> tuple[object, ...]:
    return (info.memory, info.cpus, info.shm_size, info.pids, info.read_only)


def test_what_a_container_is_limited_to() -> None:
    assert limits(ContainerInfo.from_inspect(FULL)) == (2**30, 1.5, 2**26, 4096, True)
    assert limits(ContainerInfo.from_inspect(inspected())) == (None, None, None, None, None)
    nothing = {"Memory": 0, "NanoCpus": 0, "ShmSize": 0, "PidsLimit": -1, "ReadonlyRootfs": False}
    assert limits(ContainerInfo.from_inspect(inspected(HostConfig=nothing))) == (0, 0.0, 0, 0, False)


@pytest.mark.parametrize("name", ["Memory", "NanoCpus", "ShmSize", "PidsLimit"])
@pytest.mark.parametrize("value", ["1", 1.5, [1], {}])
def test_a_limit_that_is_no_whole_number(name: str, value: object) -> None:
    with pytest.raises(EngineError, match="unexpected shape"):
        ContainerInfo.from_inspect(inspected(HostConfig={name: value}))


def test_ports_of_both_address_families() -> None:
    bindings = [{"HostIp": "0.0.0.0", "HostPort": "49153"}, {"HostIp": "::", "HostPort": "49154"}]
    info = ContainerInfo.from_inspect(inspected(NetworkSettings={"Networks": None, "Ports": {"8888/tcp": bindings}}))
    assert info.ports == {"8888/tcp": (49153, 49154)}
    assert info.bindings == {"8888/tcp": {"0.0.0.0": 49153, "::": 49154}}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000.123456789),
        ("2023-11-15T00:13:20.5+02:00", 1_700_000_000.5),
        ("2023-11-14T18:43:20-03:30", 1_700_000_000.0),
        ("0001-01-01T00:00:00Z", -62_135_596_800.0),
        ("0001-01-01T00:00:00+01:00", -62_135_600_400.0),
        ("9999-12-31T23:59:59.999999999-23:59", 253_402_387_140.0),
    ],
)
def test_when_it_was_created(text: str, seconds: float) -> None:
    assert ContainerInfo.from_inspect(inspected(Created=text)).created == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-13-14T22:13:20Z",
        "0000-01-01T00:00:00Z",
        "2023-11-14T22:13:20+25:00",
        "2023-11-14T22:13:61Z",
        "2023-11-14T22:13:20Z\n",
        "\u0662023-11-14T22:13:20Z",
        1700000000,
        None,
    ],
)
def test_when_it_was_created_cannot_be_read(text: object) -> None:
    with pytest.raises(EngineError, match="unexpected shape"):
        ContainerInfo.from_inspect(inspected(Created=text))


@pytest.mark.parametrize("port", ["0", "65536", "99999999", "-1", "x", [1], 1.5])
def test_a_port_that_is_none(port: object) -> None:
    settings = {"Networks": {}, "Ports": {"8888/tcp": [{"HostIp": "", "HostPort": port}]}}
    with pytest.raises(EngineError, match="unexpected shape"):
        ContainerInfo.from_inspect(inspected(NetworkSettings=settings))
    listed = {"PrivatePort": 8888, "PublicPort": port, "Type": "tcp"}
    with pytest.raises(EngineError, match="unexpected shape"):
        ListedContainer.from_listing(in_the_list(Ports=[listed]))


def deep(levels: int = 100_000) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def test_a_deep_answer_is_a_typed_error() -> None:
    for changes in ({"Name": deep()}, {"Config": deep()}, {"State": {"Status": deep()}}):
        with pytest.raises(EngineError, match="unexpected shape") as caught:
            ContainerInfo.from_inspect(inspected(**changes))
        assert len(str(caught.value)) < 500
    with pytest.raises(EngineError, match="unexpected shape"):
        parse_list({"message": deep()})
    with pytest.raises(EngineError, match="unexpected shape"):
        parse_id({"Id": deep()})


@pytest.mark.parametrize(
    ("state", "running"),
    [
        *(
            (state, True)
            for state in ("running", "paused", "restarting", "stopping", "unknown", "a word of tomorrow", "")
        ),
        *((state, False) for state in ("created", "exited", "dead", "removing")),
    ],
)
def test_states_in_which_the_main_process_lives(state: str, running: bool) -> None:  # noqa: FBT001 - pytest's
    assert ContainerInfo.from_inspect(inspected(State={"Status": state})).running == running


def test_a_listed_container() -> None:
    item = ListedContainer.from_listing(in_the_list())
    assert (item.id, item.name, item.labels, item.created) == ("abc", "name", {"a": "b"}, 1700000000.0)
    assert (item.networks, item.ports) == ({"bridge": "172.17.0.2"}, {"8888/tcp": (49153,)})
    assert item.bindings == {"8888/tcp": {"127.0.0.1": 49153}}


def test_a_listed_container_with_ports_of_both_address_families() -> None:
    def bound(address: str, port: int) -> dict[str, Any]:
        return {"IP": address, "PrivatePort": 8888, "PublicPort": port, "Type": "tcp"}

    item = ListedContainer.from_listing(in_the_list(Ports=[bound("0.0.0.0", 1), bound("::", 2)]))
    assert item.ports == {"8888/tcp": (1, 2)}
    assert item.bindings == {"8888/tcp": {"0.0.0.0": 1, "::": 2}}


def test_a_paused_container() -> None:
    assert ListedContainer.from_listing(in_the_list(State="paused")).state == "paused"


@pytest.mark.parametrize("created", [float("nan"), float("inf"), "x", None, [], 10**400])
def test_a_listed_container_whose_age_cannot_be_read(created: object) -> None:
    with pytest.raises(EngineError, match="unexpected shape"):
        ListedContainer.from_listing(in_the_list(Created=created))


@pytest.mark.parametrize("names", [None, []])
def test_a_listed_container_that_is_being_removed_has_no_name(names: object) -> None:
    item = ListedContainer.from_listing(in_the_list(Names=names, Labels=None, Ports=None, NetworkSettings=None))
    assert (item.name, item.labels, item.ports, item.networks) == ("", {}, {}, {})


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("Exited (137) 5 seconds ago", 137),
        ("Exited (0) now", 0),
        ("Up 2 minutes", None),
        ("", None),
        (f"Exited ({'9' * 5000})", None),
        ("Exited (\u0662)", None),
    ],
)
def test_the_exit_code_in_the_engines_words(status: str, code: int | None) -> None:
    assert ListedContainer.from_listing(in_the_list(Status=status)).exit_code == code


@pytest.mark.parametrize("raw", [{}, {"Id": None}, {"Id": 7}])
def test_a_create_without_an_id(raw: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="unexpected shape"):
        parse_id(raw)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ({"Running": False, "ExitCode": 3}, 3),
        ({"Running": False, "ExitCode": 0}, 0),
        ({"Running": True, "ExitCode": None}, None),
        ({"Running": True, "ExitCode": 0}, None),
        ({"Running": False, "ExitCode": None}, None),
    ],
)
def test_the_exit_code_of_an_exec(raw: dict[str, Any], code: int | None) -> None:
    assert parse_exit_code(raw) == code


@pytest.mark.parametrize("raw", [{}, {"Running": False}, {"Running": False, "ExitCode": "x"}, {"ExitCode": 0}])
def test_an_exec_without_an_exit_code(raw: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="unexpected shape"):
        parse_exit_code(raw)


def texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


@FEW
@given(json_values())
def test_whatever_an_inspect_answers_is_parsed_or_a_typed_error(value: Any) -> None:
    for raw in replaced(FULL, value):
        try:
            info = ContainerInfo.from_inspect(raw)
        except EngineError:
            continue
        assert texts(info.id, info.name, info.state, info.error, info.image, info.network_mode)
        for pairs in (info.labels, info.networks, info.mounts, info.environment):
            assert texts(*pairs, *pairs.values())
        assert all(type(port) is int and 0 < port < 65536 for ports in info.ports.values() for port in ports)
        assert all(texts(*pairs) for pairs in (info.ports, info.bindings, *info.bindings.values()))
        assert isinstance(info.exit_code, int)
        assert math.isfinite(info.created)


@FEW
@given(json_values())
def test_whatever_a_list_holds_is_parsed_or_a_typed_error(value: Any) -> None:
    for raw in replaced(in_the_list(), value):
        try:
            item = ListedContainer.from_listing(raw)
        except EngineError:
            continue
        assert texts(item.id, item.name, item.image, item.state, item.status)
        for pairs in (item.labels, item.networks):
            assert texts(*pairs, *pairs.values())
        assert isinstance(item.created, float)
        assert math.isfinite(item.created)
        assert all(type(port) is int and 0 < port < 65536 for ports in item.ports.values() for port in ports)
        assert item.exit_code is None or isinstance(item.exit_code, int)


IMAGE = {"Id": "sha256:1", "Config": {"Labels": {"a": "b"}}}


@given(json_values())
def test_whatever_an_image_is_is_parsed_or_a_typed_error(value: Any) -> None:
    for raw in replaced(IMAGE, value):
        try:
            image = ImageInfo.from_inspect(raw)
        except EngineError:
            continue
        assert texts(image.id, *image.labels, *image.labels.values())


@pytest.mark.parametrize("raw", [{"Id": "1"}, {"Id": "1", "Config": None}, {"Id": "1", "Config": {"Labels": None}}])
def test_an_image_without_labels(raw: dict[str, Any]) -> None:
    assert ImageInfo.from_inspect(raw) == ImageInfo(id="1", labels={})


@pytest.mark.parametrize(
    ("config", "argv"),
    [
        ({"Entrypoint": ["tini", "--"], "Cmd": ["run", "x"]}, ("tini", "--", "run", "x")),
        ({"Entrypoint": None, "Cmd": ["run"]}, ("run",)),
        ({"Entrypoint": ["run"], "Cmd": []}, ("run",)),
    ],
)
def test_what_a_container_of_an_image_runs(config: dict[str, Any], argv: tuple[str, ...]) -> None:
    assert ImageInfo.from_inspect({"Id": "1", "Config": config}).argv == argv


@pytest.mark.parametrize("config", [{"Entrypoint": "run"}, {"Cmd": [5]}, {"Cmd": {"a": "b"}}])
def test_an_image_that_runs_no_words(config: dict[str, Any]) -> None:
    with pytest.raises(EngineError):
        ImageInfo.from_inspect({"Id": "1", "Config": config})


ANSWERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "create": (parse_id, {"Id": "abc"}),
    "exec": (parse_exit_code, {"Running": False, "ExitCode": 0}),
    "wait": (parse_status, {"StatusCode": 0}),
    "list": (parse_list, {}),
}


@pytest.mark.parametrize("name", ANSWERS)
@given(value=json_values())
def test_whatever_is_answered_is_parsed_or_a_typed_error(name: str, value: Any) -> None:
    parse, valid = ANSWERS[name]
    for raw in replaced(valid, value):
        try:
            found = parse(raw)
        except EngineError:
            continue
        assert found is None or isinstance(found, (int, str, list))


def test_every_container_is_hardened_and_publishes_nothing_unasked() -> None:
    body = ContainerConfig(image="image").to_docker()
    host = body["HostConfig"]
    assert (host["Init"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    assert host["PidsLimit"] > 0
    assert host["NetworkMode"] == "none"
    assert body["Healthcheck"] == {"Test": ["NONE"]}
    assert not {"PortBindings", "Privileged"} & set(host)
    assert host["Binds"] == []
    assert not {"Entrypoint", "Cmd", "ExposedPorts", "StopSignal", "StopTimeout"} & set(body)
    assert (host["Memory"], host["NanoCpus"], host["ShmSize"], host["DeviceRequests"]) == (0, 0, 0, [])
    assert "LogConfig" not in host


def test_a_limit_of_processes_is_not_asked_of_an_engine_without_it() -> None:
    assert ContainerConfig(image="image").to_docker(limits_pids=False)["HostConfig"]["PidsLimit"] == 0


def test_the_log_has_two_files_of_a_size() -> None:
    host = ContainerConfig(image="image").to_docker("json-file")["HostConfig"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": str(LOG_SIZE), "max-file": "2"}}


@pytest.mark.parametrize("driver", [None, "local", "journald", "none"])
def test_other_logging_drivers_are_left_alone(driver: str | None) -> None:
    assert "LogConfig" not in ContainerConfig(image="image").to_docker(driver)["HostConfig"]


def test_the_engines_own_size_of_a_log() -> None:
    assert "LogConfig" not in ContainerConfig(image="image", log_size=None).to_docker("json-file")["HostConfig"]


@pytest.mark.parametrize("driver", [None, "none", "json-file"])
def test_a_log_that_is_read_is_kept_in_a_file(driver: str | None) -> None:
    config = ContainerConfig(image="image", log_is_read=True, log_size=5)
    assert config.to_docker(driver)["HostConfig"]["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "5", "max-file": "2"},
    }
    config = ContainerConfig(image="image", log_is_read=True, log_size=None)
    assert config.to_docker(driver)["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}


@pytest.mark.parametrize(
    ("told", "expected"), [(None, ()), ([], ()), ("", ()), (["/a", "b"], ("/a", "b")), ("/a b", ("/a b",))]
)
def test_a_container_tells_its_entrypoint(told: object, expected: tuple[str, ...]) -> None:
    raw = {**FULL, "Config": {**FULL["Config"], "Entrypoint": told}}
    assert ContainerInfo.from_inspect(raw).entrypoint == expected


def test_an_image_keeps_its_entrypoint_where_that_is_asked_for() -> None:
    body = ContainerConfig(image="image", entrypoint=("sh", "-c", "x"), keep_entrypoint=True).to_docker()
    assert body["Cmd"] == ["sh", "-c", "x"]
    assert "Entrypoint" not in body


def test_all_that_is_asked_is_in_the_body() -> None:
    body = ContainerConfig(
        image="image",
        entrypoint=("sh", "-c", "x"),
        user="1:2",
        working_dir="/w",
        environment={"A": "b=c"},
        labels={"l": "m"},
        mounts=(
            BindMount(source="/a,b", target="/t", read_only=True),
            BindMount(source="volume", target="/v", type="volume"),
            BindMount(source="own", target="/o", type="volume", no_copy=True),
        ),
        tmpfs=(Tmpfs(target="/run", mode="0700", size=16, uid=1, gid=2), Tmpfs(target="/scratch", mode="1777")),
        container_port=8888,
        host_ip="127.0.0.1",
        host_port=80,
        network="net",
        read_only=True,
        memory=2**30,
        cpus=1.5,
        shm_size=2**20,
        gpus="all",
        stop_signal="SIGTERM",
        stop_seconds=30,
    ).to_docker()
    host = body["HostConfig"]
    assert (body["Entrypoint"], body["Cmd"], body["User"], body["WorkingDir"]) == (["sh", "-c", "x"], [], "1:2", "/w")
    assert (body["Env"], body["Labels"]) == (["A=b=c"], {"l": "m"})
    assert (body["StopSignal"], body["StopTimeout"]) == ("SIGTERM", 30)
    assert host["Mounts"] == [
        {"Type": "bind", "Source": "/a,b", "Target": "/t", "ReadOnly": True},
        {"Type": "volume", "Source": "volume", "Target": "/v", "ReadOnly": False},
    ]
    assert host["Binds"] == ["own:/o:rw,nocopy"]
    assert host["CapAdd"] == []
    assert host["Tmpfs"] == {
        "/run": "rw,nosuid,nodev,noexec,mode=0700,size=16,uid=1,gid=2",
        "/scratch": "rw,nosuid,nodev,noexec,mode=1777",
    }
    assert body["ExposedPorts"] == {"8888/tcp": {}}
    assert host["PortBindings"] == {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}
    assert (host["NetworkMode"], host["ReadonlyRootfs"]) == ("net", True)
    assert (host["Memory"], host["NanoCpus"], host["ShmSize"]) == (2**30, 1_500_000_000, 2**20)
    assert host["DeviceRequests"] == [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]


def test_a_free_port_is_asked_for_by_none() -> None:
    host = ContainerConfig(image="image", container_port=8888, host_ip="127.0.0.1").to_docker()["HostConfig"]
    assert host["PortBindings"] == {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


def test_so_many_gpus() -> None:
    assert ContainerConfig(image="image", gpus=2).to_docker()["HostConfig"]["DeviceRequests"][0]["Count"] == 2


def test_secrets_are_in_no_repr() -> None:
    assert "s3cret" not in repr(ContainerConfig(image="image", environment={"KEY": "s3cret"}))


def test_what_else_was_asked_is_in_the_body() -> None:
    body = ContainerConfig(
        image="image",
        container_port=8888,
        host_ip="127.0.0.1",
        ports={"6006/tcp": None, "5000/udp": 7000},
        extra_hosts={"db": "10.0.0.1", "six": "::1"},
        groups=("5", "users"),
        mounts=(
            BindMount(source="cache", target="/v", type="volume"),
            BindMount(source="/a", target="/b", propagation="rslave"),
            BindMount(source="other", target="/w", type="volume", relabel="z"),
        ),
        tmpfs=(Tmpfs(target="/scratch", mode="1777", size=16, executable=True),),
        default_shm_size=2**20,
        engine_options={"Hostname": "lab", "PidsLimit": 5, "Healthcheck": {"Test": ["CMD", "true"]}},
    ).to_docker()
    host = body["HostConfig"]
    assert body["ExposedPorts"] == {"8888/tcp": {}, "6006/tcp": {}, "5000/udp": {}}
    assert host["PortBindings"]["6006/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": ""}]
    assert host["PortBindings"]["5000/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "7000"}]
    assert (host["ExtraHosts"], host["GroupAdd"]) == (["db:10.0.0.1", "six:::1"], ["5", "users"])
    assert host["Mounts"] == [
        {"Type": "volume", "Source": "cache", "Target": "/v", "ReadOnly": False},
        {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": False, "BindOptions": {"Propagation": "rslave"}},
    ]
    assert host["Binds"] == ["other:/w:rw,z"]
    assert host["Tmpfs"] == {"/scratch": "rw,nosuid,nodev,exec,mode=1777,size=16"}
    assert host["ShmSize"] == 2**20
    assert (body["Hostname"], body["Healthcheck"], host["PidsLimit"]) == ("lab", {"Test": ["CMD", "true"]}, 5)


@pytest.mark.parametrize(
    ("gpus", "request_"),
    [
        (("0", "3"), {"Driver": "", "DeviceIDs": ["0", "3"], "Capabilities": [["gpu"]]}),
        (("nvidia.com/gpu=0",), {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0"]}),
    ],
)
def test_gpus_by_their_ids(gpus: tuple[str, ...], request_: dict[str, Any]) -> None:
    host = ContainerConfig(image="image", gpus=gpus).to_docker()["HostConfig"]
    assert host["DeviceRequests"] == [request_]


def test_what_a_container_tells_of_its_hosts_groups_and_memory() -> None:
    told = {"GroupAdd": ["5"], "ExtraHosts": ["db:10.0.0.1", "six:::1"], "Tmpfs": {"/scratch": "rw"}}
    info = ContainerInfo.from_inspect(inspected(HostConfig=told))
    assert (info.groups, info.extra_hosts, info.tmpfs) == (("5",), ("db", "six"), ("/scratch",))
    silent = ContainerInfo.from_inspect(inspected())
    assert (silent.groups, silent.extra_hosts, silent.tmpfs) == (None, None, None)
    with pytest.raises(EngineError, match="unexpected shape"):
        ContainerInfo.from_inspect(inspected(HostConfig={"GroupAdd": [5]}))

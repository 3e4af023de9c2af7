"""The configurations of all containers of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Gateway, Mount, Volume
from jupyter_launcher.engine.types import BindMount, ContainerConfig, Tmpfs
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.container import (
    KERNEL_MARK,
    LOOK_TARGET,
    find_unenforced,
    gateway_config,
    look_config,
    mount_points_config,
    probe_config,
    session_config,
)
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.spec.mounts import DIRECTORY, LINK, NOTHING, MountPoint, find_mount_points
from jupyter_launcher.spec.server import RUN_DIR, read_script
from tests.unit.fakes import container, session_spec

GATEWAY = Gateway(name="gw", url="http://10.0.0.1:8888")


def config(gateway: Gateway | None = None, **options: Any) -> ContainerConfig:
    spec = session_spec(**options)
    labels = SessionLabels.from_spec(spec, gateway, "start-1", "me")
    return session_config(spec, gateway, labels, "net")


def test_a_session_supervises_a_server_that_comes_by_exec() -> None:
    found = config()
    assert found.entrypoint is not None
    assert found.entrypoint[:2] == ("sh", "-c")
    assert found.entrypoint[2] == read_script("supervise.sh")
    assert found.entrypoint[3:5] == ("supervise", RUN_DIR)
    assert found.keep_entrypoint
    assert not config(entrypoint=False).keep_entrypoint
    assert (found.stop_signal, found.working_dir, found.network) == ("SIGTERM", "/pipeline-dir", "net")
    assert found.stop_seconds is not None
    assert found.stop_seconds > 5  # a kernel that ignores signals costs the server so much


def test_a_session_has_the_pipeline_and_what_else_was_asked_for() -> None:
    found = config(
        mounts=[Mount(source="/a", target="/b", read_only=True, relabel="Z")],
        pipeline_relabel="z",
        host_ip="10.0.0.1",
        host_port=80,
        memory="1k",
        cpus=1.5,
        shm_size="2k",
        gpus="all",
        environment={"A": "b"},
        ports={6006: None},
        extra_hosts={"db": "10.0.0.1"},
        groups=[5],
        container_options={"Hostname": "lab"},
    )
    assert found.mounts == (
        BindMount(source="/pipelines/one", target="/pipeline-dir", relabel="z"),
        BindMount(source="/a", target="/b", read_only=True, relabel="Z"),
    )
    assert (found.image, found.user, found.environment) == ("image", "1234:1234", {"A": "b"})
    assert (found.container_port, found.host_ip, found.host_port) == (8888, "10.0.0.1", 80)
    assert (found.memory, found.cpus, found.shm_size, found.gpus) == (1024, 1.5, 2048, "all")
    assert (found.ports, found.extra_hosts, found.groups) == ({"6006/tcp": None}, {"db": "10.0.0.1"}, ("5",))
    assert found.engine_options == {"Hostname": "lab"}


@pytest.mark.parametrize(
    ("options", "size"), [({}, 2**30), ({"memory": "3g"}, 3 * 2**29), ({"memory": "3g", "shm_size": "1m"}, 2**20)]
)
def test_the_memory_that_processes_share(options: dict[str, Any], size: int) -> None:
    assert config(**options).to_docker()["HostConfig"]["ShmSize"] == size
    assert (config(**options).shm_size is None) == ("shm_size" not in options)


def test_file_systems_in_memory_can_be_run_from() -> None:
    found = config(tmpfs={"/scratch": "1m", "/tmp": "2m"}, read_only=True)  # noqa: S108 - in the container
    assert found.tmpfs[1:] == (
        Tmpfs(target="/scratch", mode="1777", size=2**20, executable=True),
        Tmpfs(target="/tmp", mode="1777", size=2**21, executable=True),  # noqa: S108
    )


@pytest.mark.parametrize(("home", "source"), [("/srv/alice", "/srv/alice"), (Volume("al"), "al")])
def test_a_home_is_mounted_and_is_home(home: str | Volume, source: str) -> None:
    found = config(home=home, environment={"A": "b"})
    is_volume = isinstance(home, Volume)
    mount = BindMount(
        source=source, target="/home/jupyter-launcher", type="volume" if is_volume else "bind", no_copy=is_volume
    )
    assert found.mounts[1:] == (mount,)
    assert found.environment == {"HOME": "/home/jupyter-launcher", "A": "b"}


def test_the_callers_labels_stand_beside_ours() -> None:
    labels = config(labels={"team": "a"}).labels
    assert labels["team"] == "a"
    assert SessionLabels.from_labels(labels, "c").session_id == "one"


@pytest.mark.parametrize(
    ("user", "mode", "uid", "gid"),
    [
        ("1234:5", "0700", 1234, 5),
        ("1234", "0700", 1234, None),
        ("jovyan", "1777", None, None),
        ("1234:users", "0700", 1234, None),
    ],
)
def test_the_run_dir_is_the_servers_users_own(user: str, mode: str, uid: int | None, gid: int | None) -> None:
    (run_dir,) = config(user=user).tmpfs
    assert (run_dir.target, run_dir.mode, run_dir.uid, run_dir.gid) == (RUN_DIR, mode, uid, gid)
    assert run_dir.size is not None


def test_a_session_that_cannot_write_has_a_tmp() -> None:
    found = config(read_only=True)
    assert found.read_only
    assert Tmpfs(target="/tmp", mode="1777", size=2**31, executable=True) in found.tmpfs  # noqa: S108
    assert len(config().tmpfs) == 1


def test_a_tmp_of_the_callers_takes_the_place_of_ours() -> None:
    found = config(read_only=True, mounts=[Mount(source="/a", target="/tmp/")])  # noqa: S108 - in the container
    assert [item.target for item in found.tmpfs] == [RUN_DIR]
    assert BindMount(source="/a", target="/tmp") in found.mounts  # noqa: S108 - in the container
    below = config(read_only=True, mounts=[Mount(source="/a", target="/tmp/x")])  # noqa: S108 - in the container
    assert len(below.tmpfs) == 2


def test_every_container_of_ours_has_a_log_of_a_bounded_size() -> None:
    assert config().log_size == look_config(Path("/p"), "image").log_size == 10 * 2**20
    assert probe_config(None, "", image="image", labels={}, host_ip="127.0.0.1", network="net").log_size == 10 * 2**20
    assert config(log_size="1m").log_size == 2**20
    assert config(log_size=None).log_size is None


def test_kernels_on_a_gateway_are_marked_with_the_start() -> None:
    given = {KERNEL_MARK: "forged", "KERNEL_USERNAME": "me"}
    assert config(GATEWAY, environment=given).environment == {KERNEL_MARK: "start-1", "KERNEL_USERNAME": "me"}
    assert config(GATEWAY).environment == {KERNEL_MARK: "start-1", "KERNEL_USERNAME": "jupyter"}


def test_a_session_has_the_proxies_that_the_caller_does_not_set() -> None:
    spec = session_spec(environment={"HTTP_PROXY": "mine", "no_proxy": "", "A": "b"})
    proxies = HiddenTexts({"HTTP_PROXY": "theirs", "http_proxy": "theirs", "NO_PROXY": "x", "no_proxy": "x"})
    found = session_config(spec, None, SessionLabels.from_spec(spec, None, "start-1", "me"), "net", proxies)
    expected = {"HTTP_PROXY": "mine", "http_proxy": "theirs", "NO_PROXY": "x", "no_proxy": "", "A": "b"}
    assert found.environment == expected


def test_the_environment_stays_out_of_the_repr() -> None:
    assert "s3cret" not in repr(config(environment={"KEY": "s3cret"}))


def test_a_gateway_sees_the_pipeline_where_the_server_does() -> None:
    found = gateway_config(
        Path("/p"),
        "1:2",
        image="gateway",
        argv=("run-gateway", "--port=8888"),
        pipeline_dir_id="66:1234",
        relabel="z",
        labels={"a": "b"},
        publish_ip="127.0.0.1",
        network="net",
        proxies=HiddenTexts({"HTTP_PROXY": "theirs"}),
    )
    assert found.entrypoint is not None
    assert found.entrypoint[:2] == ("sh", "-c")
    assert found.entrypoint[3:] == ("gateway", RUN_DIR, "/pipeline-dir", "66:1234", "run-gateway", "--port=8888")
    assert [(item.target, item.mode, item.uid, item.gid) for item in found.tmpfs] == [(RUN_DIR, "0700", 1, 2)]
    assert found.mounts == (BindMount(source="/p", target="/pipeline-dir", relabel="z"),)
    assert (found.image, found.user, found.working_dir, found.network) == ("gateway", "1:2", "/pipeline-dir", "net")
    assert (found.container_port, found.host_ip, found.host_port) == (8888, "127.0.0.1", None)
    assert (found.labels, found.environment) == ({"a": "b"}, {"HTTP_PROXY": "theirs"})
    assert found.default_shm_size == 2**30


def test_a_gateway_that_is_reached_at_its_own_address_publishes_nothing() -> None:
    found = gateway_config(
        Path("/p"),
        "1:2",
        image="gateway",
        argv=("run",),
        pipeline_dir_id=None,
        relabel=None,
        labels={},
        publish_ip=None,
        network="net",
    )
    assert found.container_port is None


def test_a_look_can_do_nothing_but_look() -> None:
    found = look_config(Path("/p"), "image")
    assert found.entrypoint == ("stat", "-c", "%F %d:%i %u:%g", LOOK_TARGET)
    assert found.mounts == (BindMount(source="/p", target=LOOK_TARGET, read_only=True),)
    assert (found.network, found.container_port, found.log_is_read) == ("none", None, True)


def test_a_look_at_mount_points() -> None:
    points = find_mount_points(
        Path("/p"), [Mount(source="/a", target="/pipeline-dir/x/y"), Mount(source="/b", target="/pipeline-dir/z")]
    )
    found = mount_points_config(points, "1:2", "image")
    assert found.entrypoint is not None
    assert found.entrypoint[:2] == ("sh", "-c")
    assert found.entrypoint[4:] == (
        f"{LOOK_TARGET}/0/source",
        f"{LOOK_TARGET}/0/outer/x",
        f"{LOOK_TARGET}/0/outer/x/y",
        f"{LOOK_TARGET}/1/source",
        f"{LOOK_TARGET}/1/outer/z",
    )
    assert [(mount.source, mount.target, mount.read_only) for mount in found.mounts] == [
        ("/a", f"{LOOK_TARGET}/0/source", True),
        ("/p", f"{LOOK_TARGET}/0/outer", True),
        ("/b", f"{LOOK_TARGET}/1/source", True),
        ("/p", f"{LOOK_TARGET}/1/outer", True),
    ]
    assert (found.user, found.network, found.log_is_read) == ("1:2", "none", True)


def test_a_look_at_mount_points_makes_no_volume() -> None:
    volume = Mount(type="volume", source="cache", target="/pipeline-dir/x")
    found = mount_points_config(find_mount_points(Path("/p"), [volume]), "1:2", "image")
    assert [mount.source for mount in found.mounts] == ["/p"]
    assert found.entrypoint is not None
    assert found.entrypoint[4:] == ("/", f"{LOOK_TARGET}/0/outer/x")


def test_a_look_at_mount_points_in_a_volume() -> None:
    point = MountPoint(mount=Mount(source="/a", target="/pipeline-dir/x"), outer="volume:pipeline-7", steps=("x",))
    found = mount_points_config([point], "1:2", "image").mounts
    assert [(item.source, item.type, item.read_only) for item in found] == [
        ("/a", "bind", True),
        ("pipeline-7", "volume", True),
    ]


def test_a_look_at_mount_points_prints_a_line_for_each_path(tmp_path: Path) -> None:
    (tmp_path / "file\nwith a name").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    config = mount_points_config((), "", "image")
    assert config.entrypoint is not None
    paths = [str(tmp_path), str(tmp_path / "link"), str(tmp_path / "none"), str(tmp_path / "file\nwith a name")]
    run = subprocess.run([*config.entrypoint, *paths], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [DIRECTORY, LINK, NOTHING, "regular empty file"]


@pytest.mark.parametrize("folder", [None, Path("/p")])
def test_the_doctors_probe_answers_where_a_server_would(folder: Path | None) -> None:
    found = probe_config(folder, "1:2", image="image", labels={"a": "b"}, host_ip="127.0.0.1", network="net")
    assert found.entrypoint is not None
    assert "http.server 8888" in found.entrypoint[2]
    assert found.container_port == 8888
    assert [mount.source for mount in found.mounts] == ([] if folder is None else ["/p"])


ASKED = config(memory="1g", cpus=1 / 3, shm_size="64m", read_only=True)
AS_ASKED: dict[str, Any] = {"memory": 2**30, "cpus": 0.33333, "shm_size": 2**26, "read_only": True}


@pytest.mark.parametrize(
    ("found", "unheld"),
    [
        ({}, []),
        ({"memory": 0}, ["memory"]),
        ({"memory": 2**29}, ["memory"]),
        ({"memory": 2**31}, ["memory"]),
        ({"cpus": 0.0}, ["cpus"]),
        ({"cpus": 0.3}, ["cpus"]),
        ({"shm_size": 65_536_000}, ["shm_size"]),
        ({"read_only": False}, ["read_only"]),
        ({"memory": 0, "cpus": 0.0}, ["memory", "cpus"]),
        (dict.fromkeys(AS_ASKED), []),
    ],
)
def test_what_a_container_does_not_hold(found: dict[str, Any], unheld: list[str]) -> None:
    assert find_unenforced(ASKED, container(**{**AS_ASKED, **found})) == unheld


def test_what_was_not_asked_for_is_held() -> None:
    assert find_unenforced(config(), container(memory=0, cpus=0.0, shm_size=2**26, read_only=False)) == []


@pytest.mark.parametrize(
    ("found", "unheld"),
    [
        ({}, []),
        ({"groups": ("5", "6"), "extra_hosts": ("db", "own"), "tmpfs": (RUN_DIR, "/scratch")}, []),
        ({"groups": (), "extra_hosts": (), "tmpfs": (RUN_DIR,)}, ["extra_hosts", "groups", "tmpfs"]),
        ({"groups": ("6",)}, ["groups"]),
        ({"tmpfs": ()}, []),  # it does not tell of those that are there
    ],
)
def test_what_a_container_does_not_have(found: dict[str, Any], unheld: list[str]) -> None:
    asked = config(groups=[5], extra_hosts={"db": "10.0.0.1"}, tmpfs={"/scratch": "1m"})
    assert find_unenforced(asked, container(**found)) == unheld


@pytest.mark.parametrize(
    ("known", "unheld"), [(None, []), (frozenset({"Later", "Dns"}), []), (frozenset(), ["container_options"])]
)
def test_an_option_that_the_engine_does_not_know(known: frozenset[str] | None, unheld: list[str]) -> None:
    asked = config(container_options={"Later": 1, "Sysctls": {}}, unsafe=True)
    assert find_unenforced(asked, container(option_names=known)) == unheld

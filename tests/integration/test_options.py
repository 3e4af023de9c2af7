"""Options at their limits on a real engine: what works, and what is refused before anything is made."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import stat
import struct
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from jupyter_launcher import Launcher, LauncherError, Mount, OptionError, Session, SessionState, Timeouts
from jupyter_launcher.engine.types import LOG_SIZE
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.look import run_look
from jupyter_launcher.spec.container import look_config
from tests.containers import eventually, user_inside
from tests.integration.conftest import OWNER
from tests.integration.test_session import in_container, save, start_kernel

Start = Callable[..., Session]
MEMBER = 1500
"""Another uid that nobody knows."""


def needs_root() -> None:
    if os.getuid():
        pytest.skip("only root may give directories away")


def owned_folder(path: Path, uid: int, gid: int, mode: int) -> Path:
    path.mkdir()
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("host_ip", "shown"),
    [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],
)
def test_every_loopback_address_is_reached(start: Start, launcher: Launcher, host_ip: str, shown: str) -> None:
    if ":" in host_ip:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            pytest.skip(f"this machine has no IPv6 loopback: {error}")
        if launcher._engine.traits.is_podman:
            pytest.skip("Podman's network forwards nothing from the IPv6 loopback to a network of IPv4 addresses")
    session = start(session_id="address", host_ip=host_ip)
    assert session.url.startswith(f"http://{shown}:")
    assert requests.get(session.lab_url, timeout=10).status_code == 200
    assert session.status().state is SessionState.READY
    assert [item.state for item in launcher.list()] == [SessionState.READY]
    assert launcher.get("address").url == session.url


def refused(launcher: Launcher, folder: Path, **options: Any) -> OptionError:
    """The error of a start that makes nothing."""
    with pytest.raises(OptionError) as caught:
        launcher.start(folder, **options)
    assert launcher.ids() == []
    return caught.value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("cpus", math.inf),
        ("cpus", 1e300),
        ("cpus", 10_000),
        ("memory", 2**70),
        ("shm_size", math.inf),
        ("user", ""),
        ("user", "\u00b2"),
        ("user", True),
        ("gateway", 5),
        ("gateway", ""),
        ("gateway", "gw:\u00b2"),
        ("image", ""),
        ("image", 5),
        ("network", ""),
        ("network", "host"),
        ("network", "none"),
        ("network", "container:x"),
        ("environment", {"A": "\udcff"}),
        ("environment", {"A": "x" * 131_070}),
        ("environment", {f"A{number}": "x" * 1000 for number in range(2000)}),
        ("lab_args", ["--Foo.bar=" + "x" * 131_072]),
        ("lab_args", ["--Foo.bar=" + "x" * 1000] * 2000),
        ("lab_args", ["--NotebookApp.token="]),
        ("labels", {"a": "x" * 5_000_000}),
        ("mounts", [Mount(source="/a", target=5)]),  # type: ignore[arg-type]
        ("mounts", [Mount(source="/a\0", target="/ab")]),
        ("mounts", [Mount(source="/a", target="/run/jupyter-launcher")]),
        ("mounts", [Mount(source="/a", target="/proc")]),
        ("base_url", "/../"),
        ("base_url", "/%zz/"),
        ("host_ip", 1),
        ("lease", 2**63),
        ("log_size", 5),
        ("ports", {8888: None}),
        ("extra_hosts", {"db": "elsewhere"}),
        ("groups", "users"),
        ("umask", "8"),
        ("tmpfs", {"/proc": "1g"}),
        ("gpus", "device=0"),
        ("mounts", [Mount(source="/a", target="/b", propagation="no")]),  # type: ignore[arg-type]
        ("container_options", {"Memory": 5}),
        ("container_options", {"Privileged": True}),
        ("timeouts", 5),
        ("pull", 5),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_cannot_work_is_refused_before(launcher: Launcher, pipeline_dir: Path, option: str, value: Any) -> None:
    assert refused(launcher, pipeline_dir, **{option: value}).option == option


@pytest.mark.parametrize(
    "options",
    [
        {"owner": 5},
        {"on_event": 5},
        {"timeouts": 5},
        {"build": 5},
        {"image": ""},
        {"image": 5},
        {"namespace": 5},
        {"max_starts": 0},
    ],
    ids=str,
)
def test_a_launcher_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        Launcher(**options)
    assert [caught.value.option] == list(options)


def test_the_longest_variable_and_argument_work(start: Start, client: Any) -> None:
    longest = 128 * 1024 - 1
    session = start(
        environment={"LONG": "x" * (longest - len("LONG="))},
        lab_args=["--Foo.bar=" + "y" * (longest - len("--Foo.bar="))],
    )
    assert session.status().state is SessionState.READY


def test_a_megabyte_of_variables_and_arguments_works(start: Start) -> None:
    environment = {f"LONG{number}": "x" * 1000 for number in range(750)}
    session = start(environment=environment, lab_args=["--Foo.bar=" + "y" * 1000] * 750)
    assert session.status().state is SessionState.READY


@pytest.mark.usefixtures("needs_information")
def test_the_log_is_bounded(start: Start, launcher: Launcher, client: Any) -> None:
    session = start(log_size="64k")
    host = client.containers.get(session.container_id).attrs["HostConfig"]
    if host["LogConfig"]["Type"] != "json-file":
        pytest.skip(f"the engine's logging driver is {host['LogConfig']['Type']}")
    if not launcher._engine.traits.is_podman:  # it does not tell
        assert host["LogConfig"]["Config"] == {"max-size": "65536", "max-file": "2"}
    in_container(client, session, "yes 0123456789 | head -c 3000000 >/proc/1/fd/1")
    assert 1000 < len(session.logs()) < 2 * 65536
    assert session.status().state is SessionState.READY


@pytest.mark.usefixtures("needs_information")
def test_every_container_has_a_bounded_log(start: Start, launcher: Launcher, gateway: str, client: Any) -> None:
    if launcher._engine.traits.is_podman:
        pytest.skip("Podman's answer to an inspect does not tell the size of a log")
    for container in (start().container_id, gateway):
        log = client.containers.get(container).attrs["HostConfig"]["LogConfig"]
        if log["Type"] != "json-file":
            pytest.skip(f"the engine's logging driver is {log['Type']}")
        assert log["Config"] == {"max-size": str(LOG_SIZE), "max-file": "2"}


def test_the_engines_own_setting_of_the_log(start: Start, client: Any) -> None:
    log = client.containers.get(start(log_size=None).container_id).attrs["HostConfig"]["LogConfig"]
    assert "max-size" not in (log["Config"] or {})


@pytest.fixture
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("more")
    (folder / "sub").mkdir()
    (folder / "note").write_text("a note")
    folder.chmod(0o755)
    return folder


SEES = [
    pytest.param(True, id="seen by this process"),
    pytest.param(False, id="seen by a container"),
]


@pytest.mark.parametrize("sees", SEES)
def test_mounts_inside_the_pipeline_need_their_mount_points(
    start: Start,
    launcher: Launcher,
    pipeline_dir: Path,
    more: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    sees: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    if not sees:
        monkeypatch.setattr(EngineAddress, "find_here", lambda *_: None)
    data = Mount(source=str(more), target="/pipeline-dir/data")
    note = Mount(source=str(more / "note"), target="/pipeline-dir/data/note")
    error = refused(launcher, pipeline_dir, mounts=[data])
    assert error.option == "mounts"
    assert f"no directory at {pipeline_dir / 'data'}" in error.message
    assert list(pipeline_dir.iterdir()) == []
    (pipeline_dir / "data").mkdir()
    (pipeline_dir / "link").symlink_to("data")
    for target in ("/pipeline-dir/link", "/pipeline-dir/data/none", "/m/none"):
        other = Mount(source=str(more), target="/m")
        refused(launcher, pipeline_dir, mounts=[Mount(source=str(more), target=target), other])
    assert sorted(item.name for item in more.iterdir()) == ["note", "sub"]
    session = start(mounts=[data, note])
    assert in_container(client, session, "cat /pipeline-dir/data/note") == "a note"
    assert list((pipeline_dir / "data").iterdir()) == []


def test_a_mount_in_place_of_tmp_where_nothing_else_can_be_written(start: Start, tmp_path: Path, client: Any) -> None:
    needs_root()
    own = owned_folder(tmp_path / "tmp", OWNER, OWNER, 0o700)
    session = start(read_only=True, mounts=[Mount(source=str(own), target="/tmp")])  # noqa: S108 - in the container
    in_container(client, session, "echo seen >/tmp/seen")
    assert (own / "seen").read_text() == "seen\n"


def grant_by_access_list(folder: Path, uid: int) -> None:
    """What `setfacl -m u:UID:rwx` does to a directory of mode 0700."""
    nobody = 0xFFFFFFFF
    entries = [(0x01, 7, nobody), (0x02, 7, uid), (0x04, 0, nobody), (0x10, 7, nobody), (0x20, 0, nobody)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"the file system of {folder} has no access lists: {error}")


def test_an_access_list_opens_a_directory(start: Start, tmp_path: Path) -> None:
    needs_root()
    folder = owned_folder(tmp_path / "listed", 0, 0, 0o700)
    with pytest.raises(LauncherError, match=f"chmod o\\+rwx {folder}|{folder} cannot be used: .* cannot enter it"):
        start(folder, user=f"{MEMBER}:{MEMBER}")
    grant_by_access_list(folder, MEMBER)
    session = start(folder, user=f"{MEMBER}:{MEMBER}")
    assert save(session, "saved.txt", "text") == 201
    assert (folder / "saved.txt").stat().st_uid == MEMBER


@pytest.mark.parametrize("user", [MEMBER, str(MEMBER)])
def test_a_uid_alone_works_with_the_directorys_group(start: Start, tmp_path: Path, user: int | str) -> None:
    needs_root()
    folder = owned_folder(tmp_path / "shared", OWNER, OWNER + 1, 0o770)
    session = start(folder, user=user)
    assert save(session, "saved.txt", "text") == 201
    status = (folder / "saved.txt").stat()
    assert (status.st_uid, status.st_gid) == (MEMBER, OWNER + 1)


def test_a_session_knows_which_directory_it_has(start: Start, pipeline_dir: Path, client: Any) -> None:
    session = start()
    status = pipeline_dir.stat()
    identity = f"{status.st_dev}:{status.st_ino}"
    labels = client.containers.get(session.container_id).labels
    assert labels["jupyter-launcher.pipeline-dir-id"] == identity
    assert in_container(client, session, "stat -c %d:%i /pipeline-dir").strip() == identity


def test_a_container_sees_which_directory_it_is(launcher: Launcher, pipeline_dir: Path, client: Any) -> None:
    """What is asked of an engine on another host."""
    status = pipeline_dir.stat()
    seen = run_look(launcher._engine, look_config(pipeline_dir, launcher.image))
    assert seen == f"directory {status.st_dev}:{status.st_ino} {user_inside(client, pipeline_dir)}"


def test_gpus_that_the_engine_does_not_have(launcher: Launcher, pipeline_dir: Path) -> None:
    error = refused(launcher, pipeline_dir, gpus=("nvidia.com/gpu=none-of-these",))
    assert error.option == "gpus"
    assert "toolkit" in error.hint


def test_a_gpu_by_its_name(start: Start, client: Any) -> None:
    name = "jupyter-launcher.test/gpu=7"
    if name not in [device["ID"] for device in client.api.info().get("DiscoveredDevices") or ()]:
        pytest.skip("this engine has no such device; `make test-engines ENGINES=docker-28` tries it")
    session = start(gpus=(name,))
    assert "GPU_SEEN=7\0" in in_container(
        client, session, "cat /proc/1/environ"
    )  # an exec has not what such a device sets
    with pytest.raises(OptionError, match="gpu=8"):
        start(gpus=("jupyter-launcher.test/gpu=8",))


@pytest.fixture
def volume(client: Any) -> Iterator[str]:
    """The name of a volume, which the engine makes."""
    name = f"jupyter-launcher-test-{uuid.uuid4().hex[:12]}"
    yield name
    with contextlib.suppress(docker.errors.NotFound):  # nothing has used it
        client.volumes.get(name).remove()


INSIDE = """
import glob, json, os, resource, socket, subprocess
run = lambda line: subprocess.run(line, shell=True, capture_output=True, text=True).stdout.strip()
lines = {path: open(path, "rb").read() for path in glob.glob("/proc/[0-9]*/cmdline")}
kernel = [os.path.dirname(path) for path, line in lines.items() if b"ipykernel" in line][0]
status = dict(line.split(":\\t", 1) for line in open(kernel + "/status") if ":\\t" in line)
names = dict(item.split("=", 1) for item in open(kernel + "/environ").read().split("\\0") if item)
size = lambda path: os.statvfs(path).f_blocks * os.statvfs(path).f_frsize
hosts = {name: line.split()[0] for line in open("/etc/hosts") for name in line.split()[1:]}
run("cp /bin/echo /tmp/echo; cp /bin/echo /scratch/echo")
print(json.dumps({
    "umask": status["Umask"].strip(),
    "groups": [int(group) for group in status["Groups"].split()],
    "hosts": [hosts["db.example"], hosts["host.example"]],
    "sizes": [size("/dev/shm"), size("/tmp"), size("/scratch")],
    "runs": [run("/tmp/echo here"), run("/scratch/echo there")],
    "volume": os.path.ismount("/volume"),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "name": socket.gethostname(),
    "limits": [names[name] for name in ("MEM_LIMIT", "CPU_LIMIT", "OMP_NUM_THREADS", "MKL_NUM_THREADS")],
}))
"""
ELSEWHERE = """
import json, sys
from jupyter_launcher import Launcher
with Launcher(namespace=sys.argv[1]) as launcher:
    session = launcher.get("everything")
    listed = [item.session_id for item in launcher.list()]
    ports = [session.published(6006), session.published("5000/udp")]
    print(json.dumps([*ports, listed, launcher.stop("everything").method.value]))
"""


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_every_option_that_can_stand_with_others(
    volume: str,
    start: Start,
    launcher: Launcher,
    pipeline_dir: Path,
    client: Any,
    needs_limits: None,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options: dict[str, Any] = {
        "session_id": "everything",
        "base_url": "/x",
        "ports": {6006: None, "5000/udp": None, 7007: port},
        "extra_hosts": {"db.example": "10.1.2.3", "host.example": "host-gateway"},
        "groups": (2000, 2001),
        "umask": "0002",
        "environment": {"MKL_NUM_THREADS": "7"},
        "mounts": [
            Mount(type="volume", source=volume, target="/volume"),
            Mount(source=str(pipeline_dir.parent), target="/beside", read_only=True, propagation="private"),
        ],
        "tmpfs": {"/scratch": "8m"},
        "memory": "600m",
        "cpus": 1.5,
        "read_only": True,
        "lease": 600,
        "labels": {"team": "blue"},
        "container_options": {
            "Hostname": "lab",
            "Ulimits": [{"Name": "nofile", "Soft": 4096, "Hard": 4096}],
            "PidsLimit": 500,
            "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"},
        },
    }
    session = start(**options)
    start_kernel(session)
    assert save(session, "made", "text") == 201
    assert stat.S_IMODE((pipeline_dir / "made").stat().st_mode) == 0o664
    container = client.containers.get(session.container_id)
    seen: dict[str, Any] = {}

    def look() -> bool:  # the kernel may be just starting
        ended = container.exec_run(["python3", "-c", INSIDE])
        seen.update(json.loads(ended.output) if ended.exit_code == 0 else {})
        return bool(ended.exit_code == 0)

    assert eventually(look)
    for inside, on_host in ((6006, None), (7007, port)):
        container.exec_run(["python3", "-m", "http.server", str(inside), "--directory", "/pipeline-dir"], detach=True)
        host, found = session.published(inside)
        assert found in (on_host or found, inside)  # a launcher in a container reaches the port inside
        assert eventually(lambda url=f"http://{host}:{found}/made": answers(url))  # type: ignore[misc]
    assert seen["hosts"].pop().count(".") == 3
    assert {2000, 2001} <= set(seen.pop("groups"))
    assert seen == {
        "umask": "0002",
        "hosts": ["10.1.2.3"],
        "sizes": [300 * 2**20, 2 * 2**30, 8 * 2**20],
        "runs": ["here", "there"],
        "volume": True,
        "files": 4096,
        "name": "lab",
        "limits": [str(600 * 2**20), "1.5", "2", "7"],
    }
    attrs = container.attrs
    assert attrs["HostConfig"]["PidsLimit"] == 500
    assert "private" in [item.get("Propagation") for item in attrs["Mounts"]]
    with pytest.raises(OptionError, match="does not publish"):
        session.published(6007)
    assert launcher.start(pipeline_dir, **options).joined
    with pytest.raises(LauncherError, match="umask was '0002', now None"):
        launcher.start(pipeline_dir, **{**options, "umask": None})
    command = [sys.executable, "-c", ELSEWHERE, launcher.namespace]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    there = [list(session.published(6006)), list(session.published("5000/udp"))]
    assert json.loads(run.stdout) == [*there, ["everything"], "api"]
    assert client.volumes.get(volume).name == volume


def test_odd_timeouts_are_refused() -> None:
    for value in (math.inf, math.nan, -1):
        with pytest.raises(OptionError):
            Timeouts(start=value)

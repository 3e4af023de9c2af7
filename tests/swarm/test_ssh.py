"""A swarm over ssh alone: each node has an sshd of its own, and the engines are reached through these."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from swarm_nodes import Node

from jupyter_launcher import EngineUnavailableError, Launcher, SessionState, StopMethod, Swarm
from tests.containers import eventually
from tests.swarm.conftest import USER, Cluster, Start, on, state_of

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="needs sshd; `make tools` installs it")

# $1: the socket of the node's engine, which is at its usual place for this sshd alone.
SERVE = 'mount --bind "$1" /run/docker.sock; shift; mkdir -p /run/sshd; exec "$@"'

Connect = Callable[[], Launcher]


def sshd(node: Node, folder: Path) -> list[str]:
    """The command line of an sshd in the network of a node, with a host key and authorized keys of its own."""
    config = folder / f"{node.name}.config"
    settings = [f"ListenAddress {node.address}", f"HostKey {folder / node.name}"]
    settings += [f"AuthorizedKeysFile {folder / node.name}.keys", "StrictModes no", "UsePAM no", "PidFile none"]
    config.write_text("\n".join([*settings, ""]))
    serve = ["unshare", "--mount", "sh", "-ec", SERVE, "serve", node.url.removeprefix("unix://")]
    return node.in_network(*serve, SSHD, "-D", "-f", str(config), "-E", str(folder / f"{node.name}.log"))


@pytest.fixture
def ssh(launcher: Launcher, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user of this test knows all nodes, and has a key for them. ``launcher`` goes on without ssh."""
    for name in ("key", *(node.name for node in cluster.nodes)):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    hosts = [f"{node.address} {(tmp_path / f'{node.name}.pub').read_text()}" for node in cluster.nodes]
    (tmp_path / "known_hosts").write_text("".join(hosts))
    given = [f"IdentityFile {tmp_path}/key", "IdentityAgent none", f"UserKnownHostsFile {tmp_path}/known_hosts"]
    (tmp_path / "config").write_text("\n".join([*given, ""]))
    # ssh takes its configuration from the user's home, whatever HOME says.
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name)
    with ExitStack() as stack:
        for node in cluster.nodes:
            shutil.copy(tmp_path / "key.pub", tmp_path / f"{node.name}.keys")
            process = stack.enter_context(subprocess.Popen(sshd(node, tmp_path)))
            stack.callback(process.terminate)
        for node in cluster.nodes:
            assert eventually(partial(is_open, node)), (tmp_path / f"{node.name}.log").read_text()
        yield tmp_path


def is_open(node: Node) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((node.address, 22)) == 0


@pytest.fixture
def connect(ssh: Path, swarm: Swarm, namespace: str) -> Connect:
    """Launchers that know nothing but the manager's address for ssh."""
    return lambda: Launcher(docker_host="ssh://root@10.77.0.1", swarm=swarm, namespace=namespace)


def tunnels() -> dict[int, list[str]]:
    """The ssh of launchers: process → its arguments."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().decode().split("\0")
        except OSError:  # it ended
            continue
        if "ExitOnForwardFailure=yes" in arguments:
            found[int(path.parent.name)] = arguments
    return found


def leading_to(number: int) -> list[int]:
    """The processes whose tunnel leads to a node."""
    return [process for process, arguments in tunnels().items() if f"10.77.0.{number}" in arguments]


def folders() -> set[Path]:
    """Those of the tunnels' sockets."""
    return {Path(item[item.index("-L") + 1].partition(":")[0]).parent for item in tunnels().values()}


def kill_tunnels() -> None:
    found = tunnels()
    for process in found:
        os.kill(process, signal.SIGKILL)
    assert eventually(lambda: not found.keys() & tunnels().keys())


def test_a_session_over_ssh_alone(connect: Connect, pipeline_dir: str, cluster: Cluster) -> None:
    seen = set()
    with (
        connect() as first,
        connect() as second,
        first.start(pipeline_dir, user=USER, session_id="far", constraints=on(2)) as session,
    ):
        assert (session.node, len(leading_to(1)), len(leading_to(2))) == ("node2", 2, 1)
        assert session.url.startswith("http://10.77.0.2:")
        again = second.get("far")
        assert again.server_info == session.server_info
        again.upload(__file__, "copy")
        assert (cluster.node(2).folder / pipeline_dir.lstrip("/") / "copy").read_bytes() == Path(__file__).read_bytes()
        seen |= folders()

        kill_tunnels()
        with ThreadPoolExecutor(4) as pool:  # those who find it dead at once make one new tunnel
            found = list(pool.map(lambda text: again.run(["cat", "-"], input=text).stdout, "abcd"))
        assert (found, len(leading_to(2))) == (list("abcd"), 1)
        assert session.execute("print(6 * 7)").text == "42\n"
        (item,) = second.list()
        assert (item.session_id, item.state, item.node) == ("far", SessionState.READY, "node2")
        assert "is running at" in "".join(second.logs("far"))
        seen |= folders()

        kill_tunnels()
        assert session.stop().method is StopMethod.API
        assert first.list() == []
        seen |= folders()
    assert tunnels() == {}
    assert len(seen) > 4
    assert not any(folder.exists() for folder in seen)


def test_a_node_whose_sshd_refuses(
    connect: Connect, ssh: Path, start: Start, launcher: Launcher, pipeline_dir: str
) -> None:
    start(3, session_id="there")
    with connect() as before, connect() as after:
        session = before.get("there")
        assert session.run(["echo", "reached"]).stdout == "reached\n"
        (ssh / "node3.keys").write_text("")
        kill_tunnels()
        calls: list[Callable[[], object]] = [
            lambda: session.run(["true"]),
            lambda: after.get("there"),
            lambda: after.start(pipeline_dir, user=USER, session_id="new", constraints=on(3)),
        ]
        for call in calls:
            with pytest.raises(EngineUnavailableError, match=r"node3.*Permission denied") as caught:
                call()
            ways = ("ssh -l root 10.77.0.3 docker info", "Swarm(engines=", "jupyter-launcher.docker-host")
            assert [way for way in ways if way not in caught.value.hint] == []
        assert (state_of(after, "there"), state_of(after, "new")) == (SessionState.READY, None)
        assert leading_to(3) == []
        assert after.stop("there").method is StopMethod.SIGTERM  # by the swarm
    assert tunnels() == {}
    assert launcher.list() == []

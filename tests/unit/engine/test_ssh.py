"""The tunnel to an engine of another host, with a made-up ``ssh`` on the PATH."""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import EngineUnavailableError, OptionError
from jupyter_launcher.engine.reach.ssh import SshTunnel
from tests.containers import eventually
from tests.unit.forks import in_a_fork


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the ``ssh`` of this test does goes into this file; the arguments that it got are beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ssh"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return script


def fake(ssh: Path, *lines: str) -> None:
    ssh.write_text("\n".join(["#!/bin/sh", f'printf "%s\\n" "$@" >{ssh}.arguments', *lines]))


def arguments(ssh: Path) -> list[str]:
    return ssh.with_name("ssh.arguments").read_text().splitlines()


def test_a_socket_here_leads_to_the_socket_there_until_it_is_closed(ssh: Path) -> None:
    fake(ssh, "echo ready", "cat >/dev/null", "echo ended >&2")
    tunnel = SshTunnel("ssh://me@far.example:2222", 10.0)
    socket = Path(urlsplit(tunnel.url).path)
    given = arguments(ssh)
    assert f"{socket}:/var/run/docker.sock" in given
    assert given[given.index("-p") + 1 : given.index("-p") + 4] == ["2222", "-l", "me"]
    assert given[-3:] == ["--", "far.example", "echo ready && cat >/dev/null"]
    assert {"BatchMode=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3"} <= set(given)
    assert socket.parent.is_dir()
    tunnel.close()
    assert not socket.parent.exists()
    tunnel.close()  # once more does nothing


def test_an_ssh_that_has_ended_is_seen(ssh: Path) -> None:
    fake(ssh, "echo ready", "cat >/dev/null")
    tunnel = SshTunnel("ssh://far.example", 10.0)
    assert not tunnel.has_ended()
    tunnel._process.kill()
    tunnel._process.wait()
    assert tunnel.has_ended()
    tunnel.close()


def test_threads_that_look_at_once_all_see_that_it_has_ended(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(ssh, "echo ready", "cat >/dev/null")
    tunnel = SshTunnel("ssh://far.example", 10.0)
    os.kill(tunnel._process.pid, signal.SIGKILL)
    inside, go = threading.Event(), threading.Event()

    def slow(process: int, flags: int) -> tuple[int, int]:
        inside.set()
        go.wait(10)
        return os.waitpid(process, 0)

    poll = tunnel._process._internal_poll  # type: ignore[attr-defined]
    monkeypatch.setattr(tunnel._process, "_internal_poll", lambda: poll(_waitpid=slow))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(tunnel.has_ended)
        inside.wait(10)
        second = pool.submit(tunnel.has_ended)
        wait([second], 0.3)  # it waits for the first
        go.set()
        assert (first.result(10), second.result(10)) == (True, True)
    tunnel.close()


def test_a_process_with_many_descriptors(ssh: Path) -> None:
    fake(ssh, "echo ready", "cat >/dev/null")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1024):
            stack.callback(os.close, os.dup(0))
        SshTunnel("ssh://far.example", 10.0).close()


def test_another_socket_there(ssh: Path) -> None:
    fake(ssh, "echo ready", "cat >/dev/null")
    tunnel = SshTunnel("ssh://far.example/run/user/1000/podman.sock", 10.0)
    given = arguments(ssh)
    assert given[given.index("-L") + 1].endswith(":/run/user/1000/podman.sock")
    assert not {"-p", "-l"} & set(given)
    tunnel.close()


def test_what_ssh_says_when_it_cannot_connect(ssh: Path) -> None:
    fake(ssh, "echo 'Permission denied (publickey).' >&2", "exit 255")
    with pytest.raises(EngineUnavailableError, match=r"ssh said: Permission denied \(publickey\)") as caught:
        SshTunnel("ssh://me@far.example:2222", 10.0)
    assert caught.value.endpoint == "ssh://me@far.example:2222"
    assert caught.value.hint == "try `ssh -p 2222 -l me far.example docker info`"
    folder = arguments(ssh)[arguments(ssh).index("-L") + 1].partition("/docker.sock:")[0]
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("end", "said", "lives"), [("exec sleep 60", "nothing for 0.5 s", False), ("echo no >&2; exit 255", "no$", True)]
)
def test_the_command_of_a_proxy_is_not_waited_for(ssh: Path, end: str, said: str, *, lives: bool) -> None:
    fake(ssh, f"sleep 60 & echo $! >{ssh}.proxy", end)
    with pytest.raises(EngineUnavailableError) as caught:
        SshTunnel("ssh://far.example", 0.5)
    assert re.search(f"ssh said: {said}", caught.value.message)
    proxy = int(ssh.with_name("ssh.proxy").read_text())
    if lives:  # an ssh that ends by itself has its own way to end it
        assert not has_ended(proxy)
        os.kill(proxy, signal.SIGKILL)
    assert eventually(lambda: has_ended(proxy))


def test_the_command_of_a_proxy_ends_with_the_tunnel(ssh: Path) -> None:
    fake(ssh, f"sleep 60 & echo $! >{ssh}.proxy", "echo ready", "cat >/dev/null")
    tunnel = SshTunnel("ssh://far.example", 10.0)
    proxy = int(ssh.with_name("ssh.proxy").read_text())
    tunnel.close()
    assert eventually(lambda: has_ended(proxy))


def has_ended(process: int) -> bool:
    """Whether a process is gone, or nobody has waited for it yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_ssh_that_says_nothing(ssh: Path) -> None:
    fake(ssh, "exec sleep 60")
    with pytest.raises(EngineUnavailableError, match=r"nothing for 0\.1 s"):
        SshTunnel("ssh://far.example", 0.1)


def test_without_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailableError, match="ssh cannot be run") as caught:
        SshTunnel("ssh://far.example", 1.0)
    assert caught.value.hint == "install an ssh client"


@pytest.mark.parametrize(
    "endpoint", ["ssh://", "ssh:///run/docker.sock", "ssh://far.example:0", "ssh://far.example:x", "ssh://[x"]
)
def test_addresses_that_are_none(endpoint: str) -> None:
    with pytest.raises(OptionError, match="begins with ssh://, and has no host") as caught:
        SshTunnel(endpoint, 1.0)
    assert caught.value.option == "docker_host"


def test_a_fork_does_not_end_the_tunnel_of_its_parent(ssh: Path) -> None:
    fake(ssh, "echo ready", "cat >/dev/null")
    tunnel = SshTunnel("ssh://far.example", 10.0)
    socket = Path(urlsplit(tunnel.url).path)
    assert in_a_fork(tunnel.close) == "None"
    assert tunnel._process.poll() is None
    assert socket.parent.is_dir()
    tunnel.close()
    assert tunnel._process.poll() is not None

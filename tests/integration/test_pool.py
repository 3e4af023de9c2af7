"""Servers that run before anybody asked for them become sessions, on a real engine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from run_pipeline import kernel_client

from jupyter_launcher import (
    Event,
    EventKind,
    Launcher,
    PipelineDirError,
    Session,
    SessionNotFoundError,
    SessionState,
    SessionUnreadableError,
    WarmPool,
)
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.warm import mount
from jupyter_launcher.warm.claim import NotClaimedError, claim_server
from tests.containers import OWNER, eventually, held_by_engine, owned, past_proxy, reaped, user_inside, warnings_of
from tests.integration.test_lease import RUN_DIR, wait_for_another_second
from tests.integration.test_session import authorized, in_container, printed, start_kernel

Claim = Callable[..., Session]


def told_by_us(event: Event) -> bool:
    """It is not about limits that the engine does not enforce."""
    return not event.detail.startswith("the engine does not enforce")


@pytest.fixture
def told(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings that are told meanwhile."""
    found: list[str] = []
    monkeypatch.setattr(
        launcher._context.reporter,
        "_on_event",
        lambda event: found.append(event.detail) if event.kind is EventKind.WARNING and told_by_us(event) else None,
    )
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / f"{name}.txt").write_text(name)
        return owned(made)

    return make


def user_of(folder: Path) -> str:
    with contextlib.closing(past_proxy()) as client:
        return user_inside(client, folder)


@contextlib.contextmanager
def filled(launcher: Launcher, folder: Path, size: int = 1, **options: Any) -> Iterator[WarmPool]:
    """A pool in which all servers are ready."""
    with launcher.pool(size=size, user=user_of(folder), **options) as pool:
        assert pool.wait(60)
        yield pool


def contents(session: Session) -> list[str]:
    answer = requests.get(f"{session.url}api/contents", headers=authorized(session), timeout=10)
    return [item["name"] for item in answer.json()["content"]]


def names_of(client: Any, namespace: str) -> list[str]:
    found = client.containers.list(
        all=True, filters={"label": f"jupyter-launcher.namespace={namespace}"}, ignore_removed=True
    )
    return sorted(item.name for item in found)


def isolation(client: Any, session: Session) -> dict[str, Any]:
    """All that keeps a session apart: what the engine holds, and what the kernel says inside."""
    attrs = held_by_engine(client, session)
    host = {name: value for name, value in attrs["HostConfig"].items() if name not in ("Mounts", "Binds")}
    pid = session.server_info.pid
    status = in_container(client, session, f"cat /proc/{pid}/status")
    wanted = (
        "Uid",
        "Gid",
        "Groups",
        "NoNewPrivs",
        "Seccomp",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "Umask",
    )
    lines = dict(line.split(":", 1) for line in status.splitlines())
    fields = [line.split(" ") for line in in_container(client, session, f"cat /proc/{pid}/mountinfo").splitlines()]
    # Where, with which options, in which group of propagation, and of which type.
    mounts = [(item[4], item[5], item[6 : item.index("-") + 2]) for item in fields if item[4] != "/"]
    return {
        "host": host,
        "config": attrs["Config"],
        "profile": attrs["AppArmorProfile"],
        "status": {name: lines.get(name) for name in wanted},
        "mounts": sorted(mounts),
        "token": in_container(client, session, "stat -c '%a %u %s' /run/jupyter-launcher/token"),
        "cwd": in_container(client, session, f"readlink /proc/{pid}/cwd"),
        "namespaces": len(
            {in_container(client, session, f"readlink /proc/{pid}/ns/{kind}") for kind in ("mnt", "pid")}
        ),
    }


def test_a_session_of_a_pool_is_as_any_other(
    launcher: Launcher,
    namespace: str,
    client: Any,
    folder: Callable[[str], Path],
    told: list[str],
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    one, two = folder("one"), folder("two")
    with filled(launcher, one, environment={"SAID": "so"}) as pool:
        session = pool.start(one, session_id="warm", labels={"team": "blue"}, lease=60)
        assert (told, session.joined, warnings_of(session)) == ([], False, [])
        assert 0 < session.timings.claim <= session.timings.total
        assert contents(session) == ["one.txt"]
        assert in_container(client, session, f"cat {RUN_DIR}/answered {RUN_DIR}/lease.length") == "60\n"
        assert session.server_info.notebook_dir == "/pipeline-dir"
        assert requests.get(f"{session.url}api/contents", timeout=10).status_code == 403
        # Where kernels, terminals and execs begin.
        with kernel_client(session) as kernel:
            assert printed(kernel, "import os; print(os.listdir())") == "['one.txt']"
        terminal = requests.post(f"{session.url}api/terminals", headers=authorized(session), timeout=10)
        shells = (
            'for p in /proc/[0-9]*; do tr "\\0" " " <$p/cmdline | grep -qE "^(/bin/)?(ba)?sh -l" && ls $p/cwd; done'
        )
        assert terminal.status_code == 200
        assert eventually(lambda: "one.txt" in in_container(client, session, shells))
        assert "one.txt" in in_container(client, session, "cd /pipeline-dir && ls")
        body = {"type": "file", "format": "text", "content": "x"}
        saved = requests.put(f"{session.url}api/contents/saved", json=body, headers=authorized(session), timeout=10)
        assert (saved.status_code, (one / "saved").stat().st_uid) == (201, one.stat().st_uid)
        assert session.status().pipeline_dir_replaced is False
        # Another process finds it, and another start joins it.
        with Launcher(namespace=namespace) as other:
            found = other.get("warm")
            assert (found.pipeline_dir, found.lease, found.server_info.token) == (one, 60, session.server_info.token)
            (item,) = other.list()
            assert (item.session_id, item.state, item.pipeline_dir) == ("warm", SessionState.READY, one)
            assert other.ids() == ["warm"]
            other.renew("warm")
            if keeps_logs:
                assert "one.txt" not in "".join(other.logs("warm"))
            options: dict[str, Any] = {"user": user_of(one), "labels": {"team": "blue"}, "environment": {"SAID": "so"}}
            assert other.start(one, session_id="warm", lease=60, **options).joined
        assert pool.start(one, session_id="warm", labels={"team": "blue"}, lease=60).joined
        cold = launcher.start(two, session_id="cold", user=user_of(two), environment={"SAID": "so"})
        assert isolation(client, session) == isolation(client, cold)
        assert session.server_info.token != cold.server_info.token
        cold.stop()
    assert names_of(client, namespace) == sorted([session.container_name, session._labels.record_name])
    assert launcher.stop("warm").method.value == "api"
    assert names_of(client, namespace) == []


def test_without_root_a_short_lived_container_mounts(
    launcher: Launcher,
    namespace: str,
    client: Any,
    gateway: str,
    pipeline_dir: Path,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mount, "_may_be_direct", lambda info: False)
    (pipeline_dir / "one.txt").touch()
    with filled(launcher, pipeline_dir, gateway=gateway) as pool:
        session = pool.start(pipeline_dir)
        assert (told, contents(session)) == ([], ["one.txt"])
        assert session.timings.claim > 0
        assert session.gateway is not None
        kernel = start_kernel(session)
    assert session.status().state is SessionState.READY
    assert session.stop().kernels_gone == (kernel,)
    assert names_of(client, namespace) == []
    helpers = client.containers.list(all=True, filters={"label": "jupyter-launcher.purpose=mount"}, ignore_removed=True)
    networks = [item.attrs["HostConfig"]["NetworkMode"] for item in helpers]
    assert [network for network in networks if network.endswith(session.container_id)] == []


def test_the_record_is_pruned_while_the_session_runs(
    launcher: Launcher, namespace: str, client: Any, folder: Callable[[str], Path]
) -> None:
    one = folder("one")
    with filled(launcher, one) as pool:
        session = pool.start(one, session_id="pruned", lease=60)
    client.containers.prune(filters={"label": f"jupyter-launcher.namespace={namespace}"})
    assert names_of(client, namespace) == [session.container_name]
    with Launcher(namespace=namespace) as other:
        (item,) = other.list()
        assert (item.session_id, item.state, item.pipeline_dir) == ("pruned", SessionState.READY, None)
        assert "was removed" in item.detail
        with pytest.raises(SessionUnreadableError, match="its labels and its lease, was removed"):
            other.get("pruned")
        before = in_container(client, session, "cat /run/jupyter-launcher/lease")
        wait_for_another_second()
        other.renew("pruned")
        assert in_container(client, session, "cat /run/jupyter-launcher/lease") != before
        session.renew()
        assert reaped(other) == []
        assert other.stop("pruned").method.value == "api"
        with pytest.raises(SessionNotFoundError):
            other.get("pruned")


def test_what_cannot_be_claimed_is_started_and_nothing_is_left(
    launcher: Launcher, namespace: str, client: Any, folder: Callable[[str], Path], told: list[str]
) -> None:
    one, closed, others = folder("one"), folder("closed"), folder("others")
    closed.chmod(0o555)
    with filled(launcher, one, size=2) as pool:
        first = pool._servers._ready[0]
        # The same error as that of a start.
        with pytest.raises(PipelineDirError, match="cannot write to it"):
            pool.start(closed, session_id="closed")
        assert len(told) == 1
        assert "Permission denied" in told[0]
        assert first.info.name not in names_of(client, namespace)
        assert not any("closed" in name for name in names_of(client, namespace))
        assert pool.wait(60)
        if os.getuid() == 0:
            os.chown(others, OWNER + 1, OWNER + 1)
            others.chmod(0o777)
            session = pool.start(others)
            assert (session.timings.claim, contents(session)) == (0, ["others.txt"])
            assert f"is user {OWNER + 1}'s" in told[-1]
            session.stop()
        # Of many that want one server, one gets it; of two with one id, one.
        with launcher.start(one, session_id="taken", user=user_of(one)) as taken:
            spec, warm, context = _spec(pool, one, "taken"), pool._servers._ready.popleft(), launcher._context
            with pytest.raises(NotClaimedError) as caught:
                claim_server(context, warm, spec, pool._mounter, spec.image, context.reporter)
            assert caught.value.reason == ""
            assert warm.info.name not in names_of(client, namespace)
            assert taken.status().state is SessionState.READY
        warm = pool._servers._ready.popleft()

        def claim(number: int) -> Session | NotClaimedError:
            try:
                spec = _spec(pool, one, f"claim-{number}")
                return claim_server(context, warm, spec, pool._mounter, spec.image, context.reporter)[0]
            except NotClaimedError as error:
                return error

        found = map_at_once(claim, range(5), threads=5)
        (winner,) = [item for item in found if isinstance(item, Session)]
        assert {str(item) for item in found if item is not winner} == {"somebody else has claimed the server"}
        assert contents(winner)
        winner.stop()
    assert names_of(client, namespace) == []


def _spec(pool: WarmPool, folder: Path, session_id: str) -> SessionSpec:
    status = folder.stat()
    return dataclasses.replace(
        pool._spec,
        session_id=session_id,
        pipeline_dir=folder,
        pipeline_dir_id=f"{status.st_dev}:{status.st_ino}",
    )


KILLED = """
import sys
from jupyter_launcher import Launcher
from jupyter_launcher.warm import servers
servers._LEASE, servers._TICK = 4, 1.0
with Launcher(namespace=sys.argv[1]).pool(size=1, user="1000:1000") as pool:
    assert pool.wait(60)
    print("ready", flush=True)
    sys.stdin.readline()

    def hang(*_):
        print("mounted", flush=True)
        sys.stdin.read()

    pool._context.engine.rename = hang
    pool.start(sys.argv[2], lease=None)
"""


def test_a_killed_orchestrator_leaves_no_server(
    launcher: Launcher, namespace: str, client: Any, folder: Callable[[str], Path]
) -> None:
    one = folder("one")
    command = [sys.executable, "-c", KILLED.replace("1000:1000", user_of(one)), namespace, str(one)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (name,) = names_of(client, namespace)
        container = client.containers.get(name)
        read = ["cat", f"{RUN_DIR}/lease"]
        before = container.exec_run(read).output
        assert eventually(lambda: container.exec_run(read).output != before)  # it is renewed
        # In the middle of a claim of a session that has no lease.
        assert process.stdin is not None
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == "mounted\n"
        process.send_signal(signal.SIGKILL)
    assert eventually(lambda: client.containers.get(name).status == "exited")
    # The server that was to take its place may have begun.
    assert {item.kind for item in reaped(launcher)} == {"record", "warm"}
    assert names_of(client, namespace) == []

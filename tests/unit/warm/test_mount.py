"""How a directory comes into a container that runs: by this process, or by a short-lived container of our own image."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineError, EngineUnavailableError
from jupyter_launcher.acts import CancelledActError
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.server.inside import late_mount
from jupyter_launcher.warm import mount as module
from jupyter_launcher.warm.mount import Mounter, RefusedError, try_mount
from tests.unit.fakes import FakeEngine, container, refusal

PLACE = Path("/pipelines/one")


class Claims:
    """In place of ``late_mount``: what was asked for, and what to raise."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.error: BaseException | None = None

    def __call__(self, *given: Any, **more: Any) -> None:
        assert callable(more.pop("attach"))
        self.asked.append((*given, more))
        if self.error is not None:
            raise self.error


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Claims:
    made = Claims()
    monkeypatch.setattr(late_mount, "claim", made)
    monkeypatch.setattr(late_mount, "try_mount", made)
    return made


@pytest.fixture
def warm() -> ContainerInfo:
    return container(pid=4321)


@pytest.fixture
def engine(warm: ContainerInfo) -> FakeEngine:
    engine = FakeEngine(warm)
    engine.on_wait = engine.end
    engine.log = "a warning of the runtime\nmounted\n"
    return engine


@pytest.fixture
def later() -> list[Callable[[], object]]:
    return []


@pytest.fixture
def mounter(engine: FakeEngine, later: list[Callable[[], object]]) -> Mounter:
    return Mounter(engine=engine, address=EngineAddress(engine), image=lambda: "sha256:ours", later=later.append)


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def mount(mounter: Mounter, warm: ContainerInfo, length: int = 0) -> None:
    mounter.mount(warm, PLACE, "1:2", lease=60, length=length)


def test_root_mounts_by_itself(
    mounter: Mounter, warm: ContainerInfo, engine: FakeEngine, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    mount(mounter, warm, 30)
    more = {"identity": "1:2", "writable": True, "lease": 60, "length": 30, "container": warm.id}
    assert claims.asked == [(str(PLACE), 4321, "/run/jupyter-launcher", "/pipeline-dir", more)]
    assert engine.calls == []


def test_a_short_lived_container_of_ours_mounts_for_everybody_else(
    mounter: Mounter,
    warm: ContainerInfo,
    engine: FakeEngine,
    claims: Claims,
    later: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(monkeypatch, 1000)
    mount(mounter, warm)
    assert claims.asked == []
    ((name, config),) = engine.configs.items()
    assert name.startswith("jupyter-launcher-mount.")
    assert (config.image, config.user, config.network) == ("sha256:ours", "0:0", f"container:{warm.id}")
    assert config.capabilities == ("SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT", "DAC_OVERRIDE")
    assert [(item.source, item.target) for item in config.mounts] == [(str(PLACE), "/jupyter-launcher-look")]
    body = config.to_docker("json-file")
    assert body["HostConfig"]["PidMode"] == f"container:{warm.id}"
    assert (body["HostConfig"]["Init"], body["HostConfig"]["CapDrop"]) == (False, ["ALL"])
    words = config.entrypoint or ()
    assert words[:4] == ("python3", "-I", "-S", "-c")
    assert words[5:] == (
        *("/jupyter-launcher-look", "1", "/run/jupyter-launcher", "/pipeline-dir", "1:2", "writable", "60", "0"),
    )
    # Nobody waits for its removal.
    assert len(engine.known) == 2
    for call in later:
        call()
    assert list(engine.known) == [warm.id]


def test_podman_removes_no_server_before_the_container_that_mounted(
    mounter: Mounter,
    warm: ContainerInfo,
    engine: FakeEngine,
    later: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(monkeypatch, 1000)
    engine.traits = replace(engine.traits, name="Podman")
    mount(mounter, warm)
    assert (list(engine.known), later) == ([warm.id], [])


def test_a_container_that_cannot_be_removed_now_is_removed_later(
    mounter: Mounter,
    warm: ContainerInfo,
    engine: FakeEngine,
    later: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(monkeypatch, 1000)
    away = EngineUnavailableError("the engine does not answer", hint="see it", endpoint="unix:///engine.sock")
    engine.fail("start", CancelledActError())
    engine.fail("remove", away)
    with pytest.raises(CancelledActError):
        mount(mounter, warm)
    assert len(engine.known) == 2
    (remove,) = later
    remove()
    assert list(engine.known) == [warm.id]


@pytest.mark.parametrize("code", [late_mount.OTHER_CONTAINER, late_mount.IMPOSSIBLE])
def test_where_root_cannot_a_container_does(
    code: int,
    mounter: Mounter,
    warm: ContainerInfo,
    engine: FakeEngine,
    claims: Claims,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(monkeypatch, 0)
    claims.error = RefusedError(code, "not here")
    mount(mounter, warm)
    assert len(engine.configs) == 1


@pytest.mark.parametrize("code", [late_mount.TAKEN, late_mount.OTHER_DIRECTORY, late_mount.CLOSED])
def test_what_root_finds_out_holds(
    code: int,
    mounter: Mounter,
    warm: ContainerInfo,
    engine: FakeEngine,
    claims: Claims,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(monkeypatch, 0)
    claims.error = RefusedError(code, "so it is")
    with pytest.raises(RefusedError, match="so it is") as caught:
        mount(mounter, warm)
    assert (caught.value.code, engine.configs) == (code, {})


def test_a_disk_that_does_not_answer(
    mounter: Mounter, warm: ContainerInfo, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    claims.error = TimeoutError("no result")
    with pytest.raises(RefusedError, match="no result") as caught:
        mount(mounter, warm)
    assert caught.value.code == late_mount.SILENT


def test_what_a_container_finds_out(
    mounter: Mounter, warm: ContainerInfo, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 1000)
    engine.on_wait = lambda name: engine.end(name, late_mount.CLOSED)
    engine.log = "a warning of the runtime\nthe server cannot work there\n"
    with pytest.raises(RefusedError, match=r"^the server cannot work there$") as caught:
        mount(mounter, warm)
    assert caught.value.code == late_mount.CLOSED
    engine.on_wait, engine.log = (lambda name: engine.end(name, 125)), ""
    with pytest.raises(RefusedError, match="ended with exit code 125"):
        mount(mounter, warm)
    over = threading.Event()
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    monkeypatch.setattr(engine, "read_log", lambda *_, **__: iter([str(over.wait(30))]))
    with pytest.raises(RefusedError, match=r"did not say within 0\.05 s what it did") as caught:
        mount(mounter, warm)
    over.set()
    assert caught.value.code == late_mount.SILENT


def test_an_engine_that_cannot_this_time(
    mounter: Mounter, warm: ContainerInfo, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 1000)
    engine.fail("start", refusal(409, "the container has ended"))
    with pytest.raises(RefusedError, match="has ended") as caught:
        mount(mounter, warm)
    assert caught.value.code == late_mount.FAILED


def test_an_engine_that_forbids_such_a_container(
    mounter: Mounter, warm: ContainerInfo, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 1000)
    engine.fail("create", refusal(403, "no such power"))
    with pytest.raises(RefusedError, match="no such power") as caught:
        mount(mounter, warm)
    assert caught.value.code == late_mount.IMPOSSIBLE
    engine.fail("start", EngineUnavailableError("gone", hint="look"), CancelledActError())
    for kind in (EngineError, CancelledActError):
        with pytest.raises(kind):
            mount(mounter, warm)
        assert list(engine.known) == [warm.id]


def test_without_our_image_nobody_else_mounts(
    engine: FakeEngine, warm: ContainerInfo, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 1000)
    mounter = Mounter(engine=engine, address=EngineAddress(engine), image=lambda: None, later=lambda _: None)
    with pytest.raises(RefusedError, match="our own image") as caught:
        mount(mounter, warm)
    assert (caught.value.code, engine.configs) == (late_mount.IMPOSSIBLE, {})
    as_user(monkeypatch, 0)
    claims.error = RefusedError(late_mount.IMPOSSIBLE, "this process may not")
    with pytest.raises(RefusedError, match="this process may not"):
        mount(mounter, warm)


def test_an_attachment_is_made_in_a_thread_of_its_own(
    mounter: Mounter, claims: Claims, warm: ContainerInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    threads: list[threading.Thread] = []
    error = OSError(1, "not permitted")

    def attach(*given: object) -> None:
        assert given == (3, 4, "/pipeline-dir")
        threads.append(threading.current_thread())
        raise error

    monkeypatch.setattr(late_mount, "attach", attach)
    monkeypatch.setattr(late_mount, "claim", lambda *_, **more: more["attach"](3, 4, "/pipeline-dir"))
    with pytest.raises(OSError, match="not permitted"):
        mount(mounter, warm)
    (thread,) = threads
    assert thread.name == "jupyter-launcher-mount"


def test_where_no_thread_can_be_started(
    engine: FakeEngine, warm: ContainerInfo, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    claims.error = RuntimeError("can't start new thread")
    mounter = Mounter(engine=engine, address=EngineAddress(engine), image=lambda: None, later=lambda _: None)
    with pytest.raises(RefusedError, match="new thread") as caught:
        mount(mounter, warm)
    assert caught.value.code == late_mount.FAILED


def test_which_way_works_is_tried(
    engine: FakeEngine, warm: ContainerInfo, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 1000)
    assert try_mount(engine, "sha256:ours", warm).endswith("since this process is not root")
    assert [config.mounts for config in engine.configs.values()] == [()]
    assert list(engine.known) == [warm.id]
    as_user(monkeypatch, 0)
    own = container(pid=os.getpid())
    assert "is not of the container" in try_mount(engine, "sha256:ours", own)
    monkeypatch.setattr(module, "_check_process", lambda _: None)
    assert try_mount(engine, "sha256:ours", warm) == "by this process"
    claims.error = RefusedError(late_mount.IMPOSSIBLE, "no")
    assert "this process cannot: no" in try_mount(engine, "sha256:ours", warm)

"""Whose the files are that a session saves, and sessions in which nothing can be saved; on every kind of engine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from run_pipeline import kernel_client

from jupyter_launcher import Launcher, PipelineDirError, Session, SessionConflictError
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.host import look
from jupyter_launcher.host.look import run_look
from jupyter_launcher.host.pipeline_dir import resolve_pipeline_dir
from tests.integration.conftest import OWNER
from tests.integration.test_session import authorized, in_container, printed, save

Start = Callable[..., Session]


def owned_folder(path: Path, mode: int) -> tuple[Path, tuple[int, int]]:
    """A directory, and its owner: a stranger where this process may give it away, else this process."""
    path.mkdir()
    if os.getuid() == 0:
        os.chown(path, OWNER, OWNER + 1 if mode & 0o020 else OWNER)
    path.chmod(mode)
    status = path.stat()
    return path, (status.st_uid, status.st_gid)


def owner_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o770])
def test_what_is_saved_belongs_to_the_owner_of_the_directory(launcher: Launcher, tmp_path: Path, mode: int) -> None:
    folder, owner = owned_folder(tmp_path / "pipeline", mode)
    with launcher.run_gateway(folder) as gateway, launcher.start(folder, gateway=gateway) as session:
        assert save(session, "by-server.txt", "text") == 201
        with kernel_client(session) as kernel:
            assert printed(kernel, "print(open('/pipeline-dir/by-kernel.txt', 'w').write('text'))") == "4"
    found = {path.name: owner_of(path) for path in folder.iterdir()}
    assert found == {"by-server.txt": owner, "by-kernel.txt": owner}


def test_who_an_owner_is_inside_is_asked_once(
    namespace: str, launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not at all where the engine says that it maps nobody."""
    looks: list[str] = []

    def note(engine: Engine, config: ContainerConfig) -> str:
        looks.append(run_look(engine, config))
        return looks[-1]

    monkeypatch.setattr(look, "run_look", note)
    traits = launcher._engine.traits
    expected = 0 if (traits.rootless, traits.remapped) == (False, False) else 1
    with Launcher(namespace=namespace) as fresh:
        context = fresh._context
        for name in ("one", "two"):
            folder, _ = owned_folder(tmp_path / name, 0o755)
            resolve_pipeline_dir(context.engine, context.address, folder, None, image=fresh.image, rules=context.rules)
    assert len(looks) == expected


def test_a_session_in_which_nothing_could_be_saved(launcher: Launcher, tmp_path: Path) -> None:
    folder, _ = owned_folder(tmp_path / "pipeline", 0o555)
    seen = rf"{folder} cannot be used: user \d+:\d+ of the server cannot write to it.* 555 \d+:\d+ .*Permission denied"
    with pytest.raises(PipelineDirError, match=seen) as caught:
        launcher.start(folder, session_id="closed")
    assert caught.value.path == str(folder)
    assert "pipeline_read_only=True" in caught.value.hint
    with launcher.start(folder, session_id="closed", pipeline_read_only=True) as session:
        assert not session.joined
        assert save(session, "saved.txt", "text") >= 400
        assert list(folder.iterdir()) == []


def test_a_session_that_may_not_save(launcher: Launcher, client: Any, tmp_path: Path) -> None:
    folder, _ = owned_folder(tmp_path / "pipeline", 0o755)
    (folder / "given.txt").write_text("given")
    (folder / "given.txt").chmod(0o666)
    with launcher.start(folder, session_id="reader", pipeline_read_only=True) as session:
        answer = requests.get(f"{session.url}api/contents/given.txt", headers=authorized(session), timeout=10)
        assert answer.json()["content"] == "given"
        for name in ("given.txt", "new.txt"):
            assert save(session, name, "changed") >= 400
        assert "Read-only file system" in in_container(client, session, "echo changed >/pipeline-dir/given.txt")
        assert launcher.start(folder, session_id="reader", pipeline_read_only=True).joined
        with pytest.raises(SessionConflictError) as caught:
            launcher.start(folder, session_id="reader")
    assert caught.value.differences == ("pipeline_read_only was True, now False",)
    assert [path.read_text() for path in folder.iterdir()] == ["given"]


def test_a_running_session_is_joined_whatever_its_directory_is_by_now(start: Start, pipeline_dir: Path) -> None:
    session = start(session_id="runs")
    pipeline_dir.chmod(0o555)
    again = start(session_id="runs")
    pipeline_dir.chmod(0o755)
    assert again.joined
    assert again.container_id == session.container_id


def test_a_gateway_whose_user_cannot_enter_the_directory(launcher: Launcher, tmp_path: Path) -> None:
    folder, _ = owned_folder(tmp_path / "pipeline", 0o700)
    stranger = "nobody"
    with (
        pytest.raises(PipelineDirError, match=re.escape(str(folder))) as caught,
        launcher.run_gateway(folder, user=stranger),
    ):
        pytest.fail("it does not run")
    assert "of the gateway cannot enter it" in caught.value.message

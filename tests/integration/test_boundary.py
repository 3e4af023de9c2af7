"""What may be believed: labels, execs and names are checked where they enter, on a real engine."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    Event,
    EventKind,
    ExecError,
    GatewayNotRunningError,
    Launcher,
    Mount,
    Phase,
    Session,
    SessionConflictError,
    SessionNotFoundError,
    SessionState,
    SessionUnreadableError,
    StopMethod,
    Timeouts,
)
from jupyter_launcher.server.process import start_server
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.plan import plan
from jupyter_launcher.waiting import Deadline
from tests.containers import build_image, pause, reaped, user_inside, warnings_of
from tests.integration.conftest import executable

Start = Callable[..., Session]
LABELS = ("jupyter-launcher.namespace", "jupyter-launcher.session-id")


@pytest.fixture
def stray(client: Any, launcher: Launcher, namespace: str) -> Iterator[Callable[..., Any]]:
    """Containers that claim to be sessions of the namespace."""
    made: list[Any] = []

    def create(session_id: str, *, name: str | None = None, **labels: str) -> Any:
        given = dict(zip(LABELS, (namespace, session_id), strict=True)) | labels
        made.append(client.containers.create(launcher.image, "sleep 60", name=name, labels=given))
        return made[-1]

    yield create
    for container in made:
        container.remove(force=True)


def test_a_stray_with_two_labels_stops_nothing(
    start: Start, stray: Callable[..., Any], launcher: Launcher, client: Any
) -> None:
    alive = start(session_id="alive")
    dead = start(session_id="dead")
    client.containers.get(dead.container_id).kill()
    lost = stray("lost")
    found = {item.session_id: item for item in launcher.list()}
    assert {name: item.state for name, item in found.items()} == {
        "alive": SessionState.READY,
        "dead": SessionState.EXITED,
        "lost": SessionState.UNREADABLE,
    }
    assert found["lost"].pipeline_dir is None
    assert "docker rm -f" in found["lost"].detail
    assert sorted(launcher.ids()) == ["alive", "dead"]
    assert [item.session_id for item in launcher.reap(min_age=0, keep=["alive"])] == ["dead"]
    lost.reload()
    assert lost.status == "created"
    assert alive.status().state is SessionState.READY


def test_a_container_of_another_name_is_named(stray: Callable[..., Any], launcher: Launcher) -> None:
    lost = stray("lost")
    with pytest.raises(SessionNotFoundError, match=lost.name) as caught:
        launcher.get("lost")
    assert caught.value.container_id == lost.id
    assert f"docker rm -f {lost.id[:12]}" in caught.value.hint


def test_a_session_whose_labels_cannot_be_read(
    stray: Callable[..., Any], launcher: Launcher, namespace: str, pipeline_dir: Path
) -> None:
    lost = stray("lost", name=f"jupyter-server.{namespace}.lost")
    for act in (launcher.get, launcher.stop, launcher.renew, launcher.logs):
        with pytest.raises(SessionUnreadableError, match=lost.name) as caught:
            act("lost")
        assert caught.value.label.startswith("jupyter-launcher.")
    with pytest.raises(SessionConflictError, match="labels cannot be read") as conflict:
        launcher.start(pipeline_dir, session_id="lost")
    assert f"docker rm -f {lost.id[:12]}" in conflict.value.hint
    lost.reload()


def test_a_copy_of_a_sessions_labels_is_no_session(
    start: Start, stray: Callable[..., Any], launcher: Launcher, client: Any
) -> None:
    session = start(session_id="original")
    labels = client.containers.get(session.container_id).labels
    copy = stray("original", **{name: text for name, text in labels.items() if name not in LABELS})
    states = {item.container_id: item.state for item in launcher.list()}
    assert states == {session.container_id: SessionState.READY, copy.id: SessionState.UNREADABLE}
    assert reaped(launcher) == []
    launcher.stop("original")
    copy.reload()
    assert copy.status == "created"


def test_a_session_of_version_0_1_0_is_joined(
    launcher: Launcher, pipeline_dir: Path, namespace: str, client: Any
) -> None:
    """Its labels had no schema, and all options, those with their default too."""
    spec = SessionSpec.from_options(
        session_id="older",
        namespace=namespace,
        pipeline_dir=pipeline_dir,
        user=user_inside(client, pipeline_dir),
        image=launcher.image,
    )
    options: dict[str, object] = {
        "pipeline_dir": str(pipeline_dir),
        "gateway": None,
        "network": None,
        "image": launcher.image,
        "host_ip": "127.0.0.1",
        "host_port": None,
        "base_url": "/",
        "allow_origin": None,
        "user": spec.user,
        "environment": "",
        "mounts": [],
        "memory": None,
        "cpus": None,
        "shm_size": None,
        "gpus": None,
        "read_only": False,
        "tune": True,
        "lease": None,
        "labels": {},
        "lab_args": [],
    }
    planned = plan(spec, network="bridge", start_id="of-an-older-version")
    older = {
        **planned.labels.to_labels(),
        "jupyter-launcher.options": json.dumps(options),
        "jupyter-launcher.gateway": "",
        "jupyter-launcher.owner": "",
    }
    del older["jupyter-launcher.schema"]
    engine = launcher._engine
    made = engine.create(dataclasses.replace(planned.container, labels=older), planned.labels.name)
    engine.start(made)
    start_server(engine, made, planned, Deadline(60))
    joined = launcher.start(pipeline_dir, session_id="older")
    assert [item.state for item in launcher.list()] == [SessionState.READY]
    assert (joined.container_id, joined.joined, joined.lease) == (made, True, None)
    with pytest.raises(SessionConflictError) as caught:
        launcher.start(pipeline_dir, session_id="older", shm_size="1g")
    assert [line.partition(" ")[0] for line in caught.value.differences] == ["shm_size"]
    assert launcher.stop("older").method is StopMethod.API


def test_started_and_joined_are_told_apart(start: Start, launcher: Launcher, pipeline_dir: Path) -> None:
    session = start(session_id="told-apart")
    assert not session.joined
    assert warnings_of(session) == []
    assert launcher.start(pipeline_dir, session_id="told-apart").joined
    assert launcher.get("told-apart").joined


def test_a_session_outlives_its_deleted_directory(start: Start, launcher: Launcher, tmp_path: Path) -> None:
    folder = tmp_path / "deleted"
    folder.mkdir(mode=0o777)
    session = start(folder, session_id="outlives", lease=60)
    shutil.rmtree(folder)
    with pytest.raises(SessionConflictError, match="was deleted or replaced"):
        launcher.start(folder, session_id="outlives", lease=60)
    folder.mkdir(mode=0o777)
    assert launcher.get("outlives").server_info == session.server_info
    launcher.renew("outlives")
    assert session.status().state is SessionState.READY
    assert launcher.stop("outlives").method is StopMethod.API


def test_what_the_runtime_says_is_never_output(start: Start, launcher: Launcher, tmp_path: Path, client: Any) -> None:
    session = start()
    engine, container = launcher._engine, session.container_id
    # A working directory that is gone, and a command that is a directory.
    with pytest.raises(ExecError) as refused:
        engine.exec(container, ["cat", "/etc/hostname"], Deadline(20), workdir="/no/such/folder")
    assert refused.value.started is False
    with pytest.raises(ExecError) as missing:
        engine.exec(container, ["no-such-command"], Deadline(20))
    assert (missing.value.started, missing.value.exit_code) == (True, 127)
    with pytest.raises(ExecError) as failed:
        engine.exec(container, ["sh", "-c", "echo seen; exit 9"], Deadline(20))
    assert (failed.value.started, failed.value.exit_code) == (True, 9)
    assert "seen" in failed.value.output
    with pytest.raises(ExecError, match="more than 1000 bytes"):
        engine.exec(container, ["sh", "-c", "yes"], Deadline(20), limit=1000)


def test_without_a_shell_nothing_is_output(start: Start, launcher: Launcher, client: Any) -> None:
    session = start()
    client.containers.get(session.container_id).exec_run(["chmod", "000", "/bin/dash"], user="0")
    with pytest.raises(ExecError) as caught:
        launcher._engine.exec(session.container_id, ["cat", "/etc/hostname"], Deadline(20))
    assert caught.value.started is False
    assert session.status().state is SessionState.READY


def test_a_paused_session_is_left_alone(
    start: Start, launcher: Launcher, client: Any, pipeline_dir: Path, hasty: Timeouts
) -> None:
    session = start(session_id="paused", lease=60)
    container = client.containers.get(session.container_id)
    pause(container)
    try:
        with Launcher(namespace=launcher.namespace, timeouts=hasty) as other:
            with pytest.raises(ExecError) as caught:
                other.start(pipeline_dir, session_id="paused", lease=60)
            assert caught.value.started is not True
            with pytest.raises(ExecError):
                other.get("paused")
            with pytest.raises(ExecError):
                session.renew()
    finally:
        container.unpause()
    assert launcher.get("paused").server_info == session.server_info


def test_every_road_to_a_stop_gives_the_same_events(
    start: Start, launcher: Launcher, events: list[Event], client: Any
) -> None:
    seen = []
    for road in ("session", "launcher", "reap"):
        session = start(session_id=road)
        events.clear()
        if road == "session":
            session.stop()
        elif road == "launcher":
            launcher.stop(road)
        else:
            launcher.reap(min_age=0, keep=[])
        seen.append([(event.session_id == road, event.phase, event.kind, event.detail) for event in events])
    assert seen[0] == seen[1] == seen[2]
    assert seen[0] == [
        (True, Phase.STOP, EventKind.STARTED, ""),
        (True, Phase.STOP, EventKind.PROGRESS, "api"),
        (True, Phase.STOP, EventKind.FINISHED, "api"),
    ]


def test_a_gateway_that_ends_at_once_is_noticed_at_once(
    launcher: Launcher, pipeline_dir: Path, client: Any, tmp_path: Path, log_says: Callable[[str], str]
) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {launcher.image}\nCMD ["sh", "-c", "echo no gateway; exit 3"]\n')
    tag = f"jupyter-launcher/test:{launcher.namespace}"
    build_image(client, tmp_path, tag)
    try:
        # With the patience of a day, this test would not end if nobody looked whether the container lives.
        with (
            Launcher(namespace=launcher.namespace, timeouts=Timeouts(start=86400)) as patient,
            pytest.raises(GatewayNotRunningError) as caught,
            patient.run_gateway(pipeline_dir, image=tag),
        ):
            pass
    finally:
        client.images.remove(tag, force=True)
    assert (caught.value.exit_code, caught.value.state) == (3, "exited")
    assert log_says("no gateway") in str(caught.value)


def test_logs_of_nobody_raise_at_the_call(launcher: Launcher) -> None:
    for follow in (False, True):
        with pytest.raises(SessionNotFoundError):
            launcher.logs("nobody", follow=follow)


def test_a_server_that_is_not_tuned_is_warned_of(
    start: Start, tmp_path: Path, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    executable(own / "jupyter", 'exec /opt/jupyter/bin/jupyter "$@"')
    events.clear()
    session = start(
        mounts=[Mount(source=str(own), target="/own")], environment={"PATH": "/own:/opt/jupyter/bin:/usr/bin:/bin"}
    )
    (warning,) = warnings_of(session)
    assert "not tuned" in warning
    told = [(event.session_id, event.detail) for event in events if event.kind is EventKind.WARNING]
    assert told == [(session.id, text) for text in session.warnings]
    assert any(warning in record.getMessage() and record.levelname == "WARNING" for record in caplog.records)

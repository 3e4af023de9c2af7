"""The steps of ``Launcher.start`` that make a container, or join the one that is there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_launcher import container
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_types import ContainerInfo
from jupyter_launcher.errors import EngineError, PipelineDirError, SessionConflictError
from jupyter_launcher.host_dir import host_path
from jupyter_launcher.server import NotYetError, attempts, server_is_coming
from jupyter_launcher.spec import SessionSpec

__all__ = ["created", "is_ours", "joinable", "refuse_engine_socket", "removed_on_failure", "started"]

# What another launcher has between its create and its exec lasts a second or two on a busy engine.
# Where nothing moves for this long, that launcher is gone.
_OTHERS_STEP = 10.0


def refuse_engine_socket(engine: Engine, spec: SessionSpec) -> None:
    """See that no folder to be mounted holds the engine's socket.

    Raises:
        PipelineDirError: one does, and would hand the engine's host to every notebook.
    """
    socket = engine.socket_path
    if socket is not None:
        with contextlib.suppress(PipelineDirError):  # a socket of this process's own container
            socket = host_path(engine, socket)
    for folder in (spec.pipeline_dir, *(Path(mount.source) for mount in spec.mounts)):
        if socket is not None and socket.resolve().is_relative_to(folder.resolve()):
            msg = f"{folder} holds the engine's socket {socket}, and with it the whole host; give another directory"
            raise PipelineDirError(msg, path=str(folder))


def is_ours(info: ContainerInfo, namespace: str) -> bool:
    """Whether a container is a session's of this namespace."""
    return info.labels.get(container.NAMESPACE) == namespace and container.SESSION_ID in info.labels


def joinable(engine: Engine, spec: SessionSpec) -> ContainerInfo | None:
    """The container of this session, in which a server runs or is about to.

    None when the way is free, or was made free: dead and half-made containers are removed.

    Raises:
        SessionConflictError: the name is a foreign container's, or the session runs with other
            options.
    """
    info = engine.inspect(container.name_of(spec.namespace, spec.session_id))
    if info is None:
        return None
    if not is_ours(info, spec.namespace):
        msg = (
            f"the name {info.name} belongs to container {info.id[:12]}, which is not ours; rename or remove that one, "
            "or take another session_id"
        )
        raise SessionConflictError(msg, session_id=spec.session_id, container_id=info.id)
    if info.state == "created":
        info = _after_its_start(engine, info)
    if info is not None and info.running:
        _refuse_other_options(info, spec)
        if server_is_coming(engine, info.id, Deadline(_OTHERS_STEP)):
            return info
    if info is not None:
        engine.remove(info.id)
    return None


def _after_its_start(engine: Engine, info: ContainerInfo) -> ContainerInfo | None:
    """The container once another launcher has started it; as it is when none does."""
    latest: ContainerInfo | None = info
    for attempt in attempts(Deadline(_OTHERS_STEP), NotYetError):
        with attempt:
            latest = engine.inspect(info.id)
            if latest is not None and latest.state == "created":
                raise NotYetError
    return latest


def _refuse_other_options(info: ContainerInfo, spec: SessionSpec) -> None:
    before: Mapping[str, object] = json.loads(info.labels[container.OPTIONS])
    now = spec.to_options()
    differences = tuple(
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
    if differences:
        msg = (
            f"session {spec.session_id} already runs with other options: {'; '.join(differences)}; "
            "stop it first, or take another session_id"
        )
        raise SessionConflictError(msg, session_id=spec.session_id, container_id=info.id, differences=differences)


def created(engine: Engine, spec: SessionSpec, config: Mapping[str, Any]) -> str | None:
    """The id of a new container; None when another launcher has made one of this name."""
    try:
        return engine.create(config, container.name_of(spec.namespace, spec.session_id))
    except EngineError as error:
        if error.status != 409:
            raise
        return None


def started(engine: Engine, container_id: str, host_port: int | None) -> ContainerInfo:
    """Start a created container, and look at where it is reached.

    Raises:
        PortInUseError: ``host_port`` is taken.
        EngineError: it ended at once, or its network can't publish.
    """
    engine.start(container_id, host_port=host_port)
    info = engine.inspect(container_id)
    if info is None or not info.ports.get(container.PORT_KEY):
        network = info.network_mode if info else "unknown"
        msg = (
            f"container {container_id[:12]} has no published port on network {network!r} (it ended, or the network "
            "is internal); use a bridge network that can publish"
        )
        raise EngineError(msg)
    return info


@contextlib.contextmanager
def removed_on_failure(engine: Engine, spec: SessionSpec, attempt: str) -> Iterator[None]:
    """Whatever goes wrong inside, remove the container of this attempt, if there is one."""
    try:
        yield
    except BaseException:
        # By name, since an interrupted create told no id; by attempt, since another launcher may
        # hold the name by now.
        info = engine.inspect(container.name_of(spec.namespace, spec.session_id))
        if info is not None and info.labels.get(container.ATTEMPT) == attempt:
            engine.remove(info.id)
        raise

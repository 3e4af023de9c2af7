"""A pipeline dir as the engine's host knows it, from wherever this process sees it."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from pathlib import Path

from jupyter_launcher.container import isolation
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.errors import EngineError, PipelineDirError
from jupyter_launcher.pipeline_dir import PipelineDir
from jupyter_launcher.place import is_elsewhere
from jupyter_launcher.spec import LABEL_PREFIX

__all__ = ["host_path", "located"]

_LOOK_SECONDS = 30.0
# No image has this path, so it is made as what is mounted there, a file or a directory.
_TARGET = "/jupyter-launcher-look"


def located(engine: Engine, given: str | os.PathLike[str], user: str | int | None, *, image: str) -> PipelineDir:
    """The directory to mount, and the user that works in it.

    On an engine of another host the path is one there; a container of ``image`` looks at it, since
    nobody can from here.

    Raises:
        PipelineDirError: it can't be used, or the engine's host can't mount it.
        EngineError: the engine does not answer, or has no such image.
    """
    if is_elsewhere(engine):
        path = _absolute(engine, given)
        owner = _owner(engine, path, image)
        return PipelineDir(path=path, user=owner if user is None else str(user))
    folder = PipelineDir.from_path(given, user)
    return replace(folder, path=host_path(engine, folder.path))


def host_path(engine: Engine, path: Path) -> Path:
    """The path on the engine's host of a path that this process sees.

    Raises:
        PipelineDirError: it lies in the file system of this process's own container.
    """
    own = engine.own_container()
    if own is None:
        return path
    for target in sorted(own.mounts, key=len, reverse=True):
        if path.is_relative_to(target):
            return Path(own.mounts[target]) / path.relative_to(target)
    msg = (
        f"{path} is in the file system of container {own.name}, in which this launcher runs, and the engine can't "
        f"mount it elsewhere; mount a folder of the host into {own.name}, and give a path below it"
    )
    raise PipelineDirError(msg, path=str(path))


def _absolute(engine: Engine, given: str | os.PathLike[str]) -> Path:
    path = Path(os.path.normpath(given))
    if not path.is_absolute() or path == Path(path.anchor):
        msg = f"pipeline dir {given} would be on the engine's host {engine.host}; give an absolute path of that host"
        raise PipelineDirError(msg, path=str(given))
    return path


def _owner(engine: Engine, path: Path, image: str) -> str:
    name = f"jupyter-launcher-look.{uuid.uuid4().hex[:12]}"
    config = {
        "Image": image,
        "Entrypoint": ["stat", "-c", "%F %u:%g", _TARGET],
        "Cmd": [],
        "Labels": {f"{LABEL_PREFIX}look": "owner"},
        "HostConfig": {
            **isolation(),
            "Mounts": [{"Type": "bind", "Source": str(path), "Target": _TARGET, "ReadOnly": True}],
            "NetworkMode": "none",
        },
    }
    try:
        container = engine.create(config, name)
        engine.start(container)
        engine.wait(container, Deadline(_LOOK_SECONDS))
        seen = engine.logs(container).strip()
    except EngineError as error:
        if error.status not in (400, 404):
            raise
        # 404 is an image that is not there, which was seen to before.
        msg = f"pipeline dir {path} can't be mounted on the engine's host {engine.host}: {error}; create it there first"
        raise PipelineDirError(msg, path=str(path)) from error
    finally:
        engine.remove(name)
    kind, _, owner = seen.rpartition(" ")
    if kind != "directory":
        msg = f"pipeline dir {path} is no directory on the engine's host {engine.host}, but {seen!r}; give another"
        raise PipelineDirError(msg, path=str(path))
    return owner

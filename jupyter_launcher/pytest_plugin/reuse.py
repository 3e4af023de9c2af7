"""Servers that stay for the next run of the same tests, for ``--jupyter-reuse``: ``Reuse``."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock, Timeout

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import (
    LauncherError,
    PipelineDirError,
    ServerError,
    ServerNotRunningError,
    SessionConflictError,
    SessionNotFoundError,
)
from jupyter_launcher.launcher import Launcher
from jupyter_launcher.models import SessionState, Volume
from jupyter_launcher.pytest_plugin.config import images_of
from jupyter_launcher.sessions.session import Renewer, Session
from jupyter_launcher.spec.checks import check_name

__all__ = ["Reuse"]

_LEASE = 3600
_API_SECONDS = 10.0
_LONGEST_ID = 40
_HINT = "there is a new server in its place"
_SILENT = (SessionState.STARTING, SessionState.UNRESPONSIVE)
_IMAGE_LABEL = "pytest.image"
"""The ids of a session's image, and of those of its kernels: one that was built anew makes another session."""


class Reuse:
    """The servers and the pipeline directories of one worker, which no other run uses meanwhile.

    A session that no test uses stays, with its lease. Its kernels and terminals are ended when a test ends, and those
    that a killed run has left when the next run begins.

    Attributes:
        namespace: of the folder of the tests, and of the worker.
        idle: the ids of the sessions that no test uses now.
    """

    def __init__(self, folder: Path, root: Path, namespace: str, lock: FileLock) -> None:
        self.namespace = namespace
        self.idle: set[str] = set()
        self._folder = folder
        self._root = root
        self._lock = lock
        self._ids = threading.Lock()
        self._used: set[str] = set()
        self._told: dict[str, None] = {}
        self._dirs: set[Path] = set()
        self._renewed: dict[str, float] = {}
        self._renewers: dict[str, Renewer] = {}

    @classmethod
    def take(cls, cache: Path, root: Path, worker: str) -> Reuse | None:
        """The servers of this worker, until :meth:`close`; None where another run has them.

        Args:
            cache: a folder of pytest's cache.
            root: the folder of the tests. Another folder at the same path, as in another container, is another one.
            worker: of pytest-xdist, such as ``gw0``; ``main`` without it.

        Raises:
            OSError: the cache cannot be written, or the folder of the locks is not this user's own.
        """
        # Not in the cache: `--cache-clear` of another run would take the lock away.
        locks = _find_locks()
        status = root.stat()
        words = f"{root}\0{status.st_dev}:{status.st_ino}\0{locks}"  # who finds the same sessions has the same lock
        name = f"{hashlib.sha256(os.fsencode(words)).hexdigest()[:12]}-{worker}"
        folder = cache / name
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return cls(folder, root, f"pytest-reuse-{name}", lock)

    def close(self) -> None:
        """Let the next run have them."""
        self._lock.release()

    def describe(self) -> list[str]:
        """Lines: which servers could not stay, and why; how many stay, and how to end them."""
        if not self.idle:
            return [*self._told]
        stay = "1 server stays" if len(self.idle) == 1 else f"{len(self.idle)} servers stay"
        end = f"jupyter-launcher --namespace {self.namespace} stop --all"
        return [*self._told, f"jupyter: {stay} up to an hour for the next run; to stop them: {end}"]

    def prepare(self, launcher: Launcher, engine: Engine) -> None:
        """See which sessions of the last run can be used, and stop the others."""
        for item in launcher.list():  # it gives each server 2 s, where a look at one by its id may take a start's time
            if item.state is SessionState.UNREADABLE:
                continue
            if self._is_usable(launcher, item.session_id, item.state):
                self.idle.add(item.session_id)
                continue
            # What cannot be stopped either is told by the start that needs its name.
            with contextlib.suppress(LauncherError):
                if item.state in _SILENT and item.gateway is None:  # a stop would ask it first, and wait half a minute
                    engine.remove(item.container_id)
                else:
                    launcher.stop(item.session_id)

    def _is_usable(self, launcher: Launcher, session_id: str, state: SessionState) -> bool:
        try:
            _check_answers(state)
            session = launcher.get(session_id)
            if session.lease is None:  # it is of a test of a killed run, which started it with the launcher
                return False
            _clear(session)
        except LauncherError as error:
            self._tell(f"server {session_id} of an earlier run was stopped", error)
            return False
        return True

    def _tell(self, what: str, error: LauncherError) -> None:
        """Say in the summary what was slow to find out; that a session has ended by itself is none of it."""
        if not isinstance(error, (ServerNotRunningError, SessionNotFoundError)):
            self._told[f"jupyter: {what}: {error.message}"] = None

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """The pipeline directory, without what the last test has left there.

        The next one has it too, once this one is left; of two at once, as of a package in a package, each has its own.

        Raises:
            PipelineDirError: something in it cannot be removed.
        """
        names = (self._folder / f"pipeline-dir-{number}" for number in itertools.count(1))
        folder = next(path for path in names if path not in self._dirs)
        try:
            folder.mkdir(parents=True, exist_ok=True)  # another run may have cleared the cache
            for item in folder.iterdir():
                if item.is_dir() and not item.is_symlink():
                    shutil.rmtree(item)
                else:
                    item.unlink()
        except OSError as error:
            msg = f"what the last test left in {folder} cannot be removed: {error}"
            raise PipelineDirError(msg, hint="remove it", path=str(folder)) from error
        self._dirs.add(folder)
        try:
            yield folder
        finally:
            self._dirs.remove(folder)

    def start(
        self,
        launcher: Launcher,
        engine: Engine,
        pipeline_dir: str | os.PathLike[str] | Volume,
        options: Mapping[str, Any],
        *,
        asked: Collection[str],
    ) -> Session:
        """Start a session of a test, or join the one that an earlier test has left; one with other options is replaced.

        Args:
            launcher: of the run.
            engine: where the sessions are.
            pipeline_dir: of the session.
            options: of ``Launcher.start``.
            asked: the names of what the test itself gave, ``pipeline_dir`` too. Tests that give the same find the same
                session, unless it is in use.

        Raises:
            LauncherError: as ``Launcher.start`` says.
        """
        images = (options.get("image") or launcher.image, *images_of(options.get("kernels")))
        for image in images:
            launcher.ensure_image(image, pull=options.get("pull", "missing"))
        found = ",".join(engine.images.find(image) or "" for image in images)
        given = {"lease": _LEASE, **options}
        if isinstance(options.get("labels") or {}, Mapping):  # else the start refuses it
            given["labels"] = {**(options.get("labels") or {}), _IMAGE_LABEL: found}
        with self._ids:
            session_id = options.get("session_id")
            if session_id is None:
                folder = self._name_folder(pipeline_dir) if "pipeline_dir" in asked else ()
                session_id = _free_id({*asked, *folder}, self._used)
            check_name(session_id, "session_id")
            given["session_id"] = session_id
            was_used, was_idle = session_id in self._used, session_id in self.idle
            self._used.add(session_id)
            self.idle.discard(session_id)
        try:
            session = self._join_or_make(launcher, pipeline_dir, given, was_idle=was_idle)
        except BaseException:
            if not was_used:
                self._used.discard(session_id)
            raise
        self._renewed.setdefault(session.container_id, time.monotonic())
        if session.lease is not None and session.id not in self._renewers:
            self._renewers[session.id] = Renewer(session, session.lease)
        return session

    def _join_or_make(
        self,
        launcher: Launcher,
        pipeline_dir: str | os.PathLike[str] | Volume,
        given: Mapping[str, Any],
        *,
        was_idle: bool,
    ) -> Session:
        try:
            session = launcher.start(pipeline_dir, **given)
            if session.joined:
                self._renew(session)
        except (SessionConflictError, ServerNotRunningError):
            if not was_idle:
                raise
            with contextlib.suppress(SessionNotFoundError):
                launcher.stop(given["session_id"])
            session = launcher.start(pipeline_dir, **given)
        return session

    def _name_folder(self, pipeline_dir: object) -> Iterator[str]:
        """A word for a folder that the next run has too; none for a temporary one."""
        if isinstance(pipeline_dir, (str, os.PathLike)):
            path = Path(pipeline_dir).absolute()
            if path.is_relative_to(self._root):
                yield hashlib.sha256(os.fsencode(path)).hexdigest()[:8]

    def _renew(self, session: Session) -> None:
        """Renew a lease of which a sixth may have passed: the next renewal comes after a third."""
        now = time.monotonic()
        if session.lease and now - self._renewed.get(session.container_id, -math.inf) > session.lease / 6:
            session.renew()
            self._renewed[session.container_id] = now

    def release(self, session: Session, *, stays: bool) -> bool:
        """A test has ended that used a session. False: it is to be stopped; ``stays``: it can be used again."""
        self._used.discard(session.id)
        renewer = self._renewers.pop(session.id, None)
        if renewer is not None:
            renewer.stop()
        if not stays or session.lease is None:
            return False
        try:
            _clear(session)
        except LauncherError as error:
            self._tell(f"server {session.id} does not stay for the next test", error)
            return False
        self.idle.add(session.id)
        return True


def _find_locks() -> Path:
    """The folder of this user's locks. It is in a directory that others can write, so it may be somebody else's.

    Raises:
        OSError: it is, or it cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"jupyter-launcher-pytest-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        msg = f"{folder} is no folder that only this user can write"
        raise PermissionError(msg)
    return folder


def _free_id(asked: Collection[str], used: Collection[str]) -> str:
    """The first id that is not used; made of names alone, so that no run leaves ids that no other run has."""
    words = "-".join(["server", *sorted(asked)])
    if len(words) > _LONGEST_ID:
        words = f"server-{hashlib.sha256(words.encode()).hexdigest()[:12]}"
    return next(name for number in itertools.count(1) if (name := f"{words}-{number}") not in used)


def _check_answers(state: SessionState) -> None:
    """Refuse a session of which a look says that it cannot be used, so that no request waits for it.

    Raises:
        ServerNotRunningError: it has ended.
        ServerError: it does not answer.
    """
    if state in (SessionState.CREATED, SessionState.EXITED, SessionState.GONE):
        msg = f"its state is {state.value}"
        raise ServerNotRunningError(msg, hint=_HINT)
    if state is not SessionState.READY:
        msg = f"it does not answer (its state is {state.value})"
        raise ServerError(msg, hint=_HINT)


def _clear(session: Session) -> None:
    """End the kernels and the terminals of a session.

    Raises:
        LauncherError: the server does not do it, or does not answer.
    """
    _check_answers(session.status().state)
    session.close_kernel()
    paths = []
    for path, key in (("api/kernels", "id"), ("api/terminals", "name")):
        listed = session.request("GET", path, timeout=_API_SECONDS)
        if listed.status == 200:
            paths += [f"{path}/{quote(name, safe='')}" for name in _words_in(listed.json(), key)]
        elif key == "id":  # an image may have no terminals
            msg = f"it does not list {path} (status {listed.status})"
            raise ServerError(msg, hint=_HINT)
    for path in paths:
        status = session.request("DELETE", path, timeout=_API_SECONDS).status
        if status not in (204, 404):
            msg = f"it does not end {path} (status {status})"
            raise ServerError(msg, hint=_HINT)


def _words_in(listed: object, key: str) -> list[str]:
    items = listed if isinstance(listed, list) else []
    return [item[key] for item in items if isinstance(item, dict) and isinstance(item.get(key), str)]

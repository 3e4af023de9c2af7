"""Mounting a pipeline directory in a container that runs: by this process where it may, else by a short-lived one."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from jupyter_launcher.acts import leaves, note_left, shielded
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError, EngineUnavailableError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.server.inside import late_mount
from jupyter_launcher.spec.checks import PIPELINE_TARGET
from jupyter_launcher.spec.container import late_mount_config
from jupyter_launcher.spec.labels import helper_labels, helper_name
from jupyter_launcher.spec.server import RUN_DIR
from jupyter_launcher.waiting import Deadline, call_within

__all__ = ["Mounter", "RefusedError", "try_mount"]

_log = logging.getLogger("jupyter_launcher")

RefusedError = late_mount.RefusedError

_SECONDS = 15.0  # a helper container starts, mounts, and hears from the server
_END_SECONDS = 5.0  # from its last word to its end
_NO_DIRECT_WAY = (late_mount.OTHER_CONTAINER, late_mount.IMPOSSIBLE, late_mount.FAILED)
_FORBIDDEN = 403
_FIRST_PROCESS = 1
_TRIED_AT = "/tmp"  # noqa: S108 - in a container that does nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounter:
    """Mounts directories of the engine's host in containers that run.

    Attributes:
        engine: of these containers.
        address: how this process sees that engine.
        image: gives ours, by its id, for a short-lived container; None: the engine does not have it.
        later: called with what has to be done, and nobody has to wait for.
    """

    engine: Engine
    address: EngineAddress
    image: Callable[[], str | None]
    later: Callable[[Callable[[], object]], object]
    _guard: PerProcess[threading.Lock] = field(default_factory=lambda: PerProcess(threading.Lock))

    def mount(self, info: ContainerInfo, path: Path, identity: str, *, lease: int, length: int) -> None:
        """Mount a directory, and let the server in the container go there.

        Args:
            info: of the container.
            path: of the directory, on the engine's host.
            identity: ``<device>:<inode>`` of the directory, as containers see it.
            lease: seconds of the lease that the container has meanwhile.
            length: seconds of its lease from then on; 0: none.

        Raises:
            RefusedError: it is not mounted, or cannot be used.
            EngineError: the engine refused, or does not answer.
        """
        here = self.address.find_here(path) if _may_be_direct(info) else None
        if here is not None:
            try:
                return self._mount_directly(info, here, identity, lease, length)
            except RefusedError as error:
                # Nothing was changed, unless a container finds that out.
                if error.code not in _NO_DIRECT_WAY or self.image() is None:
                    raise
        words = (str(_FIRST_PROCESS), RUN_DIR, PIPELINE_TARGET, identity, "writable", str(lease), str(length))
        try:
            self.run_helper(info.id, path, words)
        except EngineUnavailableError:
            raise
        except EngineError as error:  # it does not allow such a container, for example
            code = late_mount.IMPOSSIBLE if error.status == _FORBIDDEN else late_mount.FAILED
            raise RefusedError(code, error.message) from error
        return None

    def _mount_directly(self, info: ContainerInfo, here: Path, identity: str, lease: int, length: int) -> None:
        def claim() -> None:
            late_mount.claim(
                str(here),
                info.pid,
                RUN_DIR,
                PIPELINE_TARGET,
                identity=identity,
                writable=True,
                lease=lease,
                length=length,
                container=info.id,
                attach=self._attach,
            )

        try:
            call_within(Deadline(_SECONDS), claim)
        except TimeoutError as error:  # the directory is on a disk that does not answer
            raise RefusedError(late_mount.SILENT, str(error)) from error
        except RuntimeError as error:  # no thread can be started any more
            raise RefusedError(late_mount.FAILED, str(error)) from error

    def _attach(self, tree: int, namespace: int, target: str) -> None:
        with self._guard.get():  # one after another, so that none lets garbage be collected in another's thread
            _attach_in_thread(tree, namespace, target)

    def run_helper(self, container: str, source: Path | None, words: tuple[str, ...]) -> None:
        """Run ``late_mount.py`` in a short-lived container.

        Raises:
            RefusedError: it did not do what it is for.
            EngineError: the engine refused, or does not answer.
        """
        image = self.image()
        if image is None:
            msg = "our own image, in which a short-lived container would mount it, is not on the engine"
            raise RefusedError(late_mount.IMPOSSIBLE, msg)
        config = late_mount_config(image, container, source, words)
        config = replace(config, labels=helper_labels("mount", process_mark()))
        target = name = helper_name("mount", uuid.uuid4().hex)
        with leaves(f"container {name}"):
            try:
                target = self.engine.create(config, name)
                self.engine.start(target)
                seen = call_within(Deadline(_SECONDS), lambda: self._read_until_done(target))
                code = None if seen.endswith(late_mount.DONE) else self.engine.wait(target, Deadline(_END_SECONDS))
            except TimeoutError:
                seen, code = f"the short-lived container did not say within {_SECONDS:g} s what it did", None
            except BaseException:
                with shielded():
                    self._remove(target)
                raise
        if self.engine.traits.is_podman:  # removes no container while another one shares its namespaces
            self.engine.remove(target)
        else:
            self.later(lambda: self.engine.remove(target))
        if not seen.endswith(late_mount.DONE):
            last = seen.splitlines()[-1] if seen else f"the short-lived container ended with exit code {code}"
            raise RefusedError(code or late_mount.SILENT, last)

    def _remove(self, container: str) -> None:
        try:
            self.engine.remove(container)
        except EngineUnavailableError as error:  # what the caller gets is why it was not mounted
            _log.warning("container %s may be left: %s", container, error)
            note_left(f"container {container}")
            self.later(lambda: self.engine.remove(container))

    def _read_until_done(self, container: str) -> str:
        """What a container prints until it has done what it is for, or ends: its end takes longer than all the rest."""
        seen = ""
        for piece in self.engine.read_log(container, follow=True):
            seen += piece
            if seen.rstrip().endswith(late_mount.DONE):
                break
        return seen.rstrip()


def _may_be_direct(info: ContainerInfo) -> bool:
    return os.geteuid() == 0 and info.pid > 0


def _attach_in_thread(tree: int, namespace: int, target: str) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            late_mount.attach(tree, namespace, target)
        except OSError as error:
            failed.append(error)

    # Never in the thread that waits, which has what is this process's own.
    thread = threading.Thread(target=run, name="jupyter-launcher-mount")
    thread.start()
    thread.join()
    if failed:
        raise failed.pop()


def try_mount(engine: Engine, image: str | None, info: ContainerInfo) -> str:
    """How a pool would mount directories in a container of this engine, which is tried in one that does nothing else.

    Raises:
        RefusedError: it could not.
        EngineError: the engine refused, or does not answer.
    """
    reason = "this process is not root"
    if _may_be_direct(info):
        try:
            _check_process(info)
            with tempfile.TemporaryDirectory() as folder:
                late_mount.try_mount(folder, info.pid, _TRIED_AT, attach=_attach_in_thread)
        except (RefusedError, OSError, RuntimeError) as error:
            reason = f"this process cannot: {error}"
        else:
            return "by this process"
    mounter = Mounter(engine=engine, address=EngineAddress(engine), image=lambda: image, later=lambda call: call())
    mounter.run_helper(info.id, None, ("try", _TRIED_AT, str(_FIRST_PROCESS), _TRIED_AT))
    return f"by a short-lived container for each claim, since {reason}"


def _check_process(info: ContainerInfo) -> None:
    known = "".join(Path(f"/proc/{info.pid}/{name}").read_text(errors="replace") for name in ("mountinfo", "cgroup"))
    if info.id not in known:
        raise RefusedError(late_mount.OTHER_CONTAINER, f"process {info.pid} here is not of the container")

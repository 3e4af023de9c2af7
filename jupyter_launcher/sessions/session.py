"""``Session``, the handle that callers hold: it exists only once its server answers."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from jupyter_launcher.acts import run_act
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import LauncherError, ServerNotRunningError, SessionNotFoundError
from jupyter_launcher.host.address import bracket
from jupyter_launcher.host.pipeline_dir import look_identity
from jupyter_launcher.models import (
    Activity,
    Gateway,
    ServerInfo,
    SessionState,
    SessionStatus,
    Stats,
    StopReport,
    Timings,
    Volume,
)
from jupyter_launcher.models.options import show_value
from jupyter_launcher.server.activity import parse_oom_kills
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.process import renew_lease
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.running import find_activity, find_stats, pause_session, resume_session
from jupyter_launcher.sessions.stop import stop_session
from jupyter_launcher.spec.checks import SERVER_PORT, refuse_option
from jupyter_launcher.spec.container import PORT_KEY
from jupyter_launcher.spec.engine_options import spell_port
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.spec.texts import check_inner_path
from jupyter_launcher.waiting import Deadline, call_within
from jupyter_launcher.work.place import Place
from jupyter_launcher.work.session import SessionWork

__all__ = ["Renewer", "Session"]

_log = logging.getLogger("jupyter_launcher")

_PORT_HINT = "start the session with ports={6006: None}"
_HOUR = 3600.0
_STATUS_SECONDS = 5.0
_LOOK_SECONDS = 2.0


class Session(SessionWork):
    """A pipeline's container, its JupyterLab server and the kernels of that server.

    (Jupyter's own 'session' is a notebook together with its kernel.) Returned by ``Launcher.start``
    and ``Launcher.get``. As a context manager it renews its lease, if it has one, from a thread of
    its own, and stops on leaving.
    """

    def __init__(
        self,
        info: ContainerInfo,
        labels: SessionLabels,
        server_info: ServerInfo,
        *,
        context: Context,
        timings: Timings,
        warnings: tuple[str, ...] = (),
        joined: bool,
    ) -> None:
        super().__init__()
        self._info = info
        self._labels = labels
        self._server_info = server_info
        self._context = context
        self._timings = timings
        self._warnings = warnings
        self._joined = joined
        self._process = os.getpid()
        self._renewer: Renewer | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.pipeline_dir} at {self.url}>"

    def __enter__(self) -> Session:
        self._process = os.getpid()
        self._renewer = None if self.lease is None else Renewer(self, self.lease)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process != os.getpid():  # a fork that leaves the block does not end its parent's session
            return
        try:
            if self._renewer is not None:
                self._renewer.stop()
        finally:
            self.stop()

    @property
    def id(self) -> str:
        """The session id, by which ``Launcher.get`` finds it."""
        return self._labels.session_id

    @property
    def container_id(self) -> str:
        """The full id of the container."""
        return self._info.id

    @property
    def container_name(self) -> str:
        """The name of the container."""
        return self._info.name

    @property
    def node(self) -> str:
        """In a swarm, the hostname of the node that the session is on; else empty."""
        return self._info.node

    @property
    def pipeline_dir(self) -> Path | Volume:
        """The directory on the engine's host, or the volume, that is mounted at ``/pipeline-dir``."""
        return self._labels.pipeline_dir

    @property
    def gateway(self) -> Gateway | None:
        """The kernel gateway; None when kernels run beside the server."""
        known = self._labels.gateway
        return None if known is None else dataclasses.replace(known, network=self._info.network_mode)

    @property
    def server_info(self) -> ServerInfo:
        """What the server says of itself, the token included."""
        return self._server_info

    @property
    def joined(self) -> bool:
        """True for a session that was running already; False for one that this call of ``start`` made."""
        return self._joined

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works in this session, but not as it was asked for; empty for a session that was found again."""
        return self._warnings

    @property
    def url(self) -> str:
        """The server as this process reaches it, without a token: ``http://127.0.0.1:<port>/``.

        Where this process is in a container of the same engine, over a network that both are on.
        """
        return self._context.server_url(self._info, self._labels)

    @property
    def host_url(self) -> str:
        """The published port, without a token: what a browser on the engine's host opens."""
        return self._context.address.published_url(self._info, self._labels.host_ip, self._labels.base_url)

    @property
    def lab_url(self) -> str:
        """JupyterLab with its token, for a browser on this machine."""
        return f"{self.url}lab?token={self._server_info.token}"

    @property
    def client_url(self) -> str:
        """As :attr:`url`, without a slash at its end: for clients that put ``/api/…`` after it."""
        return self.url.rstrip("/")

    def lab_url_of(self, path: str | os.PathLike[str]) -> str:
        """JupyterLab with its token and a file or folder of the pipeline opened, for a browser on this machine.

        Args:
            path: relative to the pipeline directory, such as ``steps/train.ipynb``. It need not exist yet.

        Raises:
            OptionError: it is no relative path, or leads out of the directory.
        """
        steps = quote(check_inner_path(path, "path"), safe="/")
        return f"{self.url}lab/tree{steps and '/'}{steps}?token={self._server_info.token}"

    @property
    def internal_url(self) -> str:
        """The server as other containers of its network reach it: ``http://<ip>:8888/``.

        In a swarm without a network, as :attr:`url`.
        """
        address = next((ip for ip in self._info.networks.values() if ip), "")
        if self.node and not address:
            return self.url
        return f"http://{bracket(address)}:{SERVER_PORT}{self._labels.base_url}"

    @property
    def ports(self) -> dict[str, tuple[str, int]]:
        """The ports of ``start(ports=…)``, such as ``6006/tcp`` → where this process reaches each of them."""
        return {
            inside: self._context.address.find_port(self._info, inside, self._labels.host_ip)
            for inside, found in sorted(self._info.ports.items())
            if found and inside != PORT_KEY
        }

    def published(self, port: int | str) -> tuple[str, int]:
        """Where this process reaches a port of ``start(ports=…)``: an address, and the port there.

        Args:
            port: of the container, as it was given: ``6006``, or ``"5000/udp"``.

        Raises:
            OptionError: the session does not publish it.
        """
        found = self.ports.get(spell_port(port) or "")
        if found is None:
            seen = (
                f"is {show_value(port)}, which the session does not publish; it has {', '.join(self.ports) or 'none'}"
            )
            refuse_option("port", seen, _PORT_HINT)
        return found

    @property
    def timings(self) -> Timings:
        """Seconds of each phase of ``start``; all 0 for a session that was found again."""
        return self._timings

    @property
    def lease(self) -> int | None:
        """Seconds after which the session ends itself unless somebody renews; None: never."""
        return self._labels.lease

    def status(self) -> SessionStatus:
        """The session's state now: one call to the engine, and one to the server if it runs, which has 5 s.

        Raises:
            EngineError: the engine does not answer.
        """
        info = self._context.engine.inspect(self.container_id)
        if info is None:
            self._context.servers.forget(self.container_id)
            return SessionStatus(state=SessionState.GONE, detail="its container was removed")
        state, oom_kills = SessionState.of_container(info.state), None
        if state is None:
            api = JupyterApi(self._context.server_url(info, self._labels), self._server_info.token)
            answer = api.look(Deadline(_STATUS_SECONDS))
            state = SessionState.UNRESPONSIVE if answer is None else SessionState.READY
            oom_kills = None if answer is None else parse_oom_kills(answer)
        is_ending = info.state == "removing" and bool(info.node)  # its node gives it the time to end gracefully
        return SessionStatus(
            state=state,
            exit_code=None if info.running or is_ending else info.exit_code,
            oom_killed=info.oom_killed,
            detail=info.error or info.state,
            pipeline_dir_replaced=self._is_dir_replaced(),
            oom_kills=oom_kills,
        )

    def activity(self) -> Activity:
        """What its server does now, which has 5 s to tell: its kernels, and when it was used last.

        To ask is no use of the session, so it may be asked as often as you like, with ``idle_timeout`` or without.

        Raises:
            SessionNotFoundError: the container was removed.
            ServerNotRunningError: the session has ended.
            ServerTimeoutError: the session is paused, or its server does not answer in time.
            ServerError: what the server answers cannot be read, or it cannot ask its gateway.
            EngineError: the engine does not answer.
        """
        return find_activity(self._context, self.container_id, self._labels, self._server_info.token)

    def stats(self) -> Stats:
        """What it uses of its machine: memory, cores, processes; and its kernels in containers, each of them.

        The engine takes a second or two for it, and is asked for all at once.

        Raises:
            SessionNotFoundError: the container was removed.
            ServerNotRunningError: the session has ended.
            EngineError: the engine does not answer.
        """
        return find_stats(self._context, self.container_id, self._labels)

    def _place(self) -> Place:
        return Place(
            engine=self._context.engine,
            container=self.container_id,
            session_id=self.id,
            url=self.url,
            token=self._server_info.token,
            gateway=self.gateway,
            phase=self._context.reporter.for_session(self.id).phase,
        )

    def _is_dir_replaced(self) -> bool | None:
        before = self._labels.pipeline_dir_id
        address, path = self._context.address, self._labels.pipeline_dir
        if isinstance(path, Volume):  # the engine keeps it while it is used
            return False
        if before is None:
            return None
        try:  # the directory may be on a network disk that is gone
            now = call_within(Deadline(_LOOK_SECONDS), lambda: look_identity(address, path))
        except TimeoutError:
            return None
        return None if now is None else now != before

    def logs(self, tail: int | None = None) -> str:
        """What the server printed; ``tail``: only that many last lines.

        Raises:
            SessionNotFoundError: the container was removed.
            EngineError: the engine does not answer, or its logging driver cannot be read.
        """
        try:
            return self._context.engine.logs(self.container_id, tail)
        except LauncherError as error:
            if self._context.engine.inspect(self.container_id) is not None:
                raise
            msg = f"session {self.id} has no log any more: its container was removed"
            raise SessionNotFoundError(
                msg, hint="read the log before the session is stopped", session_id=self.id
            ) from error

    def wait(self, seconds: float | None = None) -> SessionStatus:
        """Wait until the session has ended, and return its status then.

        Args:
            seconds: the longest time to wait; None: without a limit.

        Raises:
            EngineError: the engine does not answer.
        """
        deadline = Deadline(math.inf if seconds is None else seconds)
        while self._context.engine.wait(self.container_id, Deadline(min(deadline.remaining(), _HOUR))) is None:
            if deadline.expired():
                break
        return self.status()

    def renew(self) -> None:
        """Start the lease anew; nothing happens where there is none.

        Raises:
            ServerNotRunningError: the session has ended, or is about to, because the lease was over.
            ExecError: the lease did not move, although the session runs.
            EngineError: the engine does not answer.
        """
        if self.lease is not None:
            renew_lease(self._context.engine, self.container_id, self.lease)

    def pause(self) -> None:
        """Stop all processes of the session's container where they are, kernels in it too; one that is paused stays so.

        It uses no core then, keeps its memory, and answers nothing. Its lease stands still, and kernels on a gateway
        go on. ``resume`` ends this, and ``stop`` works as ever.

        Raises:
            SessionNotFoundError: the container was removed.
            ServerNotRunningError: it has ended.
            EngineError: the engine does not answer, or cannot pause: one without control groups.
        """
        pause_session(self._context, self.container_id, self._labels)

    def resume(self) -> None:
        """Let a paused session go on, and start its lease anew; a session that runs only gets its lease.

        Raises:
            SessionNotFoundError: the container was removed.
            ServerNotRunningError: the session has ended, or is about to, because the lease was over.
            ExecError: the lease did not move, although the session runs.
            EngineError: the engine does not answer.
        """
        resume_session(self._context, self.container_id, self._labels)

    def stop(self) -> StopReport:
        """Stop the server, its kernels and the container; returns when all are gone.

        First a request to the server's API, then SIGTERM, then SIGKILL. A session that ended
        before, or that somebody removed, is ``already-stopped``, so it may be called again. A Ctrl-C meanwhile
        kills what is left of the session.

        Raises:
            EngineError: the engine does not answer, or the container cannot be removed.
        """
        self._kept.forget()
        return run_act(lambda: stop_session(self._context, self._info, self._labels, self._server_info))


class Renewer:
    """Renews a session's lease in the background, three times as often as needed."""

    def __init__(self, session: Session, lease: int) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(session, lease / 3), name=f"renew-{session.id}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self, session: Session, pause: float) -> None:
        while not self._stopped.wait(pause):
            try:
                session.renew()
            except ServerNotRunningError:
                return  # the session has ended
            except Exception as error:  # noqa: BLE001 - one that fails must not be the last
                _log.warning("the lease of session %s was not renewed: %s", session.id, error)

"""``Session``, the handle that callers hold: it exists only once its server answers."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from jupyter_launcher import container, place
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_types import ContainerInfo
from jupyter_launcher.errors import LauncherError, ServerError, SessionNotFoundError
from jupyter_launcher.flow import Flow
from jupyter_launcher.gateway import marked_kernels
from jupyter_launcher.models import (
    Gateway,
    Phase,
    ServerInfo,
    SessionState,
    SessionStatus,
    StopMethod,
    StopReport,
    Timeouts,
    Timings,
)
from jupyter_launcher.place import bracketed
from jupyter_launcher.server import ApiFromInside, JupyterApi, end_kernels, end_server, renew_lease
from jupyter_launcher.spec import SERVER_PORT

__all__ = ["Renewal", "Session", "end_container"]

_log = logging.getLogger(__name__)

_HOUR = 3600.0


class Session:
    """A pipeline's container, its JupyterLab server and the kernels of that server.

    (Jupyter's own 'session' is a notebook together with its kernel.) Made by ``Launcher.start``
    and ``Launcher.get``. As a context manager it renews its lease, if it has one, from a thread of
    its own, and stops on leaving.
    """

    def __init__(
        self,
        info: ContainerInfo,
        server_info: ServerInfo,
        *,
        engine: Engine,
        timeouts: Timeouts,
        flow: Flow,
        timings: Timings,
    ) -> None:
        self._info = info
        self._engine = engine
        self._timeouts = timeouts
        self._flow = flow.of(self.id)
        self._server_info = server_info
        self._timings = timings
        self._renewal: Renewal | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.pipeline_dir} at {self.url}>"

    def __enter__(self) -> Session:
        self._renewal = Renewal.of(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewal is not None:
            self._renewal.end()
        self.stop()

    @property
    def id(self) -> str:
        """The session id: what ``Launcher.get`` finds it by."""
        return self._info.labels[container.SESSION_ID]

    @property
    def container_id(self) -> str:
        """The full id of the container."""
        return self._info.id

    @property
    def container_name(self) -> str:
        """The name of the container."""
        return self._info.name

    @property
    def pipeline_dir(self) -> Path:
        """The directory on the engine's host that is mounted at ``/pipeline-dir``."""
        return Path(self._info.labels[container.PIPELINE_DIR])

    @property
    def gateway(self) -> Gateway | None:
        """The kernel gateway; None when kernels run beside the server."""
        return _gateway(self._info)

    @property
    def server_info(self) -> ServerInfo:
        """What the server says of itself, the token included."""
        return self._server_info

    @property
    def url(self) -> str:
        """The server as this process reaches it, without a token: ``http://127.0.0.1:<port>/``.

        Where this process is in a container of the same engine, over a network that both are on.
        """
        return place.url(self._engine, self._info)

    @property
    def host_url(self) -> str:
        """The published port, without a token: what a browser on the engine's host, or nearer to it, opens."""
        return place.host_url(self._engine, self._info)

    @property
    def lab_url(self) -> str:
        """JupyterLab as a browser beside this process opens it, with the token."""
        return f"{self.url}lab?token={self._server_info.token}"

    @property
    def internal_url(self) -> str:
        """The server as other containers of its network reach it: ``http://<ip>:8888/``."""
        address = next((ip for ip in self._info.networks.values() if ip), "")
        return f"http://{bracketed(address)}:{SERVER_PORT}{self._info.labels[container.BASE_URL]}"

    @property
    def timings(self) -> Timings:
        """Seconds of each phase of ``start``; all 0 for a session that was found again."""
        return self._timings

    def status(self) -> SessionStatus:
        """How the session stands now: one call to the engine, and one to the server if it runs.

        Raises:
            EngineError: the engine does not answer.
        """
        info = self._engine.inspect(self.container_id)
        if info is None:
            return SessionStatus(state=SessionState.GONE, detail="its container was removed")
        if not info.running:
            created = info.state == "created"
            state = SessionState.HALF_MADE if created else SessionState.EXITED
            return SessionStatus(
                state=state, exit_code=info.exit_code, oom_killed=info.oom_killed, detail=info.error or info.state
            )
        answers = self._api(info).answers()
        return SessionStatus(
            state=SessionState.READY if answers else SessionState.SERVER_DEAD,
            oom_killed=info.oom_killed,
            detail=info.state,
        )

    def logs(self, tail: int | None = None) -> str:
        """What the server printed; ``tail``: only that many last lines.

        Raises:
            SessionNotFoundError: the container was removed.
        """
        try:
            return self._engine.logs(self.container_id, tail)
        except LauncherError as error:
            if self._engine.inspect(self.container_id) is not None:
                raise
            msg = f"session {self.id} has no log any more: its container was removed"
            raise SessionNotFoundError(msg, session_id=self.id) from error

    def wait(self, seconds: float | None = None) -> SessionStatus:
        """Wait until the session has ended, ``seconds`` at most; None: however long. Gives its status.

        Raises:
            EngineError: the engine does not answer.
        """
        deadline = Deadline(math.inf if seconds is None else seconds)
        while self._engine.wait(self.container_id, Deadline(min(deadline.remaining(), _HOUR))) is None:
            if deadline.expired():
                break
        return self.status()

    @property
    def lease(self) -> int | None:
        """Seconds after which the session ends itself unless somebody renews; None: never."""
        lease: int | None = json.loads(self._info.labels[container.OPTIONS])["lease"]
        return lease

    def renew(self) -> None:
        """Start the lease anew; nothing happens where there is none.

        Raises:
            ServerNotRunningError: the session ended.
            EngineError: the engine does not answer.
        """
        if self.lease is not None:
            renew_lease(self._engine, self.container_id, self.lease)

    def stop(self) -> StopReport:
        """End the server, its kernels and the container; returns when all are gone.

        First a request to the server's API, then SIGTERM, then SIGKILL. A session that ended
        before, or that somebody removed, is ``already-stopped``, so it may be called again.

        Raises:
            EngineError: the engine does not answer, or the container can't be removed.
        """
        with self._flow.phase(Phase.STOP) as progress:
            report = end_container(self._engine, self._info, self._api, self._timeouts)
            progress(report.method.value)
        return report

    def _api(self, info: ContainerInfo) -> JupyterApi:
        return JupyterApi(place.url(self._engine, info), self._server_info.token)


class Renewal:
    """Renews a session's lease in the background, three times as often as it must."""

    def __init__(self, session: Session, lease: int) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(session, lease / 3), name=f"renew-{session.id}", daemon=True
        )
        self._thread.start()

    @classmethod
    def of(cls, session: Session) -> Renewal | None:
        """For a session with a lease; None for others."""
        return None if session.lease is None else cls(session, session.lease)

    def end(self) -> None:
        """Renew no more."""
        self._ended.set()
        self._thread.join()

    def _run(self, session: Session, pause: float) -> None:
        while not self._ended.wait(pause):
            try:
                session.renew()
            except ServerError:
                return  # it ended, there is nothing to renew
            except LauncherError as error:
                _log.warning("the lease of session %s was not renewed: %s", session.id, error)


def end_container(
    engine: Engine, known: ContainerInfo, api_of: Callable[[ContainerInfo], JupyterApi], timeouts: Timeouts
) -> StopReport:
    """Stop whatever still runs of a session, then remove its container.

    ``known`` is the container as it was seen last. It is removed even when a step before fails,
    and its kernels are looked for on the gateway even when it was removed by somebody else.
    """
    clock = Deadline(0.0)
    info = engine.inspect(known.id)
    if info is not None and container.SESSION_ID not in info.labels:
        return StopReport(method=StopMethod.ALREADY_STOPPED, seconds=clock.elapsed())
    method = StopMethod.ALREADY_STOPPED
    kernels: tuple[str, ...] = ()
    try:
        if info is not None and info.state == "paused":
            method = StopMethod.KILLED  # it can't hear anything, and its removal kills it
        elif info is not None and info.running:
            api = api_of(info)
            kernels = api.kernels() or ()
            api.delete_kernels(kernels, timeout=timeouts.shutdown)
            method = end_server(engine, info.id, api, timeouts)
        kernels, gone = _kernels_gone(engine, info or known, kernels, timeouts)
    finally:
        if info is not None:
            engine.remove(info.id)
    _log.info("session %s ended: %s, %d kernels", known.labels[container.SESSION_ID], method.value, len(kernels))
    return StopReport(method=method, kernels=kernels, kernels_gone=gone, seconds=clock.elapsed())


def _kernels_gone(
    engine: Engine, info: ContainerInfo, asked: tuple[str, ...], timeouts: Timeouts
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All kernels that were the session's, and those of them that are gone."""
    gateway = _gateway(info)
    if gateway is None:
        return asked, asked  # they lived in the container, and it has ended
    deadline = Deadline(timeouts.gateway)
    left: tuple[str, ...] = ()
    if gateway.container_id is not None:
        # A server that was killed told nobody of its kernels, and one that ends while a kernel
        # starts does not know of it itself.
        left = marked_kernels(engine, gateway.container_id, info.labels[container.ATTEMPT], deadline)
    kernels = tuple(dict.fromkeys((*asked, *left)))
    if not kernels:
        return (), ()
    api: JupyterApi
    if gateway.container_id is not None and place.is_elsewhere(engine):
        api = ApiFromInside(engine, gateway.container_id, gateway.url)
    else:
        api = JupyterApi(gateway.url, info.environment.get("JUPYTER_GATEWAY_AUTH_TOKEN"))
    return kernels, end_kernels(api, kernels, deadline)


def _gateway(info: ContainerInfo) -> Gateway | None:
    text = info.labels.get(container.GATEWAY, "")
    if not text:
        return None
    known = json.loads(text)
    return Gateway(name=known["name"], url=known["url"], container_id=known["id"], network=info.network_mode)

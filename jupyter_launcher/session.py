"""``Session``, the handle that callers hold: it exists only once its server answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType

from jupyter_launcher import container
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import ContainerInfo, Engine
from jupyter_launcher.errors import LauncherError, SessionNotFoundError
from jupyter_launcher.flow import Flow
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
from jupyter_launcher.server import JupyterApi, end_kernels, end_server
from jupyter_launcher.spec import SERVER_PORT

__all__ = ["Session", "end_container", "published_url"]

_log = logging.getLogger(__name__)


class Session:
    """A pipeline's container, its JupyterLab server and the kernels of that server.

    (Jupyter's own 'session' is a notebook together with its kernel.) Made by ``Launcher.start``
    and ``Launcher.get``. As a context manager it stops on leaving.
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

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.pipeline_dir} at {self.url}>"

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        """The server as this host reaches it, without a token: ``http://127.0.0.1:<port>/``."""
        return published_url(self._info, self._engine)

    @property
    def lab_url(self) -> str:
        """JupyterLab as a browser on this host opens it, with the token."""
        return f"{self.url}lab?token={self._server_info.token}"

    @property
    def internal_url(self) -> str:
        """The server as other containers of its network reach it: ``http://<ip>:8888/``."""
        address = next((ip for ip in self._info.networks.values() if ip), "")
        return f"http://{_bracketed(address)}:{SERVER_PORT}{self._info.labels[container.BASE_URL]}"

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

    def stop(self) -> StopReport:
        """End the server, its kernels and the container; returns when all are gone.

        First a request to the server's API, then SIGTERM, then SIGKILL. A session that ended
        before, or that somebody removed, is ``already-stopped``, so it may be called again.

        Raises:
            EngineError: the engine does not answer, or the container can't be removed.
        """
        with self._flow.phase(Phase.STOP) as progress:
            report = end_container(self._engine, self.container_id, self._api, self._timeouts)
            progress(report.method.value)
        return report

    def _api(self, info: ContainerInfo) -> JupyterApi:
        return JupyterApi(published_url(info, self._engine), self._server_info.token)


def end_container(
    engine: Engine, container_id: str, api_of: Callable[[ContainerInfo], JupyterApi], timeouts: Timeouts
) -> StopReport:
    """Stop whatever still runs of a session, then remove its container.

    The container is removed even when one of the steps before fails.
    """
    clock = Deadline(0.0)
    info = engine.inspect(container_id)
    if info is None or container.SESSION_ID not in info.labels:
        return StopReport(method=StopMethod.ALREADY_STOPPED, seconds=clock.elapsed())
    method = StopMethod.ALREADY_STOPPED
    kernels: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    try:
        if info.running:
            api = api_of(info)
            kernels = api.kernels() or ()
            api.delete_kernels(kernels, timeout=timeouts.shutdown)
            method = end_server(engine, info.id, api, timeouts)
            gone = _kernels_gone(info, kernels, timeouts)
    finally:
        engine.remove(info.id)
    _log.info("session %s ended: %s, %d kernels", info.labels[container.SESSION_ID], method.value, len(kernels))
    return StopReport(method=method, kernels=kernels, kernels_gone=gone, seconds=clock.elapsed())


def _kernels_gone(info: ContainerInfo, kernels: tuple[str, ...], timeouts: Timeouts) -> tuple[str, ...]:
    gateway = _gateway(info)
    if gateway is None or not kernels:
        return kernels  # they lived in the container, and it has ended
    api = JupyterApi(gateway.url, info.environment.get("JUPYTER_GATEWAY_AUTH_TOKEN"))
    return end_kernels(api, kernels, Deadline(timeouts.gateway))


def published_url(info: ContainerInfo, engine: Engine) -> str:
    """The server's URL on this host, from the published port."""
    host = ip_address(info.labels[container.HOST_IP])
    shown = engine.host if host.is_loopback or host.is_unspecified else str(host)
    port = next(iter(info.ports.get(container.PORT_KEY, ())), 0)
    return f"http://{_bracketed(shown)}:{port}{info.labels[container.BASE_URL]}"


def _gateway(info: ContainerInfo) -> Gateway | None:
    text = info.labels.get(container.GATEWAY, "")
    if not text:
        return None
    known = json.loads(text)
    return Gateway(name=known["name"], url=known["url"], container_id=known["id"], network=info.network_mode)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address

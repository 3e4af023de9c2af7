"""What the pytest plugin does with an engine: a module of its own, because its imports are slow."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.images import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE
from jupyter_launcher.errors import LauncherError, OptionError, SessionNotFoundError
from jupyter_launcher.launcher import Launcher
from jupyter_launcher.models import Event, EventKind, Phase, RunningGateway, SessionState, Timeouts, Volume
from jupyter_launcher.pytest_plugin import owner, report
from jupyter_launcher.pytest_plugin.config import LauncherConfig
from jupyter_launcher.pytest_plugin.reuse import Reuse
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.spec.labels import container_name

if TYPE_CHECKING:
    from jupyter_launcher.engine.swarm.engine import SwarmEngine

__all__ = ["Run", "describe_engine", "reap_dead_runs"]

_LOG_LINES = 40
_PLACE = ("docker_host", "context", "client", "swarm")
_WITH_A_CONTAINER = (Phase.CONTAINER, Phase.SERVER, Phase.READY)


def describe_engine(image: str = "", config: LauncherConfig | None = None) -> str:
    """One line: the engine, its API version, the image; or why there is no engine."""
    try:
        with contextlib.closing(_connect(config)) as engine:
            return f"jupyter: {engine.traits} at {engine.endpoint}, image {image or DEFAULT_IMAGE}"
    except LauncherError as error:
        return f"jupyter: {error}"


def reap_dead_runs() -> None:
    """Remove what dead runs have left on the engine of this environment."""
    with contextlib.suppress(LauncherError), contextlib.closing(DockerEngine.connect()) as engine:
        owner.reap_dead_runs(engine, lambda namespace: Launcher(client=engine.client, namespace=namespace))


def _connect(config: LauncherConfig | None) -> DockerEngine | SwarmEngine:
    place = _place_of(config)
    swarm = place.pop("swarm", None)
    if swarm is not None:
        from jupyter_launcher.engine.swarm.engine import SwarmEngine

        return SwarmEngine.connect(swarm, **place)
    return DockerEngine.connect(**place)


def _place_of(config: LauncherConfig | None) -> dict[str, Any]:
    """The options of ``Launcher`` that say on which engine or swarm it starts sessions."""
    if config is None:
        return {}
    given = {name: config.launcher[name] for name in _PLACE if name in config.launcher}
    return given if config.swarm is None else {**given, "swarm": config.swarm}


class Run:
    """The one launcher of a test process, and what is reported about its sessions.

    Attributes:
        launcher: in a namespace of its own.
        reuse: the servers that stay for the next run; None: none does.
        kept: lines about the sessions that were left running.
        kept_dirs: their pipeline dirs.

    Raises:
        EngineUnavailableError: no engine answers.
    """

    def __init__(
        self,
        config: LauncherConfig,
        *,
        namespace: str,
        keep: str,
        start_timeout: float | None,
        lock: Path,
        reuse: Reuse | None = None,
    ) -> None:
        self._config = config
        self.reuse = reuse
        self._keep = keep
        self._lock = FileLock(lock)
        self._failed_starts: list[tuple[str, str]] = []
        self._kept_ids: set[str] = set()
        self._finished: set[Session] = set()
        self._units: set[str] = set()  # sessions that have a gateway of their own
        self._gateways: set[str] = set()
        self._gateways_kept: set[str] = set()
        self.kept: list[str] = []
        self.kept_dirs: set[Path] = set()
        options = {**config.launcher, **_place_of(config)}
        timeouts = options.get("timeouts") or Timeouts()
        if start_timeout is not None:
            timeouts = dataclasses.replace(timeouts, start=start_timeout)
        self._listener: Callable[[Event], None] | None = options.get("on_event")
        self._engine = _connect(config)
        self.launcher = Launcher(
            **{
                "namespace": namespace if reuse is None else reuse.namespace,
                "owner": owner.owner_id(keep=keep != "never", reuse=reuse is not None),
                "image": config.image or DEFAULT_IMAGE,
                **options,
                "timeouts": timeouts,
                "on_event": self._watch,
            }
        )

    def prepare(self) -> None:
        """Remove what dead runs have left, and have the image ready."""
        with self._lock:  # of several workers one builds the image, and the others find it
            owner.reap_dead_runs(self._engine, self._open_launcher)
            for image in (None, *self._config.kernel_images):
                self.launcher.ensure_image(image, pull=self._config.options.get("pull", "missing"))
        if self.reuse is not None:
            self.reuse.prepare(self.launcher, self._engine)

    def _open_launcher(self, namespace: str) -> Launcher:
        place = _place_of(self._config)
        if isinstance(self._engine, DockerEngine):
            place = {"client": self._engine.client}
        return Launcher(**place, namespace=namespace)

    def close(self) -> None:
        """Stop the sessions that tests have left, and close the connections."""
        with contextlib.closing(self._engine), self.launcher as launcher:
            for item in launcher.list():
                if item.session_id in (self._kept_ids | self._idle()) or item.state is SessionState.UNREADABLE:
                    continue
                if self._keep == "always":
                    self._report_kept(item.session_id, item.container_name, f"of {item.pipeline_dir}")
                    continue
                with contextlib.suppress(SessionNotFoundError):
                    launcher.stop(item.session_id)

    @contextlib.contextmanager
    def gateway(self, folder: Path) -> Iterator[RunningGateway]:
        """A gateway of this run's own; it stays when a session that uses it was kept.

        Raises:
            OptionError: the servers are in a swarm, where the library runs no gateway.
        """
        if "swarm" in _place_of(self._config):
            msg = "jupyter_gateway cannot run a gateway in a swarm"
            hint = "run it as a service on the servers' overlay network, and name it in LauncherConfig(gateway=...)"
            raise OptionError(msg, hint=hint, option="gateway")
        image = self._config.gateway_image or DEFAULT_GATEWAY_IMAGE
        with self._lock:
            self.launcher.ensure_image(image)
        keep = None if self._keep == "never" else self._keep_gateway
        given = self._config.with_kernels({"image": image, "network": self._config.network, "keep": keep})
        with self.launcher.run_gateway(folder, **given) as found:
            self._gateways.add(found.name)
            yield found

    def _keep_gateway(self, name: str) -> bool:
        kept = name in self._gateways_kept or self._keep == "always"
        if kept and self._config.kernels is None:
            self.kept.append(f"their gateway: docker rm -f -v {name}")
        elif kept:
            self.kept.append(
                f"their gateway and its kernels: {self._line('launcher.stop_gateway(%)', name.rpartition('.')[2])}"
            )
        return kept

    def _line(self, call: str, name: str) -> str:
        """A line for a shell that makes a call of a launcher of this run's namespace, ``%`` being the name."""
        act = call.replace("%", repr(name)).replace("launcher", f"Launcher(namespace={self.launcher.namespace!r})")
        return f'python -c "from jupyter_launcher import Launcher; {act}"'

    def start(
        self,
        pipeline_dir: str | os.PathLike[str] | Volume,
        options: Mapping[str, Any],
        *,
        asked: Collection[str],
    ) -> Session:
        """Start a session for a test; where servers are reused, join the one that is there.

        Args:
            pipeline_dir: of the session.
            options: of ``Launcher.start``.
            asked: the names of what the test itself gave.

        Raises:
            LauncherError: as ``Launcher.start`` says.
        """
        if self.reuse is None:
            session = self.launcher.start(pipeline_dir, **options)
        else:
            session = self.reuse.start(self.launcher, self._engine, pipeline_dir, options, asked=asked)
        if options.get("kernels") is not None:
            self._units.add(session.id)
        return session

    def _idle(self) -> set[str]:
        return set() if self.reuse is None else self.reuse.idle

    def finish(self, session: Session, test: str, *, failed: bool) -> None:
        """Stop a session when its test is over, or leave it running: for the next test, or to report it.

        Of a session that is finished already, nothing is done: a test may end it before the scope does.
        """
        if session in self._finished:
            return
        self._finished.add(session)
        # A gateway of this run ends with it, and the session's kernels too.
        stays = session.gateway is None or session.gateway.name not in self._gateways
        if self.reuse is not None and self.reuse.release(session, stays=stays):
            return
        if self._keep == "always" or (self._keep == "failed" and failed):
            self._kept_ids.add(session.id)
            if isinstance(session.pipeline_dir, Path):
                self.kept_dirs.add(session.pipeline_dir)
            if session.gateway is not None:
                self._gateways_kept.add(session.gateway.name)
            self._report_kept(session.id, session.container_name, f"{test}: {session.url}lab")
        else:
            session.stop()

    def _report_kept(self, session_id: str, container_name: str, what: str) -> None:
        show = self._line("print(launcher.get(%).lab_url)", session_id)
        end = f"docker stop {container_name} && docker rm -v {container_name}"
        if session_id in self._units:  # its gateway and its kernels are containers too
            end = self._line("launcher.stop(%)", session_id)
        if "swarm" in _place_of(self._config):
            show = f"jupyter-launcher --swarm --namespace {self.launcher.namespace} url {session_id} --show-token"
            end = f"docker service rm $(docker service ls -q --filter label=jupyter-launcher.name={container_name})"
        self.kept += [what, f"  with the token: {show}", f"  to remove it:   {end}"]

    def sections(self) -> list[tuple[str, str]]:
        """Titles and texts for the report of a failed test."""
        there = report.describe_namespace(
            self._engine, self.launcher.namespace, log_lines=_LOG_LINES, leave_out=self._idle()
        )
        return [*self._failed_starts, *there]

    def forget_failed_starts(self) -> None:
        """The next test begins without failed starts."""
        self._failed_starts.clear()

    def _watch(self, event: Event) -> None:
        # While a failure is reported, the container is still there.
        if event.kind is EventKind.FAILED and event.phase in _WITH_A_CONTAINER:
            name = container_name(self.launcher.namespace, event.session_id)
            text = report.describe_container(self._engine, name, log_lines=_LOG_LINES)
            self._failed_starts.append((f"jupyter session {event.session_id}, which failed to start", text))
        if self._listener is not None:
            self._listener(event)

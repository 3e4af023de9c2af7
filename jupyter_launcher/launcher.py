"""``Launcher``: start, get, list. Reads top to bottom along the flow of a session."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal

from jupyter_launcher import container, engine_image, gateway_container, place
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import DockerClient, Engine
from jupyter_launcher.engine_image import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE
from jupyter_launcher.engine_types import ContainerInfo
from jupyter_launcher.errors import (
    ServerError,
    ServerNotRunningError,
    SessionConflictError,
    SessionNotFoundError,
)
from jupyter_launcher.flow import Flow, Starts
from jupyter_launcher.gateway import resolve
from jupyter_launcher.host_dir import located
from jupyter_launcher.models import (
    BuildOptions,
    Event,
    Gateway,
    Mount,
    Phase,
    ReapedSession,
    ServerInfo,
    SessionSummary,
    StopReport,
    Timeouts,
    Timings,
)
from jupyter_launcher.registry import reap, summaries
from jupyter_launcher.server import (
    JupyterApi,
    NotYetError,
    argv,
    attempts,
    check_kernelspecs,
    exec_start,
    read_server_info,
    renew_lease,
    wait_until_ready,
)
from jupyter_launcher.server_config import config_file
from jupyter_launcher.session import Session, end_container
from jupyter_launcher.spec import SessionSpec, check_name
from jupyter_launcher.starting import (
    created,
    is_ours,
    joinable,
    refuse_engine_socket,
    removed_on_failure,
    started,
)

__all__ = ["Launcher"]

Pull = Literal["missing", "always", "never"]


class Launcher:
    """Starts sessions on one Docker engine and finds them again.

    The engine is the only registry: another process with the same ``namespace`` sees the same
    sessions. Closing it closes connections and stops no session.

    Args:
        docker_host: the engine's address, e.g. ``unix:///var/run/docker.sock``.
        context: the name of a Docker context.
        client: a ``docker.DockerClient`` of the caller's, which stays open on ``close``. With
            none of these three, the environment and the current context decide, as for the
            docker command.
        namespace: keeps the sessions of one orchestrator apart from others'.
        owner: noted on each session, for ``reap``: e.g. which of several orchestrators it was.
        image: of the server, unless ``start`` names one. The default is built from the context
            in this package when the engine does not have it.
        max_starts: how many starts of this launcher are under way at once, others wait. A start is
            work for one core for a second, so None is the number of the engine's cores: more at
            once makes all of them late, the first one most.
        build: what that build needs here (base image, CA certificates, index, proxies).
        timeouts: in seconds; ``start`` may have its own.
        on_event: called in the thread that works, with each :class:`Event`. What it raises is
            logged and changes nothing.

    Raises:
        OptionError: an option can't be.
        EngineUnavailableError: no engine answers, or this user may not talk to it.
    """

    def __init__(
        self,
        *,
        docker_host: str | None = None,
        context: str | None = None,
        client: DockerClient | None = None,
        namespace: str = "default",
        owner: str = "",
        image: str = DEFAULT_IMAGE,
        max_starts: int | None = None,
        build: BuildOptions | None = None,
        timeouts: Timeouts | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.namespace = check_name(namespace, "namespace")
        self.owner = owner
        self.image = image
        self.timeouts = timeouts or Timeouts()
        self._build = build or BuildOptions()
        self._flow = Flow(on_event)
        self._engine = Engine.connect(
            docker_host=docker_host, context=context, client=client, timeout=self.timeouts.engine
        )
        self._starts = Starts(max_starts, self._engine.cores)

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the engine."""
        self._engine.close()

    def start(
        self,
        pipeline_dir: str | os.PathLike[str],
        *,
        gateway: str | None = None,
        network: str | None = None,
        session_id: str | None = None,
        image: str | None = None,
        pull: Pull = "missing",
        host_ip: str | None = None,
        host_port: int | None = None,
        base_url: str = "/",
        allow_origin: str | None = None,
        user: str | int | None = None,
        environment: Mapping[str, str] | None = None,
        mounts: Iterable[Mount] = (),
        memory: int | str | None = None,
        cpus: float | None = None,
        shm_size: int | str | None = None,
        gpus: int | str | None = None,
        read_only: bool = False,
        tune: bool = True,
        lease: int | None = None,
        labels: Mapping[str, str] | None = None,
        lab_args: Iterable[str] = (),
        timeouts: Timeouts | None = None,
    ) -> Session:
        """Start JupyterLab for a pipeline, and return when it answers with its token.

        Args:
            pipeline_dir: a directory, mounted at ``/pipeline-dir``. Where this process is in a
                container of the engine, it lies below one of that container's own mounts; where the
                engine is on another host, it is an absolute path there.
            gateway: the kernel gateway: a container's name or id, optionally with ``:port``
                (8888 otherwise), or an http(s) URL as the server's container reaches it. None:
                kernels run beside the server.
            network: the network to join; needed when the gateway is on several.
            session_id: the idempotency key, 1 to 48 of ``a-z 0-9 - _``; None makes one up. A
                running session of this id with the same options is returned as it is, also when
                another process is just starting it; a dead or half-made one is made anew.
            image: any image with ``sh`` and ``jupyter`` on its PATH.
            pull: ``missing``, ``always`` or ``never``. For the default image: when to build it.
            host_ip: the host's address to publish on; None: its loopback, or, where the engine is on
                another host, the address at which that is reached.
            host_port: the host's port to publish on; None: the engine chooses a free one.
            base_url: the path below which the server answers.
            allow_origin: the one other origin whose pages may embed the session in a frame, exactly,
                as ``https://ide.example:8443``; for a reverse proxy that does not pass on the Host it
                was asked for, the proxy's own origin. With https, or on loopback, the cookies work in
                a frame of another site too, and then browsers take them over https and from loopback
                only. None: no other origin.
            user: ``uid[:gid]`` or a name that the image knows; None: the directory's owner.
            environment: for the server and the kernels beside it. Everyone who may ask the
                engine can read it.
            mounts: more folders.
            memory: bytes, or a text such as ``"2g"``.
            cpus: cores.
            shm_size: bytes or a text; the engine's 64 MB otherwise.
            gpus: ``"all"`` or how many.
            read_only: the container's own file system can't be written (the mounts can).
            tune: spare the server, not its kernels, what its start does without: ``rfc3987_syntax``, a
                grammar that takes longer than all the rest (jupyter_server#1559; our image does not have it
                anyway), node's answer on yarn that JupyterLab 4 can't read, and looks of the garbage
                collector before the first 200,000 objects.
            lease: seconds after which the session ends itself, gracefully, unless somebody renews:
                ``renew``, or the session's context manager. None: it stays until it is stopped.
            labels: more labels for the container.
            lab_args: more arguments for ``jupyter lab``.
            timeouts: in place of the launcher's.

        Raises:
            OptionError: an option can't be.
            PipelineDirError: the directory can't be used.
            GatewayError: the gateway can't be found, shares no network, or does not answer.
            ImageNotFoundError, ImageBuildError: there is no image to run.
            PortInUseError: ``host_port`` is taken.
            ServerError: the server died, or did not answer in time.
            SessionConflictError: the id is taken by something else.
            EngineError: the engine refused, or does not answer.

        Whatever is raised, Ctrl-C included, nothing that was made stays behind.
        """
        image = image or self.image
        limits = timeouts or self.timeouts
        if place.is_elsewhere(self._engine):
            self._ensured(self._flow, image, pull, limits.image)  # a container of it looks at the directory there
        spec = SessionSpec.from_options(
            pipeline_dir,
            namespace=self.namespace,
            image=image,
            session_id=session_id,
            gateway=gateway,
            network=network,
            host_ip=place.publish_ip(self._engine, host_ip),
            host_port=host_port,
            base_url=base_url,
            allow_origin=allow_origin,
            user=user,
            environment=environment,
            mounts=mounts,
            memory=memory,
            cpus=cpus,
            shm_size=shm_size,
            gpus=gpus,
            read_only=read_only,
            tune=tune,
            lease=lease,
            labels=labels,
            lab_args=lab_args,
            located=functools.partial(located, self._engine, image=image),
        )
        refuse_engine_socket(self._engine, spec)
        with self._starts.slot():
            flow = self._flow.of(spec.session_id)
            with flow.phase(Phase.GATEWAY):
                found = resolve(self._engine, gateway, network) if gateway is not None else None
            for attempt in attempts(Deadline(limits.start), NotYetError):
                with attempt:
                    existing = None if session_id is None else joinable(self._engine, spec)
                    session = (
                        self._made(spec, found, pull, limits, flow)
                        if existing is None
                        else self._shared(existing, limits)
                    )
                    if session is None:
                        raise NotYetError
                    return session
        name = container.name_of(spec.namespace, spec.session_id)
        msg = f"the name {name} is held by a container that can't be removed; see `docker rm -f {name}`"
        raise SessionConflictError(msg, session_id=spec.session_id)

    def _shared(self, info: ContainerInfo, limits: Timeouts) -> Session | None:
        """The session that another launcher has started; None when that start failed."""
        try:
            return self._joined(info, limits)
        except ServerError:
            latest = self._engine.inspect(info.id)
            if latest is not None and latest.running:
                raise
            return None

    def _made(
        self, spec: SessionSpec, gateway: Gateway | None, pull: Pull, limits: Timeouts, flow: Flow
    ) -> Session | None:
        """A new session; None when another launcher took the name in the meantime."""
        self._ensured(flow, spec.image, pull, limits.image)
        attempt = uuid.uuid4().hex
        with removed_on_failure(self._engine, spec, attempt):
            with flow.phase(Phase.CONTAINER):
                network = place.network(self._engine, gateway.network if gateway else spec.network)
                config = container.config(spec, gateway, attempt, self.owner, network)
                container_id = created(self._engine, spec, config)
                if container_id is None:
                    return None
                info = started(self._engine, container_id, spec.host_port)
            deadline = Deadline(limits.start)
            with flow.phase(Phase.SERVER):
                server_info = exec_start(
                    self._engine,
                    info.id,
                    argv(spec, gateway),
                    deadline,
                    lease=spec.lease,
                    tune=spec.tune,
                    config=config_file(spec, gateway),
                )
            with flow.phase(Phase.READY):
                api = JupyterApi(place.url(self._engine, info), server_info.token)
                wait_until_ready(api, self._engine, info.id, deadline)
                if gateway is not None:
                    check_kernelspecs(api, gateway, self._engine, info.id, limits.gateway)
                if spec.lease is not None:
                    renew_lease(self._engine, info.id, spec.lease)
            return self._session(info, server_info, limits, Timings(**flow.seconds))

    def get(self, session_id: str) -> Session:
        """A running session again, from nothing but the engine.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            ServerNotRunningError: it has, but no server runs in it.
            EngineError: the engine does not answer.
        """
        return self._joined(self._found(session_id), self.timeouts)

    def stop(self, session_id: str) -> StopReport:
        """Stop a session in whatever state it is, a dead or half-made one too.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            EngineError: the engine does not answer.
        """
        info = self._found(session_id)

        def api(running: ContainerInfo) -> JupyterApi:
            try:
                token = read_server_info(self._engine, running.id, Deadline(1.0)).token
            except ServerError:
                token = None  # so its API will refuse, and the signals follow
            return JupyterApi(place.url(self._engine, running), token)

        return end_container(self._engine, info, api, self.timeouts)

    def renew(self, session_id: str) -> None:
        """Start the lease of a session anew; nothing happens where there is none.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            ServerNotRunningError: the session ended.
            EngineError: the engine does not answer.
        """
        info = self._found(session_id)
        lease = json.loads(info.labels[container.OPTIONS])["lease"]
        if lease is not None:
            renew_lease(self._engine, info.id, lease)

    def reap(
        self,
        *,
        min_age: float = 60.0,
        keep: Collection[str] | None = None,
        owner: str | None = None,
        dry_run: bool = False,
    ) -> Sequence[ReapedSession]:
        """End the sessions of this namespace that are dead or orphaned, and say what was done.

        Dead ones have ended, or were half made by a launcher that died. A session that runs is
        orphaned when ``keep`` is given and does not name it: only its orchestrator knows. One that
        cannot be ended is reported with its error, and the others are gone on with.

        Args:
            min_age: seconds since it was made, by the engine's clock; younger ones are left alone,
                for another launcher may be at work on them.
            keep: ids of the sessions that are still wanted; None: no running session is touched.
            owner: only sessions of launchers with this ``owner``.
            dry_run: only say what would be ended.

        Raises:
            EngineError: the engine does not answer.
        """
        sessions = [item for item in self.list() if owner is None or item.owner == owner]
        return reap(
            self._engine,
            sessions,
            lambda item: self.stop(item.session_id),
            min_age=min_age,
            keep=keep,
            dry_run=dry_run,
        )

    def ids(self) -> Sequence[str]:
        """The ids of all sessions of this namespace, in every state: one call to the engine.

        Raises:
            EngineError: the engine does not answer.
        """
        label = f"{container.NAMESPACE}={self.namespace}"
        listed = self._engine.containers(label, container.SESSION_ID)
        return [item.labels[container.SESSION_ID] for item in listed]

    def logs(self, session_id: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """What the server of a session printed, in pieces, in whatever state it is.

        Args:
            session_id: whose.
            tail: only that many last lines.
            follow: go on with what it prints, until it ends.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            EngineError: the engine does not answer.
        """
        info = self._found(session_id)
        if follow:
            yield from self._engine.follow(info.id, tail)
        else:
            yield self._engine.logs(info.id, tail)

    def list(self) -> Sequence[SessionSummary]:
        """All sessions of this namespace, in every state, newest first.

        One call to the engine, and a request to each server that may run; where one does not
        answer, another for the engine's time.

        Raises:
            EngineError: the engine does not answer.
        """
        return summaries(self._engine, self.namespace, self.timeouts.start)

    def ensure_image(self, image: str | None = None, *, pull: Pull = "missing") -> None:
        """Have an image ready before it is needed, as ``start`` would: ours are built, others pulled.

        Args:
            image: None: the launcher's.
            pull: ``missing``, ``always`` or ``never``.

        Raises:
            OptionError: ``pull`` is none of these.
            ImageNotFoundError, ImageBuildError: there is none, and none could be had.
        """
        self._ensured(self._flow, image or self.image, pull, self.timeouts.image)

    def _ensured(self, flow: Flow, image: str, pull: Pull, seconds: float) -> None:
        with flow.phase(Phase.IMAGE) as progress:
            engine_image.ensure(self._engine, image, pull, self._build, Deadline(seconds), progress)

    def build_image(
        self,
        name: str = "jupyter-server",
        *,
        tag: str | None = None,
        options: BuildOptions | None = None,
        force: bool = False,
    ) -> str:
        """Build an image of ours from the context inside this package, and give its tag.

        Nothing is done when the image is there and its inputs did not change. Progress comes as
        events of the phase ``image``.

        Args:
            name: ``jupyter-server`` or ``enterprise-gateway``.
            tag: of the image; None: the one that ``start`` looks for.
            options: in place of the launcher's ``build``.
            force: build anew, past the engine's cache too.

        Raises:
            OptionError: no such image of ours.
            ImageBuildError: with the end of what the build printed.
        """
        tag = tag or engine_image.tag_of(name)
        with self._flow.phase(Phase.IMAGE) as progress:
            deadline = Deadline(self.timeouts.image)
            engine_image.build(self._engine, name, tag, options or self._build, deadline, progress, force=force)
        return tag

    @contextlib.contextmanager
    def run_gateway(
        self, pipeline_dir: str | os.PathLike[str], *, image: str = DEFAULT_GATEWAY_IMAGE, network: str | None = None
    ) -> Iterator[str]:
        """A Jupyter Enterprise Gateway for a pipeline, for trials and tests; yields its name.

        Its kernels see the pipeline at ``/pipeline-dir`` too. It is removed on leaving: stop the
        sessions that use it before. Orchestrators usually run a gateway of their own.

        Args:
            pipeline_dir: mounted at ``/pipeline-dir``; the gateway runs as its owner.
            image: of a gateway that listens on port 8888; the default is built when missing.
            network: None: the engine's default bridge.

        Raises:
            PipelineDirError: the directory can't be used.
            ImageBuildError, ImageNotFoundError: there is no image to run.
            GatewayNotRunningError: it ended at once.
            GatewayUnreachableError: it gave no kernel specs in time (``timeouts.start``).
        """
        self.ensure_image(image)
        folder = located(self._engine, pipeline_dir, None, image=image)
        name = gateway_container.start(
            self._engine,
            folder,
            image=image,
            namespace=self.namespace,
            owner=self.owner,
            network=network,
            seconds=self.timeouts.start,
        )
        try:
            yield name
        finally:
            self._engine.remove(name)

    def _found(self, session_id: str) -> ContainerInfo:
        name = container.name_of(self.namespace, check_name(session_id, "session_id"))
        info = self._engine.inspect(name)
        if info is None or not is_ours(info, self.namespace):
            raise self._no_session(session_id)
        return info

    def _no_session(self, session_id: str) -> SessionNotFoundError:
        msg = f"there is no session {session_id!r} in namespace {self.namespace!r}; list() has those that are"
        return SessionNotFoundError(msg, session_id=session_id)

    def _joined(self, info: ContainerInfo, limits: Timeouts) -> Session:
        """A session whose container is there: what ``start`` and ``get`` have in common."""
        session_id = info.labels[container.SESSION_ID]
        deadline = Deadline(limits.start)
        try:
            server_info = read_server_info(self._engine, info.id, deadline)
        except ServerError as error:
            latest = self._engine.inspect(info.id)
            if latest is None:
                raise self._no_session(session_id) from error
            msg = (
                f"no server runs in session {session_id} ({latest.state}, exit code {latest.exit_code}): {error}; "
                "start it again with the same session_id, or stop it"
            )
            raise ServerNotRunningError(
                msg,
                exit_code=None if latest.running else latest.exit_code,
                oom_killed=latest.oom_killed,
                log_tail=self._engine.logs(info.id, 40),
                session_id=session_id,
            ) from error
        api = JupyterApi(place.url(self._engine, info), server_info.token)
        wait_until_ready(api, self._engine, info.id, deadline)
        return self._session(info, server_info, limits, Timings())

    def _session(self, info: ContainerInfo, server_info: ServerInfo, limits: Timeouts, timings: Timings) -> Session:
        return Session(info, server_info, engine=self._engine, timeouts=limits, flow=self._flow, timings=timings)

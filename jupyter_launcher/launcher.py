"""``Launcher``: start, get, list. Reads top to bottom along the flow of a session."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from jupyter_launcher import container, engine_image, gateway_container
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import ContainerInfo, Engine
from jupyter_launcher.engine_image import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE
from jupyter_launcher.errors import (
    EngineError,
    PipelineDirError,
    ServerError,
    ServerNotRunningError,
    SessionConflictError,
    SessionNotFoundError,
)
from jupyter_launcher.flow import Flow
from jupyter_launcher.gateway import resolve
from jupyter_launcher.models import (
    BuildOptions,
    Event,
    Gateway,
    Mount,
    Phase,
    SessionSummary,
    StopReport,
    Timeouts,
    Timings,
)
from jupyter_launcher.server import (
    JupyterApi,
    argv,
    check_kernelspecs,
    exec_start,
    read_server_info,
    wait_until_ready,
)
from jupyter_launcher.session import Session, end_container, published_url
from jupyter_launcher.spec import PipelineDir, SessionSpec, check_name

if TYPE_CHECKING:
    from docker import DockerClient

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
        image: of the server, unless ``start`` names one. The default is built from the context
            in this package when the engine does not have it.
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
        image: str = DEFAULT_IMAGE,
        build: BuildOptions | None = None,
        timeouts: Timeouts | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.namespace = check_name(namespace, "namespace")
        self.image = image
        self.timeouts = timeouts or Timeouts()
        self._build = build or BuildOptions()
        self._flow = Flow(on_event)
        self._engine = Engine.connect(
            docker_host=docker_host, context=context, client=client, timeout=self.timeouts.engine
        )

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
        host_ip: str = "127.0.0.1",
        host_port: int | None = None,
        base_url: str = "/",
        user: str | int | None = None,
        environment: Mapping[str, str] | None = None,
        mounts: Iterable[Mount] = (),
        memory: int | str | None = None,
        cpus: float | None = None,
        shm_size: int | str | None = None,
        gpus: int | str | None = None,
        read_only: bool = False,
        labels: Mapping[str, str] | None = None,
        lab_args: Iterable[str] = (),
        timeouts: Timeouts | None = None,
    ) -> Session:
        """Start JupyterLab for a pipeline, and return when it answers with its token.

        Args:
            pipeline_dir: a directory of the engine's host, mounted at ``/pipeline-dir``.
            gateway: the kernel gateway: a container's name or id, optionally with ``:port``
                (8888 otherwise), or an http(s) URL as the server's container reaches it. None:
                kernels run beside the server.
            network: the network to join; needed when the gateway is on several.
            session_id: the idempotency key, 1 to 48 of ``a-z 0-9 - _``; None makes one up. A
                running session of this id with the same options is returned as it is.
            image: any image with ``sh`` and ``jupyter`` on its PATH.
            pull: ``missing``, ``always`` or ``never``. For the default image: when to build it.
            host_ip: the host's address to publish on.
            host_port: the host's port to publish on; None: the engine chooses a free one.
            base_url: the path below which the server answers.
            user: ``uid[:gid]`` or a name that the image knows; None: the directory's owner.
            environment: for the server and the kernels beside it. Everyone who may ask the
                engine can read it.
            mounts: more folders.
            memory: bytes, or a text such as ``"2g"``.
            cpus: cores.
            shm_size: bytes or a text; the engine's 64 MB otherwise.
            gpus: ``"all"`` or how many.
            read_only: the container's own file system can't be written (the mounts can).
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
        spec = SessionSpec.from_options(
            pipeline_dir,
            namespace=self.namespace,
            image=image or self.image,
            session_id=session_id,
            gateway=gateway,
            network=network,
            host_ip=host_ip,
            host_port=host_port,
            base_url=base_url,
            user=user,
            environment=environment,
            mounts=mounts,
            memory=memory,
            cpus=cpus,
            shm_size=shm_size,
            gpus=gpus,
            read_only=read_only,
            labels=labels,
            lab_args=lab_args,
        )
        limits = timeouts or self.timeouts
        self._refuse_engine_socket(spec)
        flow = self._flow.of(spec.session_id)
        with flow.phase(Phase.GATEWAY):
            found = resolve(self._engine, gateway, network) if gateway is not None else None
        existing = self._existing(spec) if session_id is not None else None
        if existing is not None:
            return existing
        with flow.phase(Phase.IMAGE) as progress:
            engine_image.ensure(self._engine, spec.image, pull, self._build, Deadline(limits.image), progress)
        attempt = uuid.uuid4().hex
        with self._removed_on_failure(spec, attempt):
            with flow.phase(Phase.CONTAINER):
                info = self._started(spec, found, attempt)
            deadline = Deadline(limits.start)
            with flow.phase(Phase.SERVER):
                server_info = exec_start(self._engine, info.id, argv(spec, found), deadline)
            api = JupyterApi(published_url(info, self._engine), server_info.token)
            with flow.phase(Phase.READY):
                wait_until_ready(api, self._engine, info.id, deadline)
                if found is not None:
                    check_kernelspecs(api, found, self._engine, info.id, limits.gateway)
            return Session(
                info,
                server_info,
                engine=self._engine,
                timeouts=limits,
                flow=self._flow,
                timings=Timings(**flow.seconds),
            )

    def get(self, session_id: str) -> Session:
        """A running session again, from nothing but the engine.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            ServerNotRunningError: it has, but no server runs in it.
            EngineError: the engine does not answer.
        """
        return self._joined(self._found(session_id))

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
            return JupyterApi(published_url(running, self._engine), token)

        return end_container(self._engine, info.id, api, self.timeouts)

    def list(self) -> list[SessionSummary]:
        """All sessions of this namespace, in every state, newest first, by one call to the engine.

        The engine knows that a container runs, not whether its server answers: such a session is
        ``starting`` here, and ``Session.status`` tells more.

        Raises:
            EngineError: the engine does not answer.
        """
        listed = self._engine.containers(f"{container.NAMESPACE}={self.namespace}", container.SESSION_ID)
        return [container.summary(item) for item in listed]

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
        folder = PipelineDir.from_path(pipeline_dir)
        with self._flow.phase(Phase.IMAGE) as progress:
            engine_image.ensure(self._engine, image, "missing", self._build, Deadline(self.timeouts.image), progress)
        with gateway_container.run(
            self._engine,
            folder,
            image=image,
            namespace=self.namespace,
            network=network,
            seconds=self.timeouts.start,
        ) as name:
            yield name

    def _refuse_engine_socket(self, spec: SessionSpec) -> None:
        socket = self._engine.socket_path
        for folder in (spec.pipeline_dir, *(Path(mount.source) for mount in spec.mounts)):
            if socket is not None and socket.resolve().is_relative_to(folder.resolve()):
                msg = f"{folder} holds the engine's socket {socket}, and with it the whole host; give another directory"
                raise PipelineDirError(msg, path=str(folder))

    def _is_ours(self, info: ContainerInfo) -> bool:
        return info.labels.get(container.NAMESPACE) == self.namespace and container.SESSION_ID in info.labels

    def _existing(self, spec: SessionSpec) -> Session | None:
        """The running session of this id; None when the way is free, or was made free."""
        name = container.name_of(spec.namespace, spec.session_id)
        info = self._engine.inspect(name)
        if info is None:
            return None
        if not self._is_ours(info):
            msg = f"the name {name} belongs to container {info.id[:12]}, which is not ours; rename or remove that one"
            raise SessionConflictError(msg, session_id=spec.session_id, container_id=info.id)
        if not info.running:
            self._engine.remove(info.id)
            return None
        differences = _differences(json.loads(info.labels[container.OPTIONS]), spec.to_options())
        if differences:
            msg = (
                f"session {spec.session_id} already runs with other options: {'; '.join(differences)}; "
                "stop it first, or take another session_id"
            )
            raise SessionConflictError(msg, session_id=spec.session_id, container_id=info.id, differences=differences)
        return self._joined(info)

    def _found(self, session_id: str) -> ContainerInfo:
        name = container.name_of(self.namespace, check_name(session_id, "session_id"))
        info = self._engine.inspect(name)
        if info is None or not self._is_ours(info):
            msg = f"there is no session {session_id!r} in namespace {self.namespace!r}; list() has those that are"
            raise SessionNotFoundError(msg, session_id=session_id)
        return info

    def _joined(self, info: ContainerInfo) -> Session:
        session_id = info.labels[container.SESSION_ID]
        if not info.running:
            msg = (
                f"session {session_id} is {info.state} with exit code {info.exit_code}; "
                "start it again with the same session_id, or stop it"
            )
            log = self._engine.logs(info.id, 40)
            raise ServerNotRunningError(
                msg, exit_code=info.exit_code, oom_killed=info.oom_killed, log_tail=log, session_id=session_id
            )
        server_info = read_server_info(self._engine, info.id, Deadline(self.timeouts.start))
        return Session(
            info, server_info, engine=self._engine, timeouts=self.timeouts, flow=self._flow, timings=Timings()
        )

    @contextlib.contextmanager
    def _removed_on_failure(self, spec: SessionSpec, attempt: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # By name, since an interrupted create told no id; by attempt, since another launcher
            # may hold the name by now.
            info = self._engine.inspect(container.name_of(spec.namespace, spec.session_id))
            if info is not None and info.labels.get(container.ATTEMPT) == attempt:
                self._engine.remove(info.id)
            raise

    def _started(self, spec: SessionSpec, gateway: Gateway | None, attempt: str) -> ContainerInfo:
        name = container.name_of(spec.namespace, spec.session_id)
        config = container.config(spec, gateway, attempt)
        # In a thread of its own, which is waited for: the engine goes on with a create whose
        # caller was interrupted, and would make the container after we looked for it.
        with ThreadPoolExecutor(max_workers=1) as pool:
            container_id = pool.submit(self._engine.create, config, name).result()
        self._engine.start(container_id, host_port=spec.host_port)
        info = self._engine.inspect(container_id)
        if info is None or not info.ports.get(container.PORT_KEY):
            network = config["HostConfig"]["NetworkMode"]
            msg = (
                f"container {name} has no published port on network {network!r} (it ended, or the network is "
                "internal); use a bridge network that can publish"
            )
            raise EngineError(msg)
        return info


def _differences(before: Mapping[str, object], now: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )

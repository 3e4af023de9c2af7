"""``Launcher``: the public class, one call a method."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from jupyter_launcher.acts import run_act
from jupyter_launcher.engine.connection import DockerClient
from jupyter_launcher.engine.images import CONTEXTS, DEFAULT_IMAGE, packages_tag
from jupyter_launcher.gateways import GatewayCalls
from jupyter_launcher.host.rules import DirectoryRules, parse_roots
from jupyter_launcher.models import (
    BuildOptions,
    Event,
    KernelImage,
    Mount,
    Phase,
    ReapedSession,
    RunningGateway,
    Secret,
    SessionSummary,
    StopReport,
    Swarm,
    Timeouts,
    Volume,
)
from jupyter_launcher.models.kernels import Isolation
from jupyter_launcher.models.options import hide_secrets
from jupyter_launcher.server.process import renew_lease
from jupyter_launcher.sessions.context import Context, connect_engine
from jupyter_launcher.sessions.events import SessionEvents, follow_sessions
from jupyter_launcher.sessions.join import find_session, get_session, stop_named
from jupyter_launcher.sessions.leftovers import reap_leftovers
from jupyter_launcher.sessions.listing import list_ids, list_sessions, reap_sessions
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit
from jupyter_launcher.sessions.running import pause_session, resume_session
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.spec.checks import (
    check_age,
    check_callback,
    check_flag,
    check_ids,
    check_image,
    check_instance,
    check_name,
    check_socket,
    check_text,
)
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.warm.call import StartCall, takes_what
from jupyter_launcher.warm.pool import WarmPool
from jupyter_launcher.warm.preparation import Preparation, Preparations

__all__ = ["Launcher"]

Pull = Literal["missing", "always", "never"]


class Launcher(GatewayCalls):
    """Starts sessions on one Docker engine, or in a swarm, and finds them again.

    The engine's containers are the only record of sessions: another process with the same ``namespace`` sees the same
    sessions. Closing it closes connections and stops no session, but those of ``prepare`` and of pools that nobody has
    taken.

    Args:
        docker_host: the engine's address, e.g. ``unix:///var/run/docker.sock``.
        context: the name of a Docker context.
        client: a ``docker.DockerClient`` of the caller's, which stays open on ``close``. With
            none of these three, the environment and the current context decide, as for the
            docker command.
        namespace: keeps the sessions of one orchestrator apart from others'.
        owner: recorded on each session, for ``reap``: e.g. which of several orchestrators started it.
        image: of the server, unless ``start`` names one. The default is built from the context
            in this package when the engine does not have it; where ``build`` has requirements, it is a layer
            upon that.
        max_starts: how many starts of this launcher run at once; others wait. Each start uses one
            core for about a second; the default is the engine's number of cores, and 2 in a swarm.
            More concurrent starts delay all of them.
        build: what that build needs here (base image, CA certificates, index, proxies).
        timeouts: in seconds; ``start`` may have its own.
        roots: absolute paths of directories, below which each directory that is mounted must lie. Each is a path as
            ``start`` takes the pipeline directory, and is read when the launcher is made. None: anywhere.
        allow_engine_socket: let an engine's socket be mounted, or a folder that holds one. Who can write to it controls
            the whole host.
        engine_socket: the engine's unix socket, an absolute path on the engine's host, for the broker of
            ``isolation="kernel"``, which alone mounts it. None: the socket through which this process reaches the
            engine; where it is reached in another way, such kernels are refused.
        use_config_proxy: sessions, gateways of ``run_gateway`` and builds get the proxies of Docker's ``config.json``,
            as ``docker run`` and ``docker build`` give them. What ``environment`` or ``build`` sets has precedence.
        on_event: called in the thread that works, with each :class:`Event`. What it raises is
            logged and changes nothing.
        swarm: sessions are services of the swarm of which the engine is a manager. Paths are paths of its nodes then,
            and ``pool``, ``pause``, ``resume``, ``events`` and ``run_gateway`` raise :class:`OptionError`. None:
            sessions are containers of the engine.

    Attributes:
        namespace, owner, image, timeouts: as they were given, or their defaults.

    Raises:
        OptionError: an option has a value that cannot work.
        EngineUnavailableError: no engine answers, or this user may not talk to it.
        EngineError: what answers is no engine, or something before the engine forbids to ask for its version.
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
        roots: Iterable[str | os.PathLike[str]] | None = None,
        allow_engine_socket: bool = False,
        engine_socket: str | None = None,
        use_config_proxy: bool = True,
        on_event: Callable[[Event], None] | None = None,
        swarm: Swarm | None = None,
    ) -> None:
        self.namespace = check_name(namespace, "namespace")
        self.owner = check_text(owner, "owner")
        self.image = check_image(image, "image")
        self.timeouts = Timeouts() if timeouts is None else check_instance(timeouts, Timeouts, "timeouts")
        build = BuildOptions() if build is None else check_instance(build, BuildOptions, "build")
        if self.image == DEFAULT_IMAGE:
            self.image = packages_tag(CONTEXTS[0], build)
        check_callback(on_event, "on_event")
        check_flag(allow_engine_socket, "allow_engine_socket")
        check_flag(use_config_proxy, "use_config_proxy")
        self._engine, address, in_swarm = connect_engine(
            swarm,
            docker_host=docker_host,
            context=context,
            client=client,
            timeout=self.timeouts.engine,
            use_config_proxy=use_config_proxy,
        )
        self._preparations = Preparations()
        self._limit = StartLimit(max_starts, lambda: self._engine.traits.cores)
        try:
            found = parse_roots(address, roots)
        except BaseException:
            self._engine.close()
            raise
        self._context = Context(
            engine=self._engine,
            address=address,
            namespace=self.namespace,
            owner=owner,
            build=build,
            timeouts=self.timeouts,
            reporter=PhaseReporter(on_event),
            rules=DirectoryRules(roots=found, allow_engine_socket=allow_engine_socket),
            swarm=in_swarm,
            engine_socket=check_socket(engine_socket, "engine_socket"),
        )

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the engine.

        Before that, pools are closed, and what ``prepare`` has begun and nobody has taken is cancelled.

        Raises:
            LauncherError: something that was prepared could not be ended, as ``Preparation.cancel`` says.
        """
        try:
            self._preparations.cancel_all()
        finally:
            self._engine.close()

    def start(
        self,
        pipeline_dir: str | os.PathLike[str] | Volume,
        *,
        gateway: str | RunningGateway | None = None,
        kernels: Mapping[str, str | KernelImage] | None = None,
        isolation: Isolation = "environment",
        max_kernels: int = 16,
        kernel_idle: int | None = None,
        network: str | None = None,
        session_id: str | None = None,
        image: str | None = None,
        pull: Pull = "missing",
        host_ip: str | None = None,
        host_port: int | None = None,
        ports: Mapping[int | str, int | None] | None = None,
        extra_hosts: Mapping[str, str] | None = None,
        base_url: str = "/",
        allow_origin: str | None = None,
        user: str | int | None = None,
        groups: Collection[int | str] = (),
        umask: int | str | None = None,
        environment: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        mounts: Iterable[Mount] = (),
        tmpfs: Mapping[str, int | str] | None = None,
        home: str | os.PathLike[str] | Volume | None = None,
        token: Secret | Callable[[], str] | None = None,
        pipeline_relabel: Literal["z", "Z"] | None = None,
        pipeline_read_only: bool = False,
        memory: int | str | None = None,
        cpus: float | None = None,
        shm_size: int | str | None = None,
        gpus: int | str | Collection[str] | None = None,
        read_only: bool = False,
        tune: bool = True,
        lease: int | None = None,
        idle_timeout: int | None = None,
        idle_kernel_timeout: int | None = None,
        labels: Mapping[str, str] | None = None,
        lab_args: Iterable[str] = (),
        entrypoint: bool = True,
        log_size: int | str | None = "10m",
        container_options: Mapping[str, object] | None = None,
        unsafe: bool = False,
        constraints: Collection[str] = (),
        timeouts: Timeouts | None = None,
        cancel: threading.Event | None = None,
    ) -> Session:
        """Start JupyterLab for a pipeline, and return when it answers to its token.

        Args:
            pipeline_dir: a directory, mounted at ``/pipeline-dir``. Where this process is in a
                container of the engine, it lies below one of that container's own mounts; where the
                engine is on another host, it is an absolute path there. Or a :class:`Volume`: one that
                nobody has used is given to ``user``, else to 1000:1000. The engine makes one that is not
                there, and it stays, also where the start fails.
            gateway: the kernel gateway: a container's name or id, optionally with ``:port``
                (8888 otherwise), an http(s) URL as the server's container reaches it, or what
                ``run_gateway`` yields. None: kernels run beside the server. The token of a gateway that
                ``run_gateway`` runs is found, also where a URL has its container's IP or name (and ``network``
                may be left out), but not where a URL has an alias of a network or a published port.
            kernels: the name of a kernel → the image in which it runs, or a :class:`KernelImage`: a gateway of the
                session's own is started with it, and ends with it. Not with ``gateway``.
            isolation: with ``kernels``, as for ``run_gateway``.
            max_kernels: with ``kernels``, as for ``run_gateway``.
            kernel_idle: with ``kernels``, as for ``run_gateway``.
            network: the network to join; needed when the gateway is on several. With ``kernels``, ``"own"`` makes one
                for the session, its gateway and its kernels alone.
            session_id: the idempotency key, 1 to 48 of ``a-z 0-9 - _``; None makes one up. A
                running session of this id with the same options is returned as it is, also when
                another process is just starting it. A session that has ended, or was created and
                never started, is removed and started anew.
            image: any image with ``sh`` and JupyterLab 3 or newer, ``jupyter`` on its PATH.
            pull: ``missing``, ``always`` or ``never``. For the default image: when to build it.
            host_ip: the host's address to publish on; None: its loopback, or, where the engine is on
                another host, the address at which that is reached.
            host_port: the host's port to publish on; None: the engine chooses a free one.
            ports: more ports of the container to publish on ``host_ip``: ``6006`` or ``"5000/udp"`` → the host's port;
                None: a free one, which ``Session.published`` tells.
            extra_hosts: names for the session's /etc/hosts → an IP address, or ``host-gateway``: the engine's host.
            base_url: the path below which the server answers.
            allow_origin: the one other origin whose pages may embed the session in a frame, exactly,
                as ``https://ide.example:8443``; for a reverse proxy that does not pass on the Host it
                was asked for, the proxy's own origin. With https, or on loopback, the cookies work in
                a frame of another site too, and then browsers take them over https and from loopback
                only. None: no other origin.
            user: ``uid[:gid]`` as containers of the engine number them, or a name that the image knows; None: the
                directory's owner. Root must be said unless this process runs as root, and all links on the path are
                root's.
            groups: more groups of the user, by gid, or by a name that the image knows.
            umask: of the server, its terminals and the kernels beside it, as octal text such as ``"0002"`` (a whole
                number is what ``0o002`` is in Python). None: the engine's 0022.
            environment: for the server and the kernels beside it. Everyone who may ask the
                engine can read it.
            secrets: a name → a text, which stands in the file ``/run/jupyter-launcher/secrets/<name>``, in memory
                and for the session's user alone. Names are 1 to 64 of ``A-Z a-z 0-9 _ . -``, no dot first; at
                most 16 texts of 64 KiB. No variable, label, event, log or inspect shows a text; the names stand
                in a label. A session that is joined keeps the texts that it was started with.
            mounts: more folders, files and volumes.
            tmpfs: file systems in memory: a path in the container → its size, bytes or a text. Everybody in the
                container can write there, and run what is there. What is in them counts as memory.
            home: a directory, by its absolute path on the engine's host, or a :class:`Volume`, mounted at
                ``/home/jupyter-launcher``, which is HOME of the server, its terminals, and the kernels beside it:
                JupyterLab's settings, histories and ``pip install --user`` stay from session to session, in sessions
                at once too. The layout of windows is kept for each ``session_id``. The server's user must be able to
                write there; a volume that nobody has used is given to that user. Kernels on a gateway have their own.
            token: what the server is asked with, in place of a new one: a :class:`Secret`, or a function that
                returns its text (what that raises is raised), with 32 to 128 of ``A-Z a-z 0-9 _ -``. With
                ``host_port``, an editor finds the server again after a stop and a start. It enters the container
                as ``secrets`` do.
            pipeline_relabel: for hosts with SELinux: ``z`` gives the pipeline directory and all below it the label that
                every container may use (a gateway's too), ``Z`` the label of this session alone. Other hosts ignore it.
            pipeline_read_only: the session cannot write to the pipeline directory, so nothing can be saved there; its
                own gateway and ``kernels`` cannot either.
                Otherwise the server's user must be able to write there.
            memory: bytes, or a text such as ``"2g"``. The server and the kernels beside it have it as ``MEM_LIMIT``.
            cpus: cores. They are ``CPU_LIMIT``, and ``OMP_NUM_THREADS`` and its kin tell libraries how many threads to
                start, unless ``environment`` or the image says otherwise.
            shm_size: of /dev/shm, bytes or a text. None: half of ``memory``, else 1 GiB.
            gpus: ``"all"``, how many, or which: ``("0", "3")``, UUIDs, or names of CDI devices (``vendor/class=name``).
            read_only: the container's own file system cannot be written (the mounts can). ``/tmp`` is in memory then,
                2 GiB unless ``tmpfs`` says otherwise.
            tune: speed up the server's start and end (kernels are not affected): skip importing ``rfc3987_syntax``
                (jupyter_server#1559), skip JupyterLab 4's call to node for yarn's configuration, import some modules
                when they are used, defer garbage collection, and end without freeing memory.
            lease: seconds after which the session ends itself, gracefully, unless somebody renews the
                lease: ``renew``, or the session's context manager. None: it stays until it is stopped.
            idle_timeout: seconds after which the session ends itself, gracefully, its kernels on a gateway too, if
                nobody uses it. Use is a busy kernel, a terminal in whose foreground something other than its shell
                runs, what is typed or printed in a terminal, and a file that is saved, renamed or deleted. An open
                tab alone is none, and no call of this library is. None: no limit.
            idle_kernel_timeout: the same for each kernel: it is shut down after so many seconds in which it was not
                busy, also where a notebook that uses it is open.
            labels: more labels for the container.
            lab_args: more arguments for ``jupyter lab``.
            entrypoint: the image's ENTRYPOINT runs before the server, which gets the environment and the file mode mask
                that it leaves; it has to run its arguments at last (``exec "$@"``). False: it does not run.
            log_size: of the container's log, bytes or a text: two files of this size, where the engine's logging
                driver is ``json-file`` (Podman's: ``k8s-file``); other drivers keep their own settings. None: the
                engine's setting, which often is no limit.
            container_options: more options of the container by the names of the engine's API (of its HostConfig, and
                of what stands beside it), such as ``{"Ulimits": [...], "Hostname": "lab"}``, with values as JSON has
                them. They replace the launcher's; what an option here is for is refused. They stand in a label, so
                they are no place for secrets.
            unsafe: let ``container_options`` have what opens the engine's host to the session, such as ``Devices``,
                ``Privileged`` and ``CapAdd``, and names that are not known.
            constraints: in a swarm, which nodes may run the session, besides those of :class:`Swarm`: texts as
                ``docker service create --constraint`` takes them, such as ``node.hostname==NAME``.
            timeouts: in place of the launcher's.
            cancel: another thread sets it to end this start.

        Raises:
            OptionError: an option has a value that cannot work.
            PipelineDirError: the directory, or the source of a mount, cannot be used, or is refused.
            GatewayError: the gateway cannot be found, shares no network, or does not answer.
            ImageNotFoundError, ImageBuildError: there is no image to run.
            PortInUseError: ``host_port`` is taken.
            PlacementError: no node of the swarm takes the session.
            ServerError: the server died, or did not answer in time.
            SessionConflictError: the id is taken: by a session with other options, or by a container that is
                no session, or whose labels cannot be read.
            ExecError: a session of this id is there, and nobody can tell whether its server runs. It is left
                alone.
            StartCancelledError: ``cancel`` was set.
            EngineError: the engine refused, or does not answer.

        Whatever is raised, Ctrl-C included, nothing that was made stays behind. The clean-up takes at most 15 s;
        where the engine does not answer it, the error (a Ctrl-C: a note and a warning in the log) names what may
        be left.
        """
        secrets = hide_secrets({"secrets": secrets})["secrets"]  # a traceback's locals show none
        return self._preparations.note(self._parse(locals()).run())

    @takes_what(start)
    def prepare(self, *given: Any, **options: Any) -> Preparation:
        """Begin to start JupyterLab for a pipeline in the background, and return at once.

        The arguments are those of ``start``. They, the directory and the mounts are looked at before it returns, as
        ``start`` looks at them before it makes anything. Closing the launcher cancels what nobody has taken, and so
        does the end of the process.

        Returns:
            What gives the session once it is there, or cancels the start.

        Raises:
            LauncherError: as ``start`` says of options, directories and mounts. What happens later is raised by
                :meth:`Preparation.session`.
        """
        options = hide_secrets(options)
        arguments = inspect.signature(Launcher.start).bind(self, *given, **options)
        arguments.apply_defaults()
        return self._preparations.begin(self._parse(arguments.arguments))

    def _parse(self, arguments: Mapping[str, Any]) -> StartCall:
        """The arguments of ``start`` by their names, as a call that can be made."""
        return StartCall.from_arguments(arguments, context=self._context, limit=self._limit, image=self.image)

    def pool(self, /, *, size: int = 2, user: str | int, max_age: float = 3600.0, **options: Any) -> WarmPool:
        """A pool of servers that run before anybody asked for them: a context manager, for ``pool.start(directory)``.

        What is of one session is given to ``pool.start``: its directory, ``session_id``, ``labels`` and ``lease``.

        Args:
            size: how many servers wait, 1 to 64. Each is a container with its server and a published port.
            user: as for ``start``; all sessions of the pool have it.
            max_age: seconds after which a server that nobody has claimed is replaced.
            options: those of ``start`` that hold for all sessions of the pool.

        Raises:
            OptionError: an option has a value that cannot work, or cannot be a pool's; or sessions are in a swarm.
            EngineError: the engine does not answer.
        """
        options = {"image": self.image, **hide_secrets(options)}
        pool = WarmPool(self._context, self._limit, self.start, size=size, user=user, max_age=max_age, options=options)
        return self._preparations.add_pool(pool)

    def get(self, session_id: str) -> Session:
        """A running session again, from nothing but the engine.

        It takes at most 10 s; while the session is younger than ``timeouts.start``, at most that.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            SessionUnreadableError: it has, and its labels cannot be read.
            ServerNotRunningError: it has, but no server runs in it.
            ServerError: its server does not answer as it should.
            ExecError: nobody can tell, because no command runs in the container; it is paused, perhaps.
            EngineUnavailableError: the engine does not answer; or nobody can tell, because its node of a swarm is away.
            EngineError: the engine refused.
        """
        return self._preparations.note(get_session(self._context, session_id))

    def stop(self, session_id: str) -> StopReport:
        """Stop a session in whatever state it is, also one that is paused, has ended or was never started.

        A gateway of its own, which ``kernels`` made, is removed with it. On a gateway that sessions share, its kernels
        are ended, and no others.

        It takes at most ``timeouts.shutdown``, ``terminate`` and ``gateway`` together, and the engine's time. A
        Ctrl-C meanwhile kills what is left of the session. In a swarm, a session whose node is away is not seen to
        end: the report's method is ``unreachable``, and the swarm ends it when the node is back.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            SessionUnreadableError: it has, and its labels cannot be read.
            EngineError: the engine does not answer.
        """
        return run_act(lambda: stop_named(self._context, session_id))

    def pause(self, session_id: str) -> None:
        """Pause a session, as ``Session.pause`` says.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            SessionUnreadableError: it has, and its labels cannot be read.
            ServerNotRunningError: it has ended.
            EngineError: the engine does not answer, or cannot pause.
        """
        info, labels = find_session(self._context, session_id)
        pause_session(self._context, info.id, labels)

    def resume(self, session_id: str) -> Session:
        """Let a paused session go on, start its lease anew, and return it when it answers, as ``get`` does.

        Raises:
            LauncherError: as ``get`` and ``renew`` say.
        """
        info, labels = find_session(self._context, session_id)
        resume_session(self._context, info.id, labels)
        return self.get(session_id)

    def renew(self, session_id: str) -> None:
        """Start the lease of a session anew; nothing happens where there is none.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id.
            SessionUnreadableError: it has, and its labels cannot be read.
            ServerNotRunningError: the session has ended, or is about to, because the lease was over.
            ExecError: the lease did not move, although the session runs.
            EngineError: the engine does not answer.
        """
        info, labels = find_session(self._context, session_id)
        if labels.lease is not None:
            renew_lease(self._engine, info.id, labels.lease)

    def reap(
        self,
        *,
        min_age: float = 60.0,
        keep: Collection[str] | None = None,
        owner: str | None = None,
        dry_run: bool = False,
    ) -> Sequence[ReapedSession]:
        """Stop the sessions of this namespace that are dead or orphaned, remove what is left, and report it.

        Dead sessions have ended, or were created and never started. A session that runs is orphaned when
        ``keep`` is given and does not name it: only its orchestrator knows. One that cannot be stopped is
        reported with its error, and the next one is tried. Containers in state ``unreadable`` are left alone, and so
        are sessions in state ``unreachable``, whose node of a swarm is away.
        Just before a container is stopped, its state and ``keep`` are looked at once more.

        After them come the gateways of this namespace, each with all that is of it: those that have ended; of
        ``run_gateway``, and of sessions with ``kernels``, those whose process is seen to be dead, and, where that
        cannot be seen or the gateway was run with ``keep``, those a day old; of ``start_gateway``, those that ``keep``
        does not name, where it is given. A gateway that a session names is left alone while that session has not
        ended, and so is one that a session may name by an alias of a network that both are on. Then come agents,
        brokers and kernels whose gateway has ended or is gone (``part``), and networks of such gateways
        (``network``). Before them come the servers of pools that nobody has claimed
        (``kind`` is ``warm``), and the records of sessions that are gone (``record``), by the same rules. Last come
        short-lived containers that look at something, of any namespace, by the same rules; one whose process lives is
        left to it. Containers that only have a copy of our labels, and not the name, are left alone.

        Args:
            min_age: seconds since it was created, by the engine's clock; younger ones are left alone,
                because another launcher may be starting them.
            keep: ids of the sessions, or names or ids of gateways, that are still wanted, which may change meanwhile;
                None: no running session is touched.
            owner: only sessions and gateways of launchers with this ``owner``.
            dry_run: only report what would be stopped.

        Raises:
            EngineError: the engine does not answer.
        """
        check_age(min_age, "min_age")
        check_ids(keep, "keep")
        if owner is not None:
            check_text(owner, "owner")

        def reap() -> Sequence[ReapedSession]:
            sessions = reap_sessions(self._context, min_age=min_age, keep=keep, owner=owner, dry_run=dry_run)
            left = reap_leftovers(self._context, min_age=min_age, keep=keep, owner=owner, dry_run=dry_run)
            return [*sessions, *left]

        return run_act(reap)

    def ids(self) -> Sequence[str]:
        """The ids of all sessions of this namespace, in every state: one call to the engine.

        Containers whose labels cannot be read are left out.

        Raises:
            EngineError: the engine does not answer.
        """
        return list_ids(self._context)

    def logs(self, session_id: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """What the server of a session printed, in pieces, in whatever state it is.

        Args:
            session_id: whose.
            tail: only that many last lines.
            follow: continue with what it prints, until it ends.

        Raises:
            SessionNotFoundError: this namespace has no container of this session id. Raised by the call, not
                by the first piece.
            SessionUnreadableError: it has, and its labels cannot be read.
            EngineError: the engine does not answer, or its logging driver cannot be read.
        """
        info, _ = find_session(self._context, session_id)
        return self._engine.read_log(info.id, tail, follow=follow)

    def events(self, *, since: float | None = None) -> SessionEvents:
        """What happens to the sessions of this namespace, as it happens: one :class:`SessionEvent` after another.

        It is an iterator that waits for the next one. Leave its ``with`` block, or call its ``close`` from any thread,
        to end it.

        Args:
            since: seconds since the epoch, such as the ``time`` of the last event that you had; what has happened
                since then comes first, as far as the engine still knows it (Docker: its last 256 events of any
                kind). None: only what is to come.

        Raises:
            OptionError: ``since`` is no time, or sessions are in a swarm, which tells nothing of its tasks.
            EngineError: the engine does not answer, or something before it forbids to ask.
            EngineUnavailableError: by the iterator: the engine has ended the stream, as at its restart.
        """
        return follow_sessions(self._context, None if since is None else check_age(since, "since"))

    def list(self, *, probe: bool = True) -> Sequence[SessionSummary]:
        """All sessions of this namespace, in every state, newest first.

        One call to the engine, and a request to each server that may run, which has 2 s; where one does not
        answer, another for the engine's time. The requests take at most 10 s together.

        Args:
            probe: False: one call to the engine and nothing more. Sessions whose containers run are ``unprobed``
                then, and nobody looks whether those that have ended ran out of memory.

        Raises:
            OptionError: ``probe`` is neither True nor False.
            EngineError: the engine does not answer.
        """
        return list_sessions(self._context, probe=check_flag(probe, "probe"))

    def ensure_image(self, image: str | None = None, *, pull: Pull = "missing") -> None:
        """Have an image ready before it is needed, as ``start`` would: ours are built, others pulled.

        Args:
            image: None: the launcher's.
            pull: ``missing``, ``always`` or ``never``.

        Raises:
            OptionError: ``pull`` is none of these.
            ImageNotFoundError, ImageBuildError: the image is not there, and could not be had.
        """
        image = self.image if image is None else check_image(image, "image")
        self._context.ensure_image(image, pull, self._context.reporter)

    def build_image(
        self,
        name: str = "jupyter-server",
        *,
        tag: str | None = None,
        options: BuildOptions | None = None,
        force: bool = False,
    ) -> str:
        """Build an image of ours from the context inside this package, and return its tag.

        Nothing is done when the image is there and its inputs did not change. Progress comes as
        events of the phase ``image``.

        Args:
            name: ``jupyter-server``, ``kernel-gateway``, or ``notebook``: a layer upon the first, with pandas,
                matplotlib, ipywidgets and git.
            tag: of the image; None: the one that ``start`` looks for.
            options: in place of the launcher's ``build``.
            force: build anew, without the engine's cache.

        Raises:
            OptionError: no such image of ours.
            ImageBuildError: with the end of what the build printed.
        """
        options = self._context.build if options is None else check_instance(options, BuildOptions, "options")
        tag = packages_tag(name, options) if tag is None else check_image(tag, "tag")
        with self._context.reporter.phase(Phase.IMAGE) as progress:
            deadline = Deadline(self.timeouts.image)
            self._engine.images.build(name, tag, options, deadline, progress, force=force)
        return tag

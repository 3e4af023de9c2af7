"""The server's process in its container: started, looked at and signalled by exec."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ExecResult
from jupyter_launcher.errors import (
    ExecError,
    ServerError,
    ServerInfoError,
    ServerNotRunningError,
)
from jupyter_launcher.models import ServerInfo
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.server.failures import (
    StartReport,
    describe_answer,
    describe_failure,
    describe_start,
    is_running,
)
from jupyter_launcher.spec.checks import HOME_TARGET, PIPELINE_TARGET
from jupyter_launcher.spec.plan import SessionPlan
from jupyter_launcher.spec.server import RUN_DIR, read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = [
    "StartedServer",
    "read_server_info",
    "renew_lease",
    "start_server",
    "terminate_server",
    "was_server_started",
]

_SLOW_POLL = 0.2
_EXEC_SECONDS = 5.0
_LEAST_SECONDS = 1.0
_OUTPUT_LIMIT = 2**18
"""Bytes. The scripts print three server_info of 64 KiB at most, and a few lines."""
_ENDING = 3
"""The exit code of renew_lease.sh when the lease has passed, so that the session is ending."""
_UNWATCHED = 4
"""The exit code of renew_lease.sh when the process that would end the session is gone."""
_NO = 44
"""The exit code of a look for "no". It is no program's own, so it needs a script of ours that ran to its end."""
_LIVES = 45
"""The exit code of read_server_info.sh when none is ours, although the server's process lives, or may live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedServer:
    """A server that was started: what it says of itself, and what works but not as asked."""

    info: ServerInfo
    warnings: tuple[str, ...]


def start_server(
    engine: Engine, container: str, plan: SessionPlan, deadline: Deadline, *, entrypoint: tuple[str, ...] = ()
) -> StartedServer:
    """Start the server and read its server_info, in one exec. A lease begins when that is there.

    Args:
        engine: of the container.
        container: its id.
        plan: of the start.
        deadline: of the start.
        entrypoint: the image's, which runs before; empty: there is none.

    Raises:
        PipelineDirError: the directory that is mounted is not the one that was looked at, or the server's user cannot
            work in it; nothing was started.
        OptionError: nothing keeps the container's processes from getting new privileges; nothing was started.
        ServerStartError: it could not be started, it ended, or it is no server of JupyterLab 3 or newer.
        ServerInfoError: it answers, but not to our token, or its server_info cannot be parsed.
        ServerTimeoutError: it lives, but there is no server_info after the deadline.
    """
    time = (RUN_DIR, str(max(1, math.ceil(deadline.remaining()))))
    values = (
        str(plan.lease or 0),
        PIPELINE_TARGET,
        plan.pipeline_dir_id or "",
        "" if plan.pipeline_read_only else "writable",
        plan.launch_script,
        "tuned" if plan.tune else "",
        plan.server_config,
        read_script("watch_lease.sh"),
    )
    script = read_script("start.sh")
    command = ("sh", "-c", script, "start", *time, *values, *plan.command)
    if entrypoint:
        command = ("sh", "-c", read_script("await_entrypoint.sh"), "await", *time, script, *values, *plan.command)
    command = (*plan.prefix, *command)
    if plan.secrets.values:
        files = " ".join(plan.secrets.values)
        command = ("sh", "-c", read_script("take_secrets.sh"), "take", RUN_DIR, files, *command)
    report = StartReport.from_stderr("")
    # The script ends by itself when its time is over, so the exec's deadline is a second later.
    patience = Deadline(deadline.remaining() + 1.0)
    try:
        result = engine.exec(
            container,
            command,
            patience,
            limit=_OUTPUT_LIMIT,
            secret=True,
            stays=True,
            environment=_name_variables(plan),
        )
    except ExecError as error:
        if error.started is not None:
            folder = plan.labels.pipeline_dir
            raise describe_start(engine, container, folder, plan.home, error, entrypoint, deadline) from error
        # Its output was lost on the way, so look for it before giving up.
        seen = error.message
    else:
        report = StartReport.from_stderr(result.stderr)
        found = describe_answer(engine, container, result.stdout.strip(), deadline)
        if found is not None:
            raise found
        if result.stdout.strip():
            return StartedServer(info=ServerInfo.from_output(result.stdout), warnings=report.warnings)
        seen = "it left no server_info"
    try:
        return StartedServer(info=read_server_info(engine, container, deadline), warnings=report.warnings)
    except (ExecError, ServerError) as error:
        raise describe_failure(engine, container, seen, deadline) from error


def _name_variables(plan: SessionPlan) -> HiddenTexts:
    """The variables in which take_secrets.sh expects the texts of the files, and start.sh the path of a home."""
    secrets = {f"_jl_secret_{number}": text for number, text in enumerate(plan.secrets.values.values(), start=1)}
    return HiddenTexts({**secrets, **({} if plan.home is None else {"_jl_home": HOME_TARGET})})


def was_server_started(engine: Engine, container: str, deadline: Deadline) -> bool:
    """Whether a server was started in a running container; waits for it until the deadline.

    Raises:
        ExecError: nobody can tell: no command runs in the container, although the container does, or its folder
            cannot be read.
    """
    command = ("sh", "-c", read_script("was_started.sh"), "look", RUN_DIR)
    seen: ExecResult | ExecError | None = None
    for attempt in attempts(deadline, NotYetError, pause=_SLOW_POLL):
        with attempt:
            seen = _look(engine, container, command, Deadline(max(deadline.remaining(), _EXEC_SECONDS)), _NO)
            if seen is None:
                return False
            if isinstance(seen, ExecError) or seen.exit_code != 0:
                raise NotYetError
            return True
    if isinstance(seen, ExecError):
        raise seen
    return False


def read_server_info(engine: Engine, container: str, deadline: Deadline) -> ServerInfo:
    """The running server's server_info, read by exec.

    Raises:
        ServerNotRunningError: the container does not run, or no server's process is in it until the deadline.
        ServerInfoError: a server's process lives, or may live, but no server_info of ours is there that can be parsed,
            until the deadline.
        ExecError: nobody can tell: no command runs in the container, although the container does, or its folder
            cannot be read.
    """
    command = ("sh", "-c", read_script("read_server_info.sh"), "look", RUN_DIR)
    seen: ExecResult | ExecError | None = None
    # At least two attempts: the first one's output may have been lost.
    for attempt in attempts(deadline, (NotYetError, ServerInfoError), at_least=2):
        with attempt:
            seen = _look(engine, container, command, Deadline(max(deadline.remaining(), _LEAST_SECONDS)), _NO, _LIVES)
            if seen is None:
                raise _describe_ended(engine, container)
            if isinstance(seen, ExecError) or seen.exit_code != 0:
                raise NotYetError
            return ServerInfo.from_output(seen.stdout)
    if isinstance(seen, ExecError):
        raise seen
    msg = f"container {container[:12]} has no server_info of ours after {deadline.seconds:g} s"
    if isinstance(seen, ExecResult) and seen.exit_code == _NO:
        msg += ", and no server's process"
        raise ServerNotRunningError(msg, hint="start the session again with the same session_id, or stop it")
    msg += ", although its server's process runs, or may run"
    raise ServerInfoError(msg, hint="see the session's log; if it stays so, stop the session and start it again")


def _look(
    engine: Engine, container: str, command: tuple[str, ...], deadline: Deadline, *answers: int
) -> ExecResult | ExecError | None:
    """What a script answered: its exit code is 0, or one of ``answers``; None: the container does not run.

    An ExecError is returned where the command could not be run now, but a later attempt may work.

    Raises:
        ExecError: the container is paused, so retrying does not help.
    """
    try:
        result = engine.exec(container, command, deadline, check=False, limit=_OUTPUT_LIMIT, secret=True)
    except ExecError as error:
        info = engine.inspect(container)
        if info is None or not info.running:
            return None
        if info.state == "paused":
            raise
        return error
    if result.exit_code in (0, *answers):
        return result
    # 137: killed, for memory perhaps; 126, 127: its shell could not run it; 1, 2: it could not look.
    msg = f"a look into container {container[:12]} ended with exit code {result.exit_code}: {result.stderr.strip()}"
    hint = "see whether the container has memory and processes left"
    return ExecError(msg, hint=hint, started=True, exit_code=result.exit_code, output=result.stderr[-500:])


def _describe_ended(engine: Engine, container: str) -> ServerNotRunningError:
    info = engine.inspect(container)
    state, code = ("gone", None) if info is None else (info.state, info.exit_code)
    msg = f"container {container[:12]} is {state}"
    return ServerNotRunningError(msg, hint="start the session again", exit_code=code)


def renew_lease(engine: Engine, container: str, seconds: int) -> None:
    """Move the end of a session's lease to ``seconds`` from now.

    Raises:
        ServerNotRunningError: the session has ended, or is ending because its lease had passed.
        ExecError, EngineError: nobody knows whether the lease has moved; the session may run, so try again. Or nobody
            watches the lease any more, so the session does not end by itself.
    """
    command = ("sh", "-c", read_script("renew_lease.sh"), "renew", RUN_DIR, str(seconds))
    try:
        engine.exec(container, command, Deadline(_EXEC_SECONDS))
    except ExecError as error:
        if error.started and error.exit_code == _ENDING:
            msg = f"the lease of container {container[:12]} had passed before it was renewed: the session is ending"
            raise ServerNotRunningError(msg, hint="start the session again when it has ended") from error
        if not is_running(engine, container):
            raise _describe_ended(engine, container) from error
        msg = f"the lease of container {container[:12]} was not renewed: {error.message}"
        hint = f"renew it again soon; see that {RUN_DIR} in the container is not full"
        if error.started and error.exit_code == _UNWATCHED:
            hint = "the session does not end by itself any more: stop it"
        raise ExecError(
            msg, hint=hint, started=error.started, exit_code=error.exit_code, output=error.output
        ) from error


def terminate_server(engine: Engine, container: str, deadline: Deadline) -> None:
    """Send SIGTERM to the server.

    Raises:
        ExecError: it was not sent.
    """
    engine.exec(container, ("sh", "-c", read_script("terminate.sh"), "terminate", RUN_DIR), deadline)

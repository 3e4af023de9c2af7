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
    ServerStartError,
    ServerTimeoutError,
)
from jupyter_launcher.models import ServerInfo
from jupyter_launcher.spec.checks import PIPELINE_TARGET
from jupyter_launcher.spec.plan import SessionPlan
from jupyter_launcher.spec.server import RUN_DIR, read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = [
    "StartedServer",
    "describe_failure",
    "read_server_info",
    "renew_lease",
    "start_server",
    "terminate_server",
    "was_server_started",
]

_SLOW_POLL = 0.2
_EXEC_SECONDS = 5.0
_LAST_WORDS_SECONDS = 2.0
_NOT_PREPARED = 70
"""The exit code of start.sh where the server cannot be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedServer:
    """A server that was started: what it says of itself, and what works but not as asked."""

    info: ServerInfo
    warnings: tuple[str, ...]


def start_server(engine: Engine, container: str, plan: SessionPlan, deadline: Deadline) -> StartedServer:
    """Start the server and read its server_info, in one exec. A lease begins when that is there.

    Raises:
        ServerStartError: it ended.
        ServerTimeoutError: it lives, but there is no server_info after the deadline.
    """
    seconds = str(max(1, math.ceil(deadline.remaining())))
    values = (RUN_DIR, seconds, str(plan.lease or 0), plan.launch_script, plan.server_config)
    command = ("sh", "-c", read_script("start.sh"), "start", *values, *plan.command)
    # The script ends by itself when its time is over, so the exec's deadline is a second later.
    patience = Deadline(deadline.remaining() + 1.0)
    try:
        result = engine.exec(container, command, patience, workdir=PIPELINE_TARGET, secret=True)
        warnings = tuple(line for line in result.stderr.splitlines() if line.strip())
        if result.stdout.strip():
            return StartedServer(info=ServerInfo.from_json(result.stdout), warnings=warnings)
        seen = "it left no server_info"
    except ExecError as error:
        if error.started and error.exit_code == _NOT_PREPARED:
            msg = f"the server in container {container[:12]} could not be prepared: {error.message}"
            hint = "see that the image has sh, mkfifo and od, and that /tmp or HOME can be written"
            raise ServerStartError(msg, hint=hint, exit_code=error.exit_code) from error
        if error.started is False and _is_running(engine, container):
            msg = f"the server in container {container[:12]} could not be started: {error.message}"
            raise ServerStartError(msg, hint=error.hint, exit_code=error.exit_code) from error
        if error.started is not None:
            raise describe_failure(engine, container, error.message, deadline) from error
        # Its output was lost on the way, so look for it before giving up.
        seen, warnings = error.message, ()
    try:
        return StartedServer(info=read_server_info(engine, container, deadline), warnings=warnings)
    except (ExecError, ServerError) as error:
        raise describe_failure(engine, container, seen, deadline) from error


def was_server_started(engine: Engine, container: str, deadline: Deadline) -> bool:
    """Whether a server was started in a running container; waits for it until the deadline.

    Raises:
        ExecError: nobody can tell, because no command runs in the container, although the container does.
    """
    command = ("sh", "-c", '[ -e "$1/server.pid" ]', "look", RUN_DIR)
    seen: ExecResult | ExecError | None = None
    for attempt in attempts(deadline, NotYetError, pause=_SLOW_POLL):
        with attempt:
            seen = _look(engine, container, command, Deadline(_EXEC_SECONDS))
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
        ServerNotRunningError: the container does not run.
        ServerInfoError: no server_info is there, or it cannot be parsed, until the deadline.
        ExecError: nobody can tell, because no command runs in the container, although the container does.
    """
    command = ("sh", "-c", 'cat "$1"/jupyter/jpserver-*.json', "look", RUN_DIR)
    seen: ExecResult | ExecError | None = None
    # At least two attempts: the first one's output may have been lost.
    for attempt in attempts(deadline, (NotYetError, ServerInfoError), at_least=2):
        with attempt:
            seen = _look(engine, container, command, Deadline(max(deadline.remaining(), _EXEC_SECONDS)))
            if seen is None:
                raise _describe_ended(engine, container)
            if isinstance(seen, ExecError) or seen.exit_code != 0:
                raise NotYetError
            return ServerInfo.from_json(seen.stdout)
    if isinstance(seen, ExecError):
        raise seen
    msg = f"container {container[:12]} has no server_info after {deadline.seconds:g} s: no server runs in it"
    raise ServerInfoError(msg, hint="start the session again with the same session_id, or stop it")


def _look(
    engine: Engine, container: str, command: tuple[str, ...], deadline: Deadline
) -> ExecResult | ExecError | None:
    """What a command answered, with exit code 0 for yes and 1 for no; None: the container does not run.

    An ExecError is returned where the command could not be run now, but a later attempt may work.

    Raises:
        ExecError: the container is paused, so retrying does not help.
    """
    try:
        result = engine.exec(container, command, deadline, check=False, secret=True)
    except ExecError as error:
        info = engine.inspect(container)
        if info is None or not info.running:
            return None
        if info.state == "paused":
            raise
        return error
    if result.exit_code in (0, 1):
        return result
    # 137: killed, for memory perhaps; 126, 127: its shell could not run it.
    msg = f"a look into container {container[:12]} ended with exit code {result.exit_code}: {result.stderr.strip()}"
    hint = "see whether the container has memory and processes left"
    return ExecError(msg, hint=hint, started=True, exit_code=result.exit_code, output=result.stderr[-500:])


def _is_running(engine: Engine, container: str) -> bool:
    info = engine.inspect(container)
    return info is not None and info.running


def _describe_ended(engine: Engine, container: str) -> ServerNotRunningError:
    info = engine.inspect(container)
    state, code = ("gone", None) if info is None else (info.state, info.exit_code)
    msg = f"container {container[:12]} is {state}"
    return ServerNotRunningError(msg, hint="start the session again", exit_code=code)


def renew_lease(engine: Engine, container: str, seconds: int) -> None:
    """Move the end of a session's lease to ``seconds`` from now.

    Raises:
        ServerNotRunningError: the session ended.
        ExecError: the lease did not move, although the session runs.
    """
    command = ("sh", "-c", read_script("renew_lease.sh"), "renew", RUN_DIR, str(seconds))
    try:
        engine.exec(container, command, Deadline(_EXEC_SECONDS))
    except ExecError as error:
        if not _is_running(engine, container):
            raise _describe_ended(engine, container) from error
        msg = f"the lease of container {container[:12]} was not renewed: {error.message}"
        hint = f"renew it again soon; see that {RUN_DIR} in the container is not full"
        raise ExecError(
            msg, hint=hint, started=error.started, exit_code=error.exit_code, output=error.output
        ) from error


def terminate_server(engine: Engine, container: str, deadline: Deadline) -> None:
    """Send SIGTERM to the server.

    Raises:
        ExecError: it was not sent.
    """
    engine.exec(container, ("sh", "-c", read_script("terminate.sh"), "terminate", RUN_DIR), deadline)


def describe_failure(engine: Engine, container: str, seen: str, deadline: Deadline) -> ServerError:
    """The error for a server that is not ready: it ended, with exit code and log, or it is late."""
    # The container follows its server soon; wait a moment for its exit code.
    patience = 0.0 if deadline.expired() else min(_LAST_WORDS_SECONDS, deadline.remaining())
    engine.wait(container, Deadline(patience))
    info = engine.inspect(container)
    if info is None:
        msg = f"container {container[:12]} was removed by somebody else while its server started"
        return ServerStartError(msg, hint="start the session again")
    log = engine.log_tail(container)
    if info.running:
        seconds = deadline.elapsed()
        msg = f"the server in container {info.name} was not ready after {seconds:.1f} s: {seen}"
        hint = "raise timeouts.start if it only needs longer"
        return ServerTimeoutError(msg, hint=hint, oom_killed=info.oom_killed, log_tail=log, seconds=seconds)
    msg = f"the server in container {info.name} ended with exit code {info.exit_code} before it was ready: {seen}"
    hint = "out of memory: raise memory=" if info.oom_killed else info.error or "see lab_args and the image"
    return ServerStartError(msg, hint=hint, exit_code=info.exit_code, oom_killed=info.oom_killed, log_tail=log)

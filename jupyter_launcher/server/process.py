"""The server's process in its container: started, looked at and signalled by exec."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo, ExecResult
from jupyter_launcher.errors import (
    EngineError,
    ExecError,
    PipelineDirError,
    ServerError,
    ServerInfoError,
    ServerNotRunningError,
    ServerStartError,
    ServerTimeoutError,
)
from jupyter_launcher.models import ServerInfo, Volume
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.checks import HOME_TARGET, PIPELINE_TARGET
from jupyter_launcher.spec.plan import SessionPlan
from jupyter_launcher.spec.server import RUN_DIR, read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = [
    "StartedServer",
    "describe_closed_directory",
    "describe_directory",
    "describe_failure",
    "read_server_info",
    "renew_lease",
    "start_server",
    "terminate_server",
    "was_server_started",
]

_SLOW_POLL = 0.2
_EXEC_SECONDS = 5.0
_LEAST_SECONDS = 1.0
_LAST_WORDS_SECONDS = 2.0
_OUTPUT_LIMIT = 2**18
"""Bytes. The scripts print three server_info of 64 KiB at most, and a few lines."""
_NOT_PREPARED = 70
"""The exit code of start.sh where the server cannot be started."""
_DIRECTORY_HINT = (
    "change its owner or its mode, or start with another user=; where SELinux forbids it, pipeline_relabel='z'"
)
_OTHER_DIRECTORY = 71
"""The exit code of start.sh and start_gateway.sh where another directory is mounted than the launcher looked at."""
_CLOSED_DIRECTORY = 72
"""The exit code of start.sh where its user can't enter or read the directory, of start_gateway.sh: can't enter it."""
_UNWRITABLE_DIRECTORY = 73
"""The exit code of start.sh where its user can't write to the directory."""
_UNWRITABLE_HOME = 74
"""The exit code of start.sh where its user can't write to the home that was given."""
_OTHER_TOKEN = "other-token"  # noqa: S105 - a word, and no secret
"""What start.sh prints in place of server_info when a server answers that does not have our token."""
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


def start_server(engine: Engine, container: str, plan: SessionPlan, deadline: Deadline) -> StartedServer:
    """Start the server and read its server_info, in one exec. A lease begins when that is there.

    Raises:
        PipelineDirError: the directory that is mounted is not the one that was looked at, or the server's user cannot
            work in it; nothing was started.
        ServerStartError: it could not be started, or it ended.
        ServerInfoError: it answers, but not to our token, or its server_info cannot be parsed.
        ServerTimeoutError: it lives, but there is no server_info after the deadline.
    """
    values = (
        RUN_DIR,
        str(max(1, math.ceil(deadline.remaining()))),
        str(plan.lease or 0),
        PIPELINE_TARGET,
        plan.pipeline_dir_id or "",
        "" if plan.pipeline_read_only else "writable",
        plan.launch_script,
        "tuned" if plan.tune else "",
        plan.server_config,
        read_script("watch_lease.sh"),
    )
    command = ("sh", "-c", read_script("start.sh"), "start", *values, *plan.command)
    if plan.secrets.values:
        files = " ".join(plan.secrets.values)
        command = ("sh", "-c", read_script("take_secrets.sh"), "take", RUN_DIR, files, *command)
    warnings: tuple[str, ...] = ()
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
            raise _describe_start(engine, container, plan, error, deadline) from error
        # Its output was lost on the way, so look for it before giving up.
        seen = error.message
    else:
        warnings = tuple(line for line in result.stderr.splitlines() if line.strip())
        if result.stdout.strip() == _OTHER_TOKEN:
            msg = f"the server in container {container[:12]} answers, but its server_info does not have our token"
            hint = "take what sets a token or a runtime dir, or switches tokens off, out of the image's configuration"
            raise ServerInfoError(msg, hint=hint, log_tail=engine.log_tail(container))
        if result.stdout.strip():
            return StartedServer(info=ServerInfo.from_output(result.stdout), warnings=warnings)
        seen = "it left no server_info"
    try:
        return StartedServer(info=read_server_info(engine, container, deadline), warnings=warnings)
    except (ExecError, ServerError) as error:
        raise describe_failure(engine, container, seen, deadline) from error


def _name_variables(plan: SessionPlan) -> HiddenTexts:
    """The variables in which take_secrets.sh expects the texts of the files, and start.sh the path of a home."""
    secrets = {f"_jl_secret_{number}": text for number, text in enumerate(plan.secrets.values.values(), start=1)}
    return HiddenTexts({**secrets, **({} if plan.home is None else {"_jl_home": HOME_TARGET})})


def _describe_start(
    engine: Engine, container: str, plan: SessionPlan, error: ExecError, deadline: Deadline
) -> PipelineDirError | ServerError:
    """The error for a start.sh that did not run, or that failed."""
    found = describe_directory(plan.labels.pipeline_dir, error.exit_code, error.output) if error.started else None
    if found is not None:
        return found
    if error.started and error.exit_code == _UNWRITABLE_HOME:
        msg = f"home {plan.home} cannot be used: {error.output.strip()}"
        return PipelineDirError(msg, hint="change its owner or its mode, or give another home=", path=str(plan.home))
    if error.started and error.exit_code == _NOT_PREPARED:
        msg = f"the server in container {container[:12]} could not be prepared: {error.message}"
        hint = "see that the image has sh, mkfifo and od, and that /tmp or HOME can be written"
        return ServerStartError(msg, hint=hint, exit_code=error.exit_code)
    if error.started is False and _is_running(engine, container):
        msg = f"the server in container {container[:12]} could not be started: {error.message}"
        hint = error.hint  # the engine's, where it refused
        if error.exit_code is not None:
            hint = "see that the image has sh on its PATH, and that no item of lab_args is longer than 128 KiB"
        log = engine.log_tail(container)
        return ServerStartError(msg, hint=hint, exit_code=error.exit_code, log_tail=log)
    return describe_failure(engine, container, error.message, deadline)


def describe_closed_directory(path: Path | Volume, error: EngineError) -> PipelineDirError | None:
    """The error where no container starts, since its user may not enter the directory; None: for another reason."""
    if "chdir" not in error.message:  # runc's and crun's words
        return None
    msg = f"pipeline dir {path} cannot be used: the engine does not start a container there: {error.message}"
    return PipelineDirError(msg, hint=_DIRECTORY_HINT, path=str(path))


def describe_directory(path: Path | Volume, exit_code: int | None, seen: str) -> PipelineDirError | None:
    """The error for exit code 71, 72 or 73 of start.sh or start_gateway.sh; None for any other.

    ``seen`` is what the script printed.
    """
    if exit_code == _OTHER_DIRECTORY:
        msg = f"{path} led to another directory when it was mounted than when it was looked at: {seen.strip()}"
        hint = "start again; if that gives the same, see who moves or links directories on this path"
    elif exit_code in (_CLOSED_DIRECTORY, _UNWRITABLE_DIRECTORY):
        msg = f"pipeline dir {path} cannot be used: {seen.strip()}"
        hint = _DIRECTORY_HINT
        if exit_code == _UNWRITABLE_DIRECTORY:
            hint += "; where nothing is to be saved, pipeline_read_only=True (--pipeline-read-only)"
    else:
        return None
    return PipelineDirError(msg, hint=hint, path=str(path))


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
        if not _is_running(engine, container):
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


def describe_failure(engine: Engine, container: str, seen: str, deadline: Deadline) -> ServerError:
    """The error for a server that is not ready: it ended, with exit code and log, or it is late."""
    # The container follows its server soon; wait a moment for its exit code.
    patience = 0.0 if deadline.expired() else min(_LAST_WORDS_SECONDS, deadline.remaining())
    with contextlib.suppress(EngineError):
        engine.wait(container, Deadline(patience))
    info = engine.inspect(container)
    if info is None:
        msg = f"container {container[:12]} was removed by somebody else while its server started: {seen}"
        return ServerStartError(msg, hint="start the session again")
    log = engine.log_tail(container)
    if info.running:
        seconds = deadline.elapsed()
        msg = f"the server in container {info.name} was not ready after {seconds:.1f} s: {seen}"
        hint = "raise timeouts.start if it only needs longer"
        return ServerTimeoutError(msg, hint=hint, oom_killed=info.oom_killed, log_tail=log, seconds=seconds)
    msg = f"the server in container {info.name} ended with exit code {info.exit_code} before it was ready: {seen}"
    return ServerStartError(msg, hint=_advise(info), exit_code=info.exit_code, oom_killed=info.oom_killed, log_tail=log)


def _advise(info: ContainerInfo) -> str:
    """What to do about a server that ended before it was ready."""
    if info.oom_killed:
        return "out of memory: raise memory="
    if info.error:
        return info.error
    if info.exit_code in (126, 127):
        return "see that sh and jupyter are on the image's PATH, and that lab_args and the environment are not too long"
    return "see lab_args and the image"

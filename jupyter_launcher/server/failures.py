"""Why a server did not start: what its scripts printed, and the errors that say so."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import (
    EngineError,
    EngineUnavailableError,
    ExecError,
    OptionError,
    PipelineDirError,
    ServerError,
    ServerInfoError,
    ServerNotRunningError,
    ServerStartError,
    ServerTimeoutError,
    SessionNotFoundError,
)
from jupyter_launcher.models import SessionState, Volume
from jupyter_launcher.waiting import Deadline

__all__ = [
    "CLOSED_DIRECTORY",
    "OTHER_DIRECTORY",
    "StartReport",
    "describe_answer",
    "describe_closed_directory",
    "describe_directory",
    "describe_failure",
    "describe_start",
    "is_running",
    "refuse_unreachable",
    "require_running",
]

_OTHER_TOKEN = "other-token"  # noqa: S105 - a word, and no secret
"""What start.sh prints in place of server_info when a server answers that does not have our token."""
_OLD_SERVER = "old-server"
"""What start.sh prints in place of server_info when the server is one of JupyterLab 2 or Notebook 6."""
_ENTERED = "entered"
"""What await_entrypoint.sh prints on stderr as soon as the image's ENTRYPOINT has run its command."""
_WHY = "why: "
"""How what start.sh prints in place of server_info begins where it saw why the server has ended."""
_LAST_WORDS_SECONDS = 2.0
_NOT_PREPARED = 70
"""The exit code of start.sh where the server cannot be started."""
_DIRECTORY_HINT = (
    "change its owner or its mode, or start with another user=; where SELinux forbids it, pipeline_relabel='z', or "
    "in a swarm `chcon -t container_file_t` on each node"
)
OTHER_DIRECTORY = 71
"""The exit code of start.sh and start_gateway.sh where another directory is mounted than the launcher looked at."""
CLOSED_DIRECTORY = 72
"""The exit code of start.sh where its user can't enter or read the directory, of start_gateway.sh: can't enter it."""
_UNWRITABLE_DIRECTORY = 73
"""The exit code of start.sh where its user can't write to the directory."""
_UNWRITABLE_HOME = 75
"""The exit code of start.sh where its user can't write to the home that was given."""
_WEAKER = "the engine of the node gives no service"
"""How what no_new_privileges.sh prints begins where it goes on all the same."""
_PRIVILEGES = 76
"""The exit code of no_new_privileges.sh where the container lets processes get new privileges."""
_KILLED = 137
_SHOWN = 200  # characters
_NOT_FOUND = 127
_CANNOT_RUN = (126, _NOT_FOUND)
_NEEDED = "use an image with `sh` and JupyterLab 3 or newer that this user may run, or start with another user="


@dataclass(frozen=True, slots=True, kw_only=True)
class StartReport:
    """What start.sh and await_entrypoint.sh printed on stderr.

    Attributes:
        entered: the image's ENTRYPOINT has run its command.
        warnings: what works but not as asked; where the script failed, what it says about that.
    """

    entered: bool
    warnings: tuple[str, ...]

    @classmethod
    def from_stderr(cls, text: str) -> StartReport:
        """Parse all that was printed there."""
        lines = [line for line in text.splitlines() if line.strip()]
        return cls(
            entered=_ENTERED in lines,
            warnings=tuple(line for line in lines if line != _ENTERED),
        )


def describe_start(
    engine: Engine,
    container: str,
    pipeline_dir: Path | Volume,
    home: str | Volume | None,
    error: ExecError,
    entrypoint: tuple[str, ...],
    deadline: Deadline,
) -> PipelineDirError | OptionError | ServerError:
    """The error for a start.sh that did not run, or that failed.

    ``entrypoint`` is the image's that runs before; empty: there is none.
    """
    report = StartReport.from_stderr(error.output if error.started else "")
    said = "; ".join(text for text in report.warnings if not text.startswith(_WEAKER))
    found = describe_directory(pipeline_dir, error.exit_code, said) if error.started else None
    if found is not None:
        return found
    if error.started and error.exit_code == _UNWRITABLE_HOME:
        msg = f"home {home} cannot be used: {said}"
        return PipelineDirError(msg, hint="change its owner or its mode, or give another home=", path=str(home))
    if error.started and error.exit_code == _PRIVILEGES:
        info = engine.inspect(container)
        node = "its node" if info is None or not info.node else f"node {info.node}"
        msg = f"the session would not have no-new-privileges: the engine of {node} gives it to no service"
        hint = "use Docker 25 or newer there, leave that node out by constraints=, or accept it: Swarm(weaker=True)"
        return OptionError(msg, hint=hint, option="swarm")
    if error.started and error.exit_code == _NOT_PREPARED:
        msg = f"the server in container {container[:12]} could not be prepared: {said or error.message}"
        hint = "see that the image has sh, mkfifo and od, and that /tmp or HOME can be written"
        return ServerStartError(msg, hint=hint, exit_code=error.exit_code, log_tail=engine.log_tail(container))
    if error.started is False:  # the container may be about to end
        _await_end(engine, container, deadline)
    if error.started is False and is_running(engine, container):
        msg = f"the server in container {container[:12]} could not be started: {error.message}"
        hint = error.hint  # the engine's, where it refused
        if error.exit_code is not None:
            hint = "see that the image has sh on its PATH, and that no item of lab_args is longer than 128 KiB"
        log = engine.log_tail(container)
        return ServerStartError(msg, hint=hint, exit_code=error.exit_code, log_tail=log)
    waiting = () if report.entered else entrypoint
    # The engine's words about a command that it killed, or that came too late, say nothing about the cause.
    is_known = error.exit_code not in (None, _KILLED) if error.started else error.exit_code == _NOT_FOUND
    cause = error.message if is_known and not waiting else ""
    return describe_failure(engine, container, error.message, deadline, cause=cause, entrypoint=waiting)


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
    if exit_code == OTHER_DIRECTORY:
        msg = f"{path} led to another directory when it was mounted than when it was looked at: {seen.strip()}"
        hint = "start again; if that gives the same, see who moves or links directories on this path"
    elif exit_code in (CLOSED_DIRECTORY, _UNWRITABLE_DIRECTORY):
        msg = f"pipeline dir {path} cannot be used: {seen.strip()}"
        hint = _DIRECTORY_HINT
        if exit_code == _UNWRITABLE_DIRECTORY:
            hint += "; where nothing is to be saved, pipeline_read_only=True"
    else:
        return None
    return PipelineDirError(msg, hint=hint, path=str(path))


def describe_answer(engine: Engine, container: str, answer: str, deadline: Deadline) -> ServerError | None:
    """The error for what start.sh printed in place of server_info; None: it is no such word."""
    if answer.startswith(_WHY):
        return describe_failure(engine, container, answer.removeprefix(_WHY), deadline, hint=_NEEDED)
    if answer == _OTHER_TOKEN:
        msg = f"the server in container {container[:12]} answers, but its server_info does not have our token"
        hint = "take what sets a token or a runtime dir, or switches tokens off, out of the image's configuration"
        return ServerInfoError(msg, hint=hint, log_tail=engine.log_tail(container))
    if answer == _OLD_SERVER:
        msg = f"the server in container {container[:12]} is one of JupyterLab 2 or Notebook 6"
        hint = "a session needs JupyterLab 3 or newer: install it in the image, or use another image"
        return ServerStartError(msg, hint=hint, log_tail=engine.log_tail(container))
    return None


def describe_failure(
    engine: Engine,
    container: str,
    seen: str,
    deadline: Deadline,
    *,
    cause: str | None = None,
    hint: str = "",
    entrypoint: tuple[str, ...] = (),
) -> ServerError:
    """The error for a server that is not ready: it ended, with exit code and log, or it is late.

    Args:
        engine: of the container.
        container: its id.
        seen: what was seen last.
        deadline: of the start.
        cause: of its end, if it has ended; empty: nobody knows. None: ``seen`` says it.
        hint: what to do about that cause; empty: what its exit code suggests.
        entrypoint: the image's, which has not run its command; empty: there is none, or it has.
    """
    _await_end(engine, container, deadline)
    info = engine.inspect(container)
    if info is None:
        msg = f"container {container[:12]} was removed by somebody else while its server started: {seen}"
        return ServerStartError(msg, hint="start the session again")
    log = engine.log_tail(container)
    if info.running:
        return _describe_late(info, seen, deadline, log, entrypoint)
    cause = seen if cause is None else cause
    if not cause and info.exit_code == _NOT_FOUND:  # nothing of ours has run, which would have said what is missing
        cause = "the image has no `sh` on its PATH"
    msg = f"the server in container {info.name} ended with exit code {info.exit_code} before it was ready"
    msg, hint = msg + (f": {cause}" if cause else ""), hint or _advise(info)
    if entrypoint and not info.oom_killed:
        seen = f"ended with exit code {info.exit_code}, without running its command"
        msg = f"the image's ENTRYPOINT {_show(entrypoint)} {seen}"
        hint = 'see its log; where it does not run its arguments at last (`exec "$@"`), start with entrypoint=False'
    return ServerStartError(msg, hint=hint, exit_code=info.exit_code, oom_killed=info.oom_killed, log_tail=log)


def _await_end(engine: Engine, container: str, deadline: Deadline) -> None:
    """A container follows its server soon; wait a moment for its exit code."""
    patience = 0.0 if deadline.expired() else min(_LAST_WORDS_SECONDS, deadline.remaining())
    with contextlib.suppress(EngineError):
        engine.wait(container, Deadline(patience))


def _describe_late(
    info: ContainerInfo, seen: str, deadline: Deadline, log: str, entrypoint: tuple[str, ...]
) -> ServerTimeoutError:
    seconds = deadline.elapsed()
    msg = f"the server in container {info.name} was not ready after {seconds:.1f} s: {seen}"
    hint = "raise timeouts.start if it only needs longer"
    if entrypoint:
        msg = f"the image's ENTRYPOINT {_show(entrypoint)} did not run its command within {seconds:.1f} s"
        hint += "; if it never does, start with entrypoint=False"
    return ServerTimeoutError(msg, hint=hint, oom_killed=info.oom_killed, log_tail=log, seconds=seconds)


def _show(entrypoint: tuple[str, ...]) -> str:
    text = str(list(entrypoint))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _advise(info: ContainerInfo) -> str:
    """What to do about a server that ended before it was ready."""
    if info.oom_killed:
        return "out of memory: raise memory="
    if info.error:
        return info.error
    if info.exit_code in _CANNOT_RUN:
        return "see that sh and jupyter are on the image's PATH, and that lab_args and the environment are not too long"
    return "see lab_args and the image"


def is_running(engine: Engine, container: str) -> bool:
    """Whether the engine says that a container runs."""
    info = engine.inspect(container)
    return info is not None and info.running


def require_running(info: ContainerInfo | None, session_id: str) -> ContainerInfo:
    """A session's container that runs, or is paused.

    Raises:
        SessionNotFoundError: it was removed.
        ServerNotRunningError: it has ended.
    """
    if info is None:
        msg = f"session {session_id} is gone: its container was removed"
        raise SessionNotFoundError(msg, hint="start it again", session_id=session_id)
    if not info.running:
        msg = f"session {session_id} does not run ({info.state}, exit code {info.exit_code})"
        raise ServerNotRunningError(
            msg,
            hint="start it again with the same session_id, or stop it",
            exit_code=info.exit_code,
            oom_killed=info.oom_killed,
            session_id=session_id,
        )
    return info


def refuse_unreachable(info: ContainerInfo, session_id: str) -> None:
    """Say of a session in a swarm that its node is away: nobody can tell more, and it may go on there.

    Raises:
        EngineUnavailableError: it is.
    """
    if SessionState.of_container(info.state) is SessionState.UNREACHABLE:
        seen = info.error or f"node {info.node} is away"
        msg = f"nobody can reach session {session_id}: {seen}"
        hint = (
            "see `docker node ls`: where the node is down, the swarm ends the session when it comes back; else the "
            "session may go on. It can be stopped and started again, but may write to its directory until it ends"
        )
        raise EngineUnavailableError(msg, hint=hint, endpoint=info.host)

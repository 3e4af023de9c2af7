"""``start``: a session from the command line, which may stay in the foreground or open a browser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jupyter_launcher.cli.options import (
    CommandContext,
    GlobalOptionsCommand,
    engine_socket_option,
    interrupt_on_signals,
    pass_context,
    root_options,
)
from jupyter_launcher.cli.output import describe_session, session_document
from jupyter_launcher.cli.values import read_options, start_options
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.models import Volume

if TYPE_CHECKING:
    from jupyter_launcher.sessions.session import Session

__all__ = ["start"]


@click.command(cls=GlobalOptionsCommand, short_help="Start JupyterLab for the pipeline in DIR.")
@click.argument("directory", metavar="DIR")
@start_options
@click.option("--open", "browse", is_flag=True, help="Open it in the browser.")
@click.option(
    "--foreground",
    is_flag=True,
    help="Stay in the foreground; Ctrl-C stops the session gracefully, a second one kills it.",
)
@root_options
@engine_socket_option
@pass_context
def start(
    state: CommandContext,
    /,
    directory: str,
    browse: bool,
    foreground: bool,
    roots: tuple[Path, ...],
    allow_engine_socket: bool,
    engine_socket: str | None,
    **options: Any,
) -> None:
    """Start JupyterLab for the pipeline in DIR, and print where it is, its token included.

    DIR may be a named volume of the engine: volume:NAME. A directory of such a name is ./volume:NAME.

    Example: jupyter-launcher start my-pipeline --gateway my-gateway --open
    """
    rules = {"roots": roots or None, "allow_engine_socket": allow_engine_socket, "engine_socket": engine_socket}
    with interrupt_on_signals(), state.launcher(**rules) as launcher:
        session = launcher.start(Volume.from_text(directory) or directory, **read_options(options))
        with _stop_at_end(state, session) if foreground else contextlib.nullcontext():
            state.result(session_document(session, token=True), describe_session(session, token=True))
            if not foreground:
                state.note(f"stop it with: {state.line} stop {session.id}")
            if browse:
                _open_browser(state, session)
            if foreground:
                _run_in_foreground(state, session)


@contextlib.contextmanager
def _stop_at_end(state: CommandContext, session: Session) -> Iterator[None]:
    try:
        yield
    finally:
        state.stop_drawing()
        try:
            session.stop()
        except KeyboardInterrupt:
            session.stop()  # the container is gone by now; this is for its kernels on a gateway
            raise


def _open_browser(state: CommandContext, session: Session) -> None:
    from jupyter_launcher.cli.browser import open_once

    if not open_once(session.lab_url):
        state.note(f"no browser opened the page; open it yourself: {state.line} url {session.id} --show-token")


def _run_in_foreground(state: CommandContext, session: Session) -> None:
    from jupyter_launcher.errors import ServerNotRunningError
    from jupyter_launcher.models import SessionState

    state.note("Ctrl-C stops the session")
    try:
        status = session.wait()
    except KeyboardInterrupt:
        state.note("stopping the session; Ctrl-C again kills it")
        raise
    if status.state is SessionState.GONE or status.exit_code == 0:
        state.note("the session was stopped")
        return
    log = ""
    with contextlib.suppress(LauncherError):  # somebody may remove the container at this moment
        log = session.logs(tail=20)
    msg = f"the session ended by itself with exit code {status.exit_code}"
    hint = "out of memory: give it more with --memory" if status.oom_killed else "see its log"
    raise ServerNotRunningError(
        msg, hint=hint, exit_code=status.exit_code, oom_killed=status.oom_killed, log_tail=log, session_id=session.id
    )

"""The command: the library's verbs. Results on stdout, everything else on stderr.

Modules that take long to import are imported where they are needed, so that help comes at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from jupyter_launcher._version import __version__
from jupyter_launcher.cli.gateways.commands import gateway, gateways, stop_gateway
from jupyter_launcher.cli.gateways.output import gateway_rows
from jupyter_launcher.cli.options import (
    ID,
    NAME,
    CommandContext,
    LauncherGroup,
    complete_id,
    directory_options,
    full_id,
    pass_context,
    stop_each,
)
from jupyter_launcher.cli.output import (
    describe_session,
    format_columns,
    format_line,
    session_document,
    summary_document,
)
from jupyter_launcher.cli.start import start
from jupyter_launcher.cli.work import cp, execute, run, run_notebook
from jupyter_launcher.errors import OptionError, SessionError

if TYPE_CHECKING:
    from jupyter_launcher.models import GatewaySummary, SessionSummary, StopReport

__all__ = ["cli"]

_COMPLETE = "_JUPYTER_LAUNCHER_COMPLETE"


@click.group(cls=LauncherGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Start JupyterLab in a container beside a pipeline, find it again, and end it.

    IDs may be shortened as long as they are unique. Global options may stand before or after the command.

    Example: jupyter-launcher start my-pipeline --open
    """


for _command in (start, execute, run_notebook, run, cp, gateway, gateways, stop_gateway):
    cli.add_command(_command)


@cli.command("list", short_help="List the sessions.")
@click.option("--no-probe", is_flag=True, help="Ask the engine alone, and no server: sessions that run are `unprobed`.")
@pass_context
def list_(state: CommandContext, *, no_probe: bool) -> None:
    """List the sessions of the namespace, in every state; in a swarm, with their nodes.

    Below them the gateways of the library, but for those that are of one unit with a session.

    Example: jupyter-launcher list --format json
    """
    is_swarm = state.swarm_words.swarm
    with state.launcher() as launcher:
        found = launcher.list(probe=not no_probe)
        gateways = () if is_swarm or state.json else launcher.gateways()
    state.result([summary_document(item) for item in found], _format_list(found, gateways, is_swarm=is_swarm))
    for item in found:
        if item.detail:
            state.note(item.detail)


def _format_list(found: Sequence[SessionSummary], gateways: Sequence[GatewaySummary], *, is_swarm: bool) -> str:
    """The sessions, and the gateways that are not of one unit with one of them."""
    columns: dict[str, Callable[[SessionSummary], object]] = {
        "ID": lambda item: item.session_id,
        "STATE": lambda item: item.state.value,
        "STATUS": lambda item: item.status,
        "NODE": lambda item: item.node or "-",
        "KERNELS": lambda item: len(item.kernels) or "-",
        "GATEWAY": lambda item: item.gateway or "-",
        "PIPELINE DIR": lambda item: item.pipeline_dir or "-",
    }
    if not is_swarm:
        del columns["NODE"]
    if not any(item.kernels for item in found):
        del columns["KERNELS"]
    text = format_columns([tuple(columns), *([read(item) for read in columns.values()] for item in found)])
    listed = {item.session_id for item in found}
    rest = [item for item in gateways if item.session_id not in listed]
    return f"{text}\n\n{format_columns(gateway_rows(rest))}" if rest else text


@cli.command(short_help="Show a running session.")
@ID
@click.option("--show-token", is_flag=True, help="The token too.")
@pass_context
def info(state: CommandContext, session_id: str, show_token: bool) -> None:
    """Show a running session.

    Example: jupyter-launcher info 3f2a --format json
    """
    with state.launcher() as launcher:
        session = launcher.get(full_id(launcher, session_id))
        state.result(session_document(session, token=show_token), describe_session(session, token=show_token))


@cli.command(short_help="Print a session's URL.")
@ID
@click.option("--show-token", is_flag=True, help="The token too; a pipe or a file gets it anyway.")
@pass_context
def url(state: CommandContext, session_id: str, show_token: bool) -> None:
    """Print where a running session is; with the token when asked, and when stdout is not a terminal.

    Example: firefox "$(jupyter-launcher url 3f2a)"
    """
    with state.launcher() as launcher:
        session = launcher.get(full_id(launcher, session_id))
        token = show_token or not sys.stdout.isatty()
        found = session.lab_url if token else f"{session.url}lab"
        state.result({"url": found}, found)
        if not token:
            state.note("the token is hidden here; --show-token shows it")


@cli.command(short_help="Print what a session's server printed.")
@ID
@click.option("-f", "--follow", is_flag=True, help="Continue until it ends, or Ctrl-C.")
@click.option("--tail", type=click.IntRange(min=0), metavar="LINES", help="Only so many last lines.")
@pass_context
def logs(state: CommandContext, session_id: str, follow: bool, tail: int | None) -> None:
    """Print what a session's server printed, whether it runs or not.

    Example: jupyter-launcher logs 3f2a -f --tail 20
    """
    if follow and state.json:
        msg = "--follow cannot be used with --format json"
        raise click.UsageError(msg)
    with state.launcher() as launcher:
        found = full_id(launcher, session_id)
        pieces = launcher.logs(found, tail=tail, follow=follow)
        if state.json:
            state.result({"session_id": found, "log": "".join(pieces)}, "")
            return
        for piece in pieces:
            click.echo(piece, nl=False)


@cli.command(short_help="Wait for what happens to sessions.")
@pass_context
def events(state: CommandContext) -> None:
    """Print a line for each thing that happens to a session of the namespace, such as its end, until Ctrl-C.

    With --format json each line is a document.

    Example: jupyter-launcher events --format json
    """
    with state.launcher() as launcher, launcher.events() as found:
        for event in found:
            time = datetime.fromtimestamp(event.time).astimezone().isoformat(timespec="seconds")
            code = "" if event.exit_code is None else f"exit code {event.exit_code}"
            row = (time, event.session_id, event.kind.value, code)
            click.echo(format_line(event) if state.json else format_columns([row]))


@cli.command(short_help="Stop sessions.")
@click.argument("session_ids", nargs=-1, metavar="ID...", shell_complete=complete_id)
@click.option("--all", "every", is_flag=True, help="Every session of the namespace.")
@pass_context
def stop(state: CommandContext, session_ids: tuple[str, ...], every: bool) -> None:
    """Stop sessions: the server, its kernels, the container.

    Example: jupyter-launcher stop 3f2a 77c0
    """
    if every == bool(session_ids):
        msg = "name the sessions to stop, or give --all"
        raise click.UsageError(msg)
    with state.launcher() as launcher:

        def stop_one(given: str) -> tuple[str, StopReport]:
            session_id = full_id(launcher, given)
            return session_id, launcher.stop(session_id)

        stop_each(state, launcher.ids() if every else session_ids, "session_id", stop_one)


@cli.command(short_help="Pause a session.")
@ID
@pass_context
def pause(state: CommandContext, session_id: str) -> None:
    """Stop all processes of a session where they are: it uses no core, keeps its memory, and answers nothing.

    Example: jupyter-launcher pause 3f2a
    """
    with state.launcher() as launcher:
        found = full_id(launcher, session_id)
        launcher.pause(found)
    state.result({"session_id": found, "state": "paused"}, f"{found}  paused")


@cli.command(short_help="Let a paused session go on.")
@ID
@pass_context
def resume(state: CommandContext, session_id: str) -> None:
    """Let a paused session go on, and start its lease anew if it has one.

    Example: jupyter-launcher resume 3f2a
    """
    with state.launcher() as launcher:
        found = launcher.resume(full_id(launcher, session_id)).id
    state.result({"session_id": found, "state": "ready"}, f"{found}  ready")


@cli.command(short_help="Remove sessions that have ended, and what dead processes have left.")
@click.option("--min-age", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS")
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@pass_context
def reap(state: CommandContext, min_age: float, dry_run: bool) -> None:
    """Remove the sessions that ended by themselves or were never started; running ones are left alone.

    Gateways of the library and its short-lived containers are removed too, where they have ended or the process that
    ran them is dead, unless a running session uses them.

    Example: jupyter-launcher reap --min-age 3600 --dry-run
    """
    with state.launcher() as launcher:
        found = launcher.reap(min_age=min_age, dry_run=dry_run)
    lines = [
        f"{item.session_id or item.name}  {item.reason}  {'would be removed' if dry_run else item.error or 'removed'}"
        for item in found
    ]
    state.result(found, "\n".join(lines))
    if any(item.error for item in found):
        click.get_current_context().exit(SessionError.command_exit_code)


@cli.command(short_help="Build an image.")
@click.argument("name", default="jupyter-server", type=click.Choice(["jupyter-server", "kernel-gateway", "notebook"]))
@click.option("--base-image", help="An image with Python to build upon.")
@click.option(
    "--ca-certificate",
    "ca_certificates",
    multiple=True,
    type=click.Path(path_type=Path),
    help="PEM file, to be trusted.",
)
@click.option("--index-url", help="The package index for pip.")
@click.option("--proxy", help="For HTTP and HTTPS during the build.")
@click.option(
    "--require-hashes/--no-require-hashes",
    default=True,
    help="Install only files whose hashes are pinned; without, the versions alone count.",
)
@click.option(
    "--requirement",
    "requirements",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="More packages, as pip takes them: an image of its own, whose name is printed, for --image of start.",
)
@click.option("--tag", help="Another name for the image.")
@click.option("--force", is_flag=True, help="Build anew although nothing changed.")
@pass_context
def build(state: CommandContext, /, name: str, tag: str | None, force: bool, proxy: str | None, **options: Any) -> None:
    """Build an image; nothing is done when it is there and its inputs did not change.

    Example: jupyter-launcher build --ca-certificate /etc/ssl/company.crt
    """
    from jupyter_launcher.models import BuildOptions

    with state.launcher() as launcher:
        given = BuildOptions(http_proxy=proxy, https_proxy=proxy, **options)
        built = launcher.build_image(name, tag=tag, options=given, force=force)
    state.result({"image": built}, built)


@cli.command(short_help="Check whether sessions can be started here.")
@click.argument("directory", metavar="[DIR]", required=False)
@click.option("--gateway", metavar="NAME", help="Whether a container reaches it.")
@click.option("--network", metavar="NAME", help="The network that the session would join.")
@click.option("--image", help="Instead of the default one.")
@directory_options
@pass_context
def doctor(
    state: CommandContext, /, directory: str | None, image: str | None, roots: tuple[Path, ...], **options: Any
) -> None:
    """Check everything that a session needs, from the engine to a published port, and say how to fix what fails.

    Example: jupyter-launcher doctor my-pipeline --gateway my-gateway
    """
    from jupyter_launcher.cli.checks import CheckState
    from jupyter_launcher.cli.doctor import examine
    from jupyter_launcher.engine.images import DEFAULT_IMAGE
    from jupyter_launcher.models import Volume

    if directory is not None and Volume.from_text(directory) is not None:
        msg = f"DIR is {directory}, a volume, and a look at a volume would make it"
        raise OptionError(msg, hint="leave DIR out, or give a directory", option="directory")
    checks = []
    found = examine(
        state.connect,
        swarm=state.swarm_words.make(),
        pipeline_dir=None if directory is None else Path(directory),
        image=image or DEFAULT_IMAGE,
        roots=roots or None,
        **options,
    )
    with contextlib.closing(found):  # an interrupt removes the doctor's container
        for check in found:
            checks.append(check)
            if not state.json:  # each as soon as it is known
                click.echo(f"{check.state.value:<8}  {check.name}: {check.detail}")
                if check.hint:
                    click.echo(f"{'':<8}  to fix: {check.hint}")
    if state.json:
        state.result(checks, "")
    if any(check.state is CheckState.FAILED for check in checks):
        click.get_current_context().exit(1)


@cli.command(short_help="Print the script that completes commands and IDs.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and IDs.

    Example: eval "$(jupyter-launcher completion bash)"
    """
    found = get_completion_class(shell)
    if found is None:
        msg = f"no completion for {shell}"
        raise click.UsageError(msg)
    click.echo(found(cli, {}, NAME, _COMPLETE).source())

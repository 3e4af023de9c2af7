"""``gateway``, ``gateways``, ``stop-gateway``: kernel gateways of the library."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from jupyter_launcher.cli.gateways.output import describe_gateway, gateway_document, gateway_rows
from jupyter_launcher.cli.options import (
    CommandContext,
    GlobalOptionsCommand,
    engine_socket_option,
    interrupt_on_signals,
    pass_context,
    root_options,
    stop_each,
)
from jupyter_launcher.cli.output import format_columns
from jupyter_launcher.cli.values import pick_options, read_options
from jupyter_launcher.errors import GatewayError, LauncherError
from jupyter_launcher.models import Volume

if TYPE_CHECKING:
    from jupyter_launcher.launcher import Launcher
    from jupyter_launcher.models import RunningGateway, StopReport

__all__ = ["gateway", "gateways", "stop_gateway"]

_HOUR = 3600.0
_REMOVED = -1  # as the engine tells it of a container that is not there


@click.command(cls=GlobalOptionsCommand, short_help="Run a kernel gateway for the pipeline in DIR.")
@click.argument("directory", metavar="DIR")
@pick_options(
    {
        "kernels": "",
        "isolation": "",
        "max_kernels": "",
        "kernel_idle": "",
        "image": "Of the gateway; kernels in containers need the default one.",
        "network": "The network to join; own: one that is made for it.",
        "user": "Whom its kernels run as; the directory's owner otherwise.",
        "pipeline_relabel": "",
        "timeouts": "",
    }
)
@root_options
@engine_socket_option
@click.option("-d", "--detach", is_flag=True, help="Start it, and leave it running until stop-gateway.")
@click.option("--id", "gateway_id", metavar="ID", help="With --detach: asking again with it gives the same gateway.")
@click.option("--show-token", is_flag=True, help="The token too; sessions find it without.")
@pass_context
def gateway(
    state: CommandContext,
    /,
    directory: str,
    detach: bool,
    gateway_id: str | None,
    show_token: bool,
    roots: tuple[Path, ...],
    allow_engine_socket: bool,
    engine_socket: str | None,
    **options: Any,
) -> None:
    """Run a kernel gateway for the pipeline in DIR until Ctrl-C, with kernels in containers where --kernel is given.

    NAME=IMAGE may be followed by ,memory=SIZE ,cpus=N ,gpus=... ,shm-size=SIZE ,env=NAME[=TEXT]
    ,mount=SOURCE:TARGET[:ro] ,display-name=TEXT ,argv=COMMAND or ,entrypoint=false.

    Example: jupyter-launcher gateway my-pipeline --kernel py311=team/py311:7 --kernel torch=team/torch:2,memory=8g
    """
    if gateway_id is not None and not detach:
        msg = "--id is for --detach: a gateway in the foreground ends with this command"
        raise click.UsageError(msg)
    given = read_options(options)
    place = Volume.from_text(directory) or directory
    rules = {"roots": roots or None, "allow_engine_socket": allow_engine_socket, "engine_socket": engine_socket}
    with interrupt_on_signals(), state.launcher(timeouts=given.pop("timeouts", None), **rules) as launcher:
        if detach:
            found = launcher.start_gateway(place, gateway_id=gateway_id, **given)
            _show(state, found, directory, token=show_token)
            state.note(f"stop it with: {state.line} stop-gateway {found.gateway_id}")
            return
        with launcher.run_gateway(place, **given) as found:
            _show(state, found, directory, token=show_token)
            _run_in_foreground(state, found)


def _show(state: CommandContext, found: RunningGateway, directory: str, *, token: bool) -> None:
    state.result(gateway_document(found, token=token), describe_gateway(found, token=token))
    state.note(f"use it with: {state.line} start {shlex.quote(directory)} --gateway {found.name}")


def _run_in_foreground(state: CommandContext, found: RunningGateway) -> None:
    from jupyter_launcher.errors import GatewayNotRunningError
    from jupyter_launcher.waiting import Deadline

    state.note("Ctrl-C stops the gateway and its kernels")
    with contextlib.closing(state.connect()) as engine:
        try:
            while (code := engine.wait(found.name, Deadline(_HOUR))) is None:
                continue
        except KeyboardInterrupt:
            state.note("stopping the gateway")
            raise
        if code == _REMOVED:
            state.note("the gateway was stopped")
            return
        msg = f"the gateway {found.name} ended with exit code {code}"
        log = engine.log_tail(found.name)
    raise GatewayNotRunningError(
        msg, hint="see its log", gateway=found.name, state="exited", exit_code=code, log_tail=log
    )


@click.command(cls=GlobalOptionsCommand, short_help="List the gateways that the library runs.")
@pass_context
def gateways(state: CommandContext) -> None:
    """List the gateways of the namespace, in every state, with the images of their kernels in containers.

    Example: jupyter-launcher gateways
    """
    with state.launcher() as launcher:
        found = launcher.gateways()
    state.result(found, format_columns(gateway_rows(found)))


def _complete_gateway(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    # An error during completion has no place to be shown.
    with contextlib.suppress(LauncherError), ctx.ensure_object(CommandContext).make_launcher() as launcher:
        names = sorted(item.gateway_id for item in launcher.gateways() if item.gateway_id.startswith(incomplete))
        return [CompletionItem(found) for found in names]
    return []


def _full_gateway_id(launcher: Launcher, given: str) -> str:
    """The one gateway's id that begins with what was given, or whose container has this name."""
    known = {item.gateway_id: item.name for item in launcher.gateways()}
    if given in known:
        return given
    found = sorted(item for item, name in known.items() if item.startswith(given) or name == given)
    if len(found) > 1:
        msg = f"{given!r} is the beginning of several gateways' ids: {', '.join(found)}"
        raise GatewayError(msg, hint="give more of the id", gateway=given)
    return found[0] if found else given


@click.command("stop-gateway", cls=GlobalOptionsCommand, short_help="Stop gateways with all of their kernels.")
@click.argument("gateway_ids", nargs=-1, required=True, metavar="ID...", shell_complete=_complete_gateway)
@pass_context
def stop_gateway(state: CommandContext, gateway_ids: tuple[str, ...]) -> None:
    """Stop gateways of the library, with all of their kernels, and remove what is of them.

    ID is what `gateway --detach` has printed, or its beginning, or the name of the gateway. A gateway that `start` has
    made for a session ends with the session.

    Example: jupyter-launcher stop-gateway 3f2a
    """
    with state.launcher() as launcher:

        def stop(given: str) -> tuple[str, StopReport]:
            gateway_id = _full_gateway_id(launcher, given)
            return gateway_id, launcher.stop_gateway(gateway_id)

        stop_each(state, gateway_ids, "gateway_id", stop)

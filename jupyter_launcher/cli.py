"""The command: the library's verbs. Results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jupyter_launcher import (
    BuildOptions,
    Event,
    EventKind,
    Launcher,
    LauncherError,
    Session,
    __version__,
)

__all__ = ["cli"]


_Opener = Callable[[], Launcher]


class _Command(click.Group):
    """A group whose commands end with one line on stderr instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LauncherError as error:
            click.echo(f"jupyter-launcher: {error}", err=True)
            ctx.exit(1)


def _show(event: Event) -> None:
    if event.kind is EventKind.STARTED:
        return
    took = "" if event.kind is EventKind.PROGRESS else f" {event.kind.value} after {event.seconds:.2f} s"
    click.echo(f"{event.phase.value}:{took} {event.detail}".rstrip(), err=True)


def _described(session: Session, *, token: bool) -> dict[str, Any]:
    info = session.server_info.to_dict()
    return {
        "session_id": session.id,
        "container_id": session.container_id,
        "pipeline_dir": str(session.pipeline_dir),
        "gateway": session.gateway.name if session.gateway else None,
        "url": session.url,
        "lab_url": session.lab_url if token else f"{session.url}lab",
        "internal_url": session.internal_url,
        "server_info": info if token else {**info, "token": "(hidden; --show-token)"},
    }


@click.group(cls=_Command)
@click.version_option(__version__)
@click.option("--namespace", default="default", show_default=True, help="Which orchestrator's sessions.")
@click.option("--context", default=None, help="A Docker context; the current one otherwise.")
@click.pass_context
def cli(ctx: click.Context, namespace: str, context: str | None) -> None:
    """Start JupyterLab in a container beside a pipeline, find it again, and end it."""
    ctx.obj = lambda: ctx.with_resource(Launcher(namespace=namespace, context=context, on_event=_show))


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--gateway", default=None, help="A gateway's container (NAME or NAME:PORT), or its URL.")
@click.option("--network", default=None, help="The network to join; needed when the gateway is on several.")
@click.option("--session-id", default=None, help="Asking again with the same id gives the same session.")
@click.option("--port", type=int, default=None, help="The host's port; a free one otherwise.")
@click.option("--image", default=None, help="Any image with sh and jupyter on its PATH.")
@click.pass_obj
def start(
    launcher: _Opener,
    directory: Path,
    gateway: str | None,
    network: str | None,
    session_id: str | None,
    port: int | None,
    image: str | None,
) -> None:
    """Start a session for the pipeline in DIRECTORY, and print it as JSON with its token.

    Example: jupyter-launcher start my-pipeline --gateway enterprise-gateway
    """
    session = launcher().start(
        directory, gateway=gateway, network=network, session_id=session_id, host_port=port, image=image
    )
    click.echo(json.dumps(_described(session, token=True), indent=2))


@cli.command("list")
@click.pass_obj
def list_(launcher: _Opener) -> None:
    """List the sessions of the namespace.

    Example: jupyter-launcher --namespace ide list
    """
    for item in launcher().list():
        click.echo(f"{item.session_id}\t{item.state.value}\t{item.status}\t{item.pipeline_dir}")


@cli.command()
@click.argument("session_id")
@click.option("--show-token", is_flag=True, help="Print the token too.")
@click.pass_obj
def info(launcher: _Opener, session_id: str, show_token: bool) -> None:
    """Print a running session as JSON.

    Example: jupyter-launcher info 3f2a9c --show-token
    """
    click.echo(json.dumps(_described(launcher().get(session_id), token=show_token), indent=2))


@cli.command()
@click.argument("session_ids", nargs=-1, required=True)
@click.pass_obj
def stop(launcher: _Opener, session_ids: tuple[str, ...]) -> None:
    """Stop sessions: the server, its kernels, the container.

    Example: jupyter-launcher stop 3f2a9c
    """
    opened = launcher()
    for session_id in session_ids:
        report = opened.stop(session_id)
        kernels = f"{len(report.kernels_gone)} of {len(report.kernels)} kernels gone"
        click.echo(f"{session_id}\t{report.method.value}\t{report.seconds:.2f} s\t{kernels}")


@cli.command()
@click.argument("name", default="jupyter-server", type=click.Choice(["jupyter-server", "enterprise-gateway"]))
@click.option("--base-image", default=None, help="An image with Python to build upon.")
@click.option(
    "--ca-certificate",
    "certificates",
    multiple=True,
    type=click.Path(path_type=Path),
    help="PEM file; may be repeated.",
)
@click.option("--index-url", default=None, help="The package index for pip.")
@click.option("--proxy", default=None, help="For HTTP and HTTPS during the build.")
@click.option("--tag", default=None, help="Another name for the image.")
@click.option("--force", is_flag=True, help="Build anew although nothing changed.")
@click.pass_obj
def build(launcher: _Opener, /, name: str, tag: str | None, force: bool, **given: Any) -> None:
    """Build an image; nothing is done when it is there and its inputs did not change.

    Example: jupyter-launcher build --ca-certificate /etc/ssl/company.crt
    """
    options = BuildOptions(
        base_image=given["base_image"],
        ca_certificates=given["certificates"],
        index_url=given["index_url"],
        http_proxy=given["proxy"],
        https_proxy=given["proxy"],
    )
    click.echo(launcher().build_image(name, tag=tag, options=options, force=force))

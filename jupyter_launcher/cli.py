"""The command: the library's verbs. Results on stdout, everything else on stderr.

Whatever takes long to import is imported where it is needed, so that help comes at once.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from jupyter_launcher._version import __version__
from jupyter_launcher.cli_output import (
    EXIT_CODES,
    columns,
    document,
    error_document,
    exit_code,
    session_document,
)
from jupyter_launcher.errors import LauncherError, SessionError

if TYPE_CHECKING:
    from jupyter_launcher.cli_progress import Progress
    from jupyter_launcher.launcher import Launcher
    from jupyter_launcher.session import Session

__all__ = ["cli"]

_INTERRUPTED = 130
_NAME = "jupyter-launcher"
_COMPLETE = "_JUPYTER_LAUNCHER_COMPLETE"


class _State:
    """The global options of one call, wherever on the line they stood."""

    def __init__(self) -> None:
        self.format = "table"
        self.context: str | None = None
        self.namespace = "default"
        self.progress = "auto"
        self.verbose = False
        self.quiet = False
        self._shown: Progress | None = None

    @property
    def json(self) -> bool:
        return self.format == "json"

    @contextlib.contextmanager
    def launcher(self) -> Iterator[Launcher]:
        """A launcher whose events are shown."""
        from jupyter_launcher.cli_progress import progress
        from jupyter_launcher.launcher import Launcher

        self._shown = progress("none" if self.quiet else self.progress)
        try:
            with Launcher(namespace=self.namespace, context=self.context, on_event=self._shown.show) as launcher:
                yield launcher
        finally:
            self.settle()

    def settle(self) -> None:
        """Stop drawing, so that something else can be written."""
        if self._shown is not None:
            self._shown.settle()

    def result(self, value: object, text: str) -> None:
        """Write what was asked for: as one document, or as text where there is any."""
        self.settle()
        if self.json:
            click.echo(document(value))
        elif text:
            click.echo(text)

    def note(self, text: str) -> None:
        """Write what a person may want to know besides."""
        self.settle()
        if not self.quiet:
            click.echo(text, err=True)


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        setattr(ctx.ensure_object(_State), str(option.name), value)
        if option.name == "verbose":
            import logging

            logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
            logging.getLogger("jupyter_launcher").setLevel(logging.DEBUG)


def _global_options() -> list[click.Option]:
    given: Any = {"expose_value": False, "callback": _remember}
    return [
        click.Option(["--format"], type=click.Choice(["table", "json"]), help="json: one document on stdout.", **given),
        click.Option(["--context"], help="A Docker context; the current one otherwise.", **given),
        click.Option(["--namespace"], help="Which orchestrator's sessions; 'default' otherwise.", **given),
        click.Option(
            ["--progress"],
            type=click.Choice(["auto", "rich", "plain", "none"]),
            help="What to show on stderr meanwhile.",
            **given,
        ),
        click.Option(["-v", "--verbose"], is_flag=True, help="Log what is done; show tracebacks.", **given),
        click.Option(["-q", "--quiet"], is_flag=True, help="Only results and errors.", **given),
    ]


class _Globals(click.Command):
    """Takes the global options too, and shows them in a section of their own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._globals = _global_options()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *self._globals]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [item for item in super().get_params(ctx) if isinstance(item, click.Option)]
        for title, params in (("Options", own), ("Global options", self._globals)):
            records = [record for item in params if (record := item.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class _Group(_Globals, click.Group):
    """The command as a whole: ends with one line on stderr and the code of its error, never with a traceback."""

    command_class = _Globals

    def invoke(self, ctx: click.Context) -> Any:
        state = ctx.ensure_object(_State)
        try:
            return super().invoke(ctx)
        except LauncherError as error:
            self._tell(state, str(error))
            if state.json:
                click.echo(document(error_document(error)))
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            self._tell(state, "interrupted")
            ctx.exit(_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours, which is told as such
            self._tell(state, f"this should not happen, -v shows where it did: {type(error).__name__}: {error}")
            ctx.exit(1)

    def _tell(self, state: _State, text: str) -> None:
        if state.verbose:
            import traceback

            traceback.print_exc()
        click.echo(f"{_NAME}: {text}", err=True)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        codes = [(str(code), branch.__name__) for branch, code in EXIT_CODES.items()]
        with formatter.section("Exit codes"):
            formatter.write_dl(
                [("0", "done"), ("1", "doctor found something, or a bug"), *codes, (str(_INTERRUPTED), "Ctrl-C")]
            )
        super().format_epilog(ctx, formatter)


_pass_state = click.make_pass_decorator(_State, ensure=True)


def _complete_id(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    # What goes wrong while somebody presses the tab key has no place to be told.
    with contextlib.suppress(LauncherError):
        from jupyter_launcher.launcher import Launcher

        state = ctx.ensure_object(_State)
        with Launcher(namespace=state.namespace, context=state.context) as launcher:
            return [CompletionItem(found) for found in sorted(launcher.ids()) if found.startswith(incomplete)]
    return []


def _full_id(launcher: Launcher, given: str) -> str:
    """The one session id that begins with what was given."""
    known = launcher.ids()
    found = [given] if given in known else sorted(item for item in known if item.startswith(given))
    if len(found) > 1:
        msg = f"{given!r} begins several session ids: {', '.join(found)}; give more of it"
        raise SessionError(msg, session_id=given)
    return found[0] if found else given


_ID = click.argument("session_id", metavar="ID", shell_complete=_complete_id)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Start JupyterLab in a container beside a pipeline, find it again, and end it.

    IDs may be shortened as long as they stay clear. Global options may stand before or after the command.

    Example: jupyter-launcher start my-pipeline --open
    """


@cli.command(short_help="Start JupyterLab for the pipeline in DIR.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--gateway", metavar="NAME", help="A kernel gateway: its container (NAME or NAME:PORT), or its URL.")
@click.option("--network", metavar="NAME", help="The network to join; needed when the gateway is on several.")
@click.option("--session-id", metavar="ID", help="Asking again with the same id gives the same session.")
@click.option("--port", type=int, help="The host's port; a free one otherwise.")
@click.option("--image", help="Any image with sh and jupyter on its PATH.")
@click.option("--memory", metavar="SIZE", help="The most it may use, such as 2g.")
@click.option("--cpus", type=float, help="The most cores it may use, such as 1.5.")
@click.option("--open", "browse", is_flag=True, help="Open it in the browser.")
@click.option("--foreground", is_flag=True, help="Stay; Ctrl-C stops it gracefully, a second one at once.")
@_pass_state
def start(state: _State, /, directory: Path, port: int | None, browse: bool, foreground: bool, **options: Any) -> None:
    """Start JupyterLab for the pipeline in DIR, and print where it is, its token included.

    Example: jupyter-launcher start my-pipeline --gateway enterprise-gateway --open
    """
    with _ended_by_signals(), state.launcher() as launcher:
        session = launcher.start(directory, host_port=port, **options)
        with _stopped_after(state, session) if foreground else contextlib.nullcontext():
            state.result(session_document(session, token=True), _described(session, token=True))
            if browse:
                _open(state, session)
            if foreground:
                _stay(state, session)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A terminal that closes, and a service manager that stops us, end what goes on as Ctrl-C does."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stopped_after(state: _State, session: Session) -> Iterator[None]:
    try:
        yield
    finally:
        state.settle()
        try:
            session.stop()
        except KeyboardInterrupt:
            session.stop()  # its container is gone by now; this is for its kernels on a gateway
            raise


def _open(state: _State, session: Session) -> None:
    from jupyter_launcher.cli_browser import open_once

    if not open_once(session.lab_url):
        state.note(f"no browser came; open it yourself: {_NAME} url {session.id} --show-token")


def _stay(state: _State, session: Session) -> None:
    from jupyter_launcher.errors import ServerNotRunningError
    from jupyter_launcher.models import SessionState

    state.note("Ctrl-C stops it")
    try:
        status = session.wait()
    except KeyboardInterrupt:
        state.note("stopping; Ctrl-C again ends it at once")
        raise
    if status.state is SessionState.GONE or status.exit_code == 0:
        state.note("it was stopped")
        return
    log = ""
    with contextlib.suppress(LauncherError):  # somebody may remove it at this very moment
        log = session.logs(tail=20)
    msg = f"the session ended by itself with exit code {status.exit_code}; its log ends:\n{log}"
    raise ServerNotRunningError(
        msg, exit_code=status.exit_code, oom_killed=status.oom_killed, log_tail=log, session_id=session.id
    )


def _described(session: Session, *, token: bool) -> str:
    rows = [
        ("session", session.id),
        ("pipeline dir", session.pipeline_dir),
        ("gateway", session.gateway.name if session.gateway else "none: kernels run beside the server"),
        ("container", session.container_name),
        ("for containers", session.internal_url),
        ("url", session.lab_url if token else f"{session.url}lab"),
    ]
    return columns(rows)


@cli.command("list", short_help="List the sessions.")
@_pass_state
def list_(state: _State) -> None:
    """List the sessions of the namespace, in every state.

    Example: jupyter-launcher list --format json
    """
    with state.launcher() as launcher:
        found = launcher.list()
    rows = [(item.session_id, item.state.value, item.status, item.gateway or "-", item.pipeline_dir) for item in found]
    state.result(found, columns([("ID", "STATE", "STATUS", "GATEWAY", "PIPELINE DIR"), *rows]))


@cli.command(short_help="Show a running session.")
@_ID
@click.option("--show-token", is_flag=True, help="The token too.")
@_pass_state
def info(state: _State, session_id: str, show_token: bool) -> None:
    """Show a running session.

    Example: jupyter-launcher info 3f2a --format json
    """
    with state.launcher() as launcher:
        session = launcher.get(_full_id(launcher, session_id))
        state.result(session_document(session, token=show_token), _described(session, token=show_token))


@cli.command(short_help="Print a session's URL.")
@_ID
@click.option("--show-token", is_flag=True, help="The token too; a pipe or a file gets it anyway.")
@_pass_state
def url(state: _State, session_id: str, show_token: bool) -> None:
    """Print where a running session is; with the token when asked, and when stdout is not a terminal.

    Example: firefox "$(jupyter-launcher url 3f2a)"
    """
    with state.launcher() as launcher:
        session = launcher.get(_full_id(launcher, session_id))
        token = show_token or not sys.stdout.isatty()
        found = session.lab_url if token else f"{session.url}lab"
        state.result({"url": found}, found)
        if not token:
            state.note("the token is hidden here; --show-token shows it")


@cli.command(short_help="Print what a session's server printed.")
@_ID
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends, or Ctrl-C.")
@click.option("--tail", type=click.IntRange(min=0), metavar="LINES", help="Only so many last lines.")
@_pass_state
def logs(state: _State, session_id: str, follow: bool, tail: int | None) -> None:
    """Print what a session's server printed, in whatever state it is.

    Example: jupyter-launcher logs 3f2a -f --tail 20
    """
    if follow and state.json:
        msg = "a document has an end; give --follow or --format json"
        raise click.UsageError(msg)
    with state.launcher() as launcher:
        found = _full_id(launcher, session_id)
        pieces = launcher.logs(found, tail=tail, follow=follow)
        if state.json:
            state.result({"session_id": found, "log": "".join(pieces)}, "")
            return
        for piece in pieces:
            click.echo(piece, nl=False)


@cli.command(short_help="Stop sessions.")
@click.argument("session_ids", nargs=-1, metavar="ID...", shell_complete=_complete_id)
@click.option("--all", "every", is_flag=True, help="Every session of the namespace.")
@_pass_state
def stop(state: _State, session_ids: tuple[str, ...], every: bool) -> None:
    """Stop sessions: the server, its kernels, the container.

    Example: jupyter-launcher stop 3f2a 77c0
    """
    if every == bool(session_ids):
        msg = "name the sessions to stop, or give --all"
        raise click.UsageError(msg)
    documents: list[dict[str, Any]] = []
    errors: list[LauncherError] = []
    lines: list[str] = []
    with state.launcher() as launcher:
        for given in launcher.ids() if every else session_ids:
            try:
                session_id = _full_id(launcher, given)
                report = launcher.stop(session_id)
            except LauncherError as error:  # the others have their turn all the same
                errors.append(error)
                documents.append({"session_id": given, **error_document(error)})
                continue
            documents.append({"session_id": session_id, "report": report})
            kernels = f"{len(report.kernels_gone)} of {len(report.kernels)} kernels gone"
            lines.append(f"{session_id}  {report.method.value}  {report.seconds:.2f} s  {kernels}")
    state.result(documents, "\n".join(lines))
    for failed in errors:
        click.echo(f"{_NAME}: {failed}", err=True)
    if errors:
        click.get_current_context().exit(exit_code(errors[0]))


@cli.command(short_help="Remove what is dead.")
@click.option("--min-age", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@_pass_state
def reap(state: _State, min_age: float, dry_run: bool) -> None:
    """Remove the sessions that ended by themselves or were never finished; no running one is touched.

    Example: jupyter-launcher reap --min-age 3600 --dry-run
    """
    with state.launcher() as launcher:
        found = launcher.reap(min_age=min_age, dry_run=dry_run)
    outcomes = ("would be removed" if dry_run else item.error or "removed" for item in found)
    lines = [f"{item.session_id}  {item.reason}  {outcome}" for item, outcome in zip(found, outcomes, strict=True)]
    state.result(found, "\n".join(lines))
    if any(item.error for item in found):
        click.get_current_context().exit(exit_code(SessionError("")))


@cli.command(short_help="Build an image.")
@click.argument("name", default="jupyter-server", type=click.Choice(["jupyter-server", "enterprise-gateway"]))
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
@click.option("--tag", help="Another name for the image.")
@click.option("--force", is_flag=True, help="Build anew although nothing changed.")
@_pass_state
def build(state: _State, /, name: str, tag: str | None, force: bool, proxy: str | None, **options: Any) -> None:
    """Build an image; nothing is done when it is there and its inputs did not change.

    Example: jupyter-launcher build --ca-certificate /etc/ssl/company.crt
    """
    from jupyter_launcher.models import BuildOptions

    with state.launcher() as launcher:
        given = BuildOptions(http_proxy=proxy, https_proxy=proxy, **options)
        built = launcher.build_image(name, tag=tag, options=given, force=force)
    state.result({"image": built}, built)


@cli.command(short_help="See whether sessions can be started here.")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--gateway", metavar="NAME", help="Whether a container reaches it.")
@click.option("--network", metavar="NAME", help="The network that the session would join.")
@click.option("--image", help="Instead of the default one.")
@_pass_state
def doctor(state: _State, directory: Path | None, gateway: str | None, network: str | None, image: str | None) -> None:
    """Look from the engine up whether a session could be started here, and say how to mend what is not so.

    Example: jupyter-launcher doctor my-pipeline --gateway enterprise-gateway
    """
    from jupyter_launcher.doctor import CheckState, examine
    from jupyter_launcher.engine import Engine
    from jupyter_launcher.engine_image import DEFAULT_IMAGE

    checks = []
    for check in examine(
        lambda: Engine.connect(context=state.context),
        pipeline_dir=directory,
        gateway=gateway,
        network=network,
        image=image or DEFAULT_IMAGE,
    ):
        checks.append(check)
        if not state.json:  # each as soon as it is known
            click.echo(f"{check.state.value:<8}  {check.name}: {check.detail}")
            if check.mend:
                click.echo(f"{'':<8}  to mend: {check.mend}")
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
    click.echo(found(cli, {}, _NAME, _COMPLETE).source())

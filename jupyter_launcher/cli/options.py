"""The global options of the command, and the command group that ends with one line for each error."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from jupyter_launcher.cli.output import describe_report, error_document, format_document
from jupyter_launcher.cli.swarm.options import SwarmWords, swarm_options
from jupyter_launcher.errors import LauncherError, SessionError

if TYPE_CHECKING:
    from jupyter_launcher.cli.progress import Progress
    from jupyter_launcher.engine.client import DockerEngine
    from jupyter_launcher.engine.swarm.engine import SwarmEngine
    from jupyter_launcher.launcher import Launcher
    from jupyter_launcher.models import StopReport

__all__ = [
    "ID",
    "NAME",
    "CommandContext",
    "GlobalOptionsCommand",
    "LauncherGroup",
    "complete_id",
    "directory_options",
    "engine_socket_option",
    "full_id",
    "interrupt_on_signals",
    "pass_context",
    "root_options",
    "stop_each",
]

NAME = "jupyter-launcher"
_INTERRUPTED = 130


class CommandContext:
    """The global options of one call, wherever they stood on the command line."""

    def __init__(self) -> None:
        self.format = "table"
        self.context: str | None = None
        self.namespace = "default"
        self.progress = "auto"
        self.verbose = False
        self.quiet = False
        self.swarm_words = SwarmWords()
        self._progress: Progress | None = None

    @property
    def json(self) -> bool:
        """Whether results are written as JSON."""
        return self.format == "json"

    @property
    def line(self) -> str:
        """How a further call of the command begins that means the same engine or swarm, and namespace."""
        given = (("--context", self.context), ("--namespace", self.namespace if self.namespace != "default" else None))
        options = (f"{option} {value}" for option, value in given if value is not None)
        return " ".join([NAME, *options, *self.swarm_words.line])

    def make_launcher(self, **options: Any) -> Launcher:
        """A launcher of the engine or the swarm, and of the namespace; ``options``: more of ``Launcher``."""
        from jupyter_launcher.launcher import Launcher

        if (swarm := self.swarm_words.make()) is not None:
            options["swarm"] = swarm
        return Launcher(namespace=self.namespace, context=self.context, **options)

    def connect(self) -> DockerEngine | SwarmEngine:
        """The engine or the swarm, without a launcher."""
        if (swarm := self.swarm_words.make()) is not None:
            from jupyter_launcher.engine.swarm.engine import SwarmEngine

            return SwarmEngine.connect(swarm, context=self.context)
        from jupyter_launcher.engine.client import DockerEngine

        return DockerEngine.connect(context=self.context)

    @contextlib.contextmanager
    def launcher(self, **options: Any) -> Iterator[Launcher]:
        """A launcher whose events are shown; ``options``: more of ``Launcher``."""
        from jupyter_launcher.cli.progress import choose_progress

        self._progress = choose_progress("none" if self.quiet else self.progress)
        try:
            with self.make_launcher(on_event=self._progress.show, **options) as launcher:
                yield launcher
        finally:
            self.stop_drawing()

    def stop_drawing(self) -> None:
        """Stop drawing, so that something else can be written."""
        if self._progress is not None:
            self._progress.stop_drawing()

    def result(self, value: object, text: str) -> None:
        """Write the result: as one JSON document, or as text if there is any."""
        self.stop_drawing()
        if self.json:
            click.echo(format_document(value))
        elif text:
            click.echo(text)

    def note(self, text: str) -> None:
        """Write a remark on stderr, unless --quiet was given."""
        self.stop_drawing()
        if not self.quiet:
            click.echo(text, err=True)


def _set_global_option(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value not in (None, False, ()):
        state, name = ctx.ensure_object(CommandContext), str(option.name)
        owner: object = state.swarm_words if hasattr(state.swarm_words, name) else state
        # What may be given more than once may stand before and after the command.
        setattr(owner, name, (*getattr(owner, name), *value) if isinstance(value, tuple) else value)
        if name == "verbose":
            import logging

            logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
            logging.getLogger("jupyter_launcher").setLevel(logging.DEBUG)


def _global_options() -> list[click.Option]:
    given: Any = {"expose_value": False, "callback": _set_global_option}
    return [
        click.Option(["--format"], type=click.Choice(["table", "json"]), help="json: one document on stdout.", **given),
        click.Option(["--context"], help="A Docker context; the current one otherwise.", **given),
        click.Option(["--namespace"], help="Which orchestrator's sessions; 'default' otherwise.", **given),
        click.Option(
            ["--progress"],
            type=click.Choice(["auto", "rich", "plain", "none"]),
            help="How to show progress on stderr.",
            **given,
        ),
        *swarm_options(given),
        click.Option(["-v", "--verbose"], is_flag=True, help="Log what is done; show tracebacks.", **given),
        click.Option(["-q", "--quiet"], is_flag=True, help="Only results and errors.", **given),
    ]


def complete_id(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The session ids that begin so."""
    # An error during completion has no place to be shown.
    with contextlib.suppress(LauncherError), ctx.ensure_object(CommandContext).make_launcher() as launcher:
        return [CompletionItem(found) for found in sorted(launcher.ids()) if found.startswith(incomplete)]
    return []


def full_id(launcher: Launcher, given: str) -> str:
    """The one session id that begins with what was given."""
    known = launcher.ids()
    found = [given] if given in known else sorted(item for item in known if item.startswith(given))
    if len(found) > 1:
        msg = f"{given!r} is the beginning of several session ids: {', '.join(found)}"
        raise SessionError(msg, hint="give more of the id", session_id=given)
    return found[0] if found else given


def stop_each(
    state: CommandContext, given: Iterable[str], key: str, stop: Callable[[str], tuple[str, StopReport]]
) -> None:
    """Stop what has these ids, one after the other, and end with the exit code of the first error.

    Args:
        state: of the command.
        given: the ids, as they were given.
        key: of an id in the document.
        stop: stops what has an id; returns the whole id, and how that ended.
    """
    from jupyter_launcher.cli.spelling import respell

    documents: list[dict[str, Any]] = []
    errors: list[LauncherError] = []
    lines: list[str] = []
    for name in given:
        try:
            found, report = stop(name)
        except LauncherError as error:  # the next one is tried all the same
            respell(error)
            errors.append(error)
            documents.append({key: name, **error_document(error)})
            continue
        documents.append({key: found, "report": report})
        lines.append(describe_report(found, report))
    state.result(documents, "\n".join(lines))
    for failed in errors:
        click.echo(f"{NAME}: {failed}", err=True)
    if errors:
        click.get_current_context().exit(errors[0].command_exit_code)


ID = click.argument("session_id", metavar="ID", shell_complete=complete_id)


def directory_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say as whom a directory is used, and which directories may be."""
    user = click.option("--user", metavar="UID[:GID]", help="Whom the server runs as; the directory's owner otherwise.")
    return user(root_options(command))


def root_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which directories may be used: ``roots`` is a tuple."""
    decorators = (
        click.option(
            "--root",
            "roots",
            metavar="PATH",
            multiple=True,
            type=click.Path(path_type=Path),
            help="DIR must lie below this directory; may be given more than once.",
        ),
        click.option("--allow-engine-socket", is_flag=True, help="DIR may hold the socket of a container engine."),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


engine_socket_option = click.option(
    "--engine-socket",
    metavar="PATH",
    help="The engine's socket on the engine's host, for --isolation kernel; the one in use otherwise.",
)


@contextlib.contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """A terminal that closes, and a service manager that stops this process, interrupt it as Ctrl-C does."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class GlobalOptionsCommand(click.Command):
    """A command that takes the global options too, and shows them in a section of their own."""

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


class LauncherGroup(GlobalOptionsCommand, click.Group):
    """The command as a whole: an error gives one line on stderr and its exit code, never a traceback."""

    command_class = GlobalOptionsCommand

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn its error into one line and an exit code."""
        state = ctx.ensure_object(CommandContext)
        try:
            return super().invoke(ctx)
        except LauncherError as error:
            from jupyter_launcher.cli.spelling import respell

            respell(error)
            self._print_error(state, str(error))
            if state.json:
                click.echo(format_document(error_document(error)))
            ctx.exit(error.command_exit_code)
        except KeyboardInterrupt:
            self._print_error(state, "interrupted")
            ctx.exit(_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - an internal error, which is reported as one
            self._print_error(
                state, f"internal error, please report it with the output of -v: {type(error).__name__}: {error}"
            )
            ctx.exit(1)

    def _print_error(self, state: CommandContext, text: str) -> None:
        if state.verbose:
            import traceback

            traceback.print_exc()
        click.echo(f"{NAME}: {text}", err=True)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        branches = LauncherError.__subclasses__()
        codes = [(str(branch.command_exit_code), branch.__name__) for branch in branches]
        with formatter.section("Exit codes"):
            formatter.write_dl(
                [
                    ("0", "done"),
                    ("1", "doctor found something, or an internal error"),
                    *codes,
                    (str(_INTERRUPTED), "Ctrl-C"),
                ]
            )
        super().format_epilog(ctx, formatter)


pass_context = click.make_pass_decorator(CommandContext, ensure=True)

"""What is done in a session: ``execute``, ``run-notebook``, ``run``, ``cp``."""

from __future__ import annotations

import json
import posixpath
import re
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TextIO

import click

from jupyter_launcher.acts import run_act
from jupyter_launcher.cli.options import ID, CommandContext, GlobalOptionsCommand, full_id, pass_context
from jupyter_launcher.cli.values import read_options
from jupyter_launcher.errors import CellError, CodeError, OptionError
from jupyter_launcher.models.options import show_value
from jupyter_launcher.spec.checks import PIPELINE_TARGET

if TYPE_CHECKING:
    from jupyter_launcher.results import Output

__all__ = ["cp", "execute", "run", "run_notebook"]

_IN_SESSION = re.compile(r"([a-z0-9][a-z0-9_-]*):(.*)", re.DOTALL)


@click.command(cls=GlobalOptionsCommand, short_help="Execute code in a session.")
@ID
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--kernel", "kernel_id", metavar="KERNEL", help="The id of a kernel that runs; else one of its own.")
@click.option("--timeout", type=float, metavar="SECONDS", help="The code is interrupted then.")
@pass_context
def execute(state: CommandContext, session_id: str, file: TextIO, kernel_id: str | None, timeout: float | None) -> None:
    """Execute the code in FILE, or on stdin where that is -, in a kernel of a session, and print what it shows.

    Example: jupyter-launcher execute 3f2a steps/check.py --timeout 60
    """
    from jupyter_launcher.work.server import check_seconds

    code = _read_code(file)
    if timeout is not None:
        check_seconds(timeout)
    with state.launcher() as launcher:
        session = launcher.get(full_id(launcher, session_id))
        state.stop_drawing()
        with session.kernel(id=kernel_id) as kernel:
            try:
                result = kernel.execute(code, timeout=timeout, on_output=None if state.json else _show)
            except CodeError as error:
                if not state.json:
                    click.echo(error.traceback, err=True)
                raise
    state.result(result, "")


def _read_code(file: TextIO) -> str:
    try:
        return file.read()
    except UnicodeDecodeError:
        msg = f"FILE is {show_value(file.name)}, and is no text in UTF-8"
    raise OptionError(msg, hint="save it as UTF-8")


def _show(output: Output) -> None:
    """Print what was printed where it belongs, and of all else the plain text."""
    if output["output_type"] == "error":
        return
    is_stream = output["output_type"] == "stream"
    text = output["text"] if is_stream else str(output["data"].get("text/plain", ""))
    # A kernel may send half of a character.
    click.echo(text.encode("utf-8", "replace"), nl=not is_stream, err=output.get("name") == "stderr")


@click.command(cls=GlobalOptionsCommand, short_help="Run a command in a session.")
@ID
@click.argument("argv", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--stdin", "reads", is_flag=True, help="It reads what comes on stdin.")
@click.option("--cwd", default="/pipeline-dir", show_default=True, metavar="FOLDER", help="Where it runs.")
@click.option("--env", "environment", multiple=True, metavar="NAME[=TEXT]", help="A variable more.")
@click.option("--user", metavar="UID[:GID]", help="Whom it runs as; the session's user otherwise.")
@click.option("--timeout", type=float, metavar="SECONDS", help="It is ended then, with all that it started.")
@pass_context
def run(
    state: CommandContext,
    /,
    session_id: str,
    argv: tuple[str, ...],
    reads: bool,
    environment: tuple[str, ...],
    **options: Any,
) -> None:
    """Run a command in a session, in the environment of its kernels. The exit code is the command's own.

    Example: jupyter-launcher run 3f2a --timeout 60 -- python steps/train.py
    """
    from jupyter_launcher.work.commands.run import run_command

    with state.launcher() as launcher:
        session = launcher.get(full_id(launcher, session_id))
        state.stop_drawing()
        result = run_act(
            lambda: run_command(
                session._place(),  # noqa: SLF001 - the public call hands out texts, and a pipe wants the bytes
                argv,
                environment=read_options({"environment": environment}).get("environment"),
                given=b"" if reads else None,
                given_by=sys.stdin.fileno() if reads and sys.stdin is not None else None,
                check=False,
                on_bytes=None if state.json else _write,
                **options,
            )
        )
    state.result(result, "")
    click.get_current_context().exit(result.exit_code)


def _write(stream: str, data: bytes) -> None:
    target = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
    target.write(data)
    target.flush()


@click.command("run-notebook", cls=GlobalOptionsCommand, short_help="Execute a notebook in a session.")
@ID
@click.argument("path", metavar="FILE")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=JSON",
    help="A variable for the notebook, a text in double quotes; may be given more than once.",
)
@click.option("--output", metavar="FILE", help="Where to write the executed notebook; nowhere otherwise.")
@click.option("--timeout", type=float, metavar="SECONDS", help="For the whole notebook, which is interrupted then.")
@click.option("--cell-timeout", type=float, metavar="SECONDS", help="For each of its cells.")
@pass_context
def run_notebook(
    state: CommandContext, /, session_id: str, path: str, parameters: tuple[str, ...], **options: Any
) -> None:
    """Execute a notebook of a session with a kernel of its own. FILE is relative to the pipeline directory.

    Example: jupyter-launcher run-notebook 3f2a steps/report.ipynb --parameter 'year=2026' --output report.ipynb
    """
    given = dict(_read_parameter(word) for word in parameters)
    with state.launcher() as launcher:
        session = launcher.get(full_id(launcher, session_id))
        try:
            result = session.run_notebook(path, parameters=given, **options)
        except CellError as error:
            state.stop_drawing()
            if not state.json:  # the document of the error has it too
                click.echo(error.traceback, err=True)
            raise
    state.result(result, f"{path}: {result.executed} cells executed in {result.seconds:.2f} s")
    if result.truncated:
        state.note("the output of a cell was cut by a limit of the server")


def _read_parameter(word: str) -> tuple[str, object]:
    name, _, text = word.partition("=")
    try:
        return name, json.loads(text)
    except (ValueError, RecursionError):
        msg = f"--parameter is {show_value(word)}, and has no JSON after its name"
    raise OptionError(msg, hint="give NAME=JSON, a text in double quotes: 'name=\"Ada\"'", option="parameters")


@click.command(cls=GlobalOptionsCommand, short_help="Copy files into a session, or out of it.")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@pass_context
def cp(state: CommandContext, source: str, target: str) -> None:
    """Copy a file or a folder from SRC to DST, one of which is ID:PATH, relative to the pipeline directory.

    A DST that ends with a slash, or is a folder here, gets the item under its own name; another DST is the item's new
    name. A path of this machine with a colon begins with ./

    Example: jupyter-launcher cp 3f2a:results/model.bin .
    """
    from_session, to_session = _IN_SESSION.fullmatch(source), _IN_SESSION.fullmatch(target)
    if (from_session is None) == (to_session is None):
        msg = "one of SRC and DST must be ID:PATH, and the other a path of this machine"
        raise click.UsageError(msg)
    with state.launcher() as launcher:
        if from_session is not None:
            session = launcher.get(full_id(launcher, from_session[1]))
            path = from_session[2] or PIPELINE_TARGET
            place = Path(target)
            if target.endswith("/") or place.is_dir():
                place /= _name(posixpath.normpath(posixpath.join(PIPELINE_TARGET, path)), source)
            session.download(path, place)
        elif to_session is not None:
            session = launcher.get(full_id(launcher, to_session[1]))
            remote = to_session[2]
            if remote.endswith("/") or not remote:
                name = PurePosixPath(source).name
                # A folder that is named by dots has the name of the folder that it is.
                remote += _name(source if name.strip(".") else str(Path(source).resolve()), source)
            session.upload(source, remote)
    state.result({"session_id": session.id, "source": source, "target": target}, "")


def _name(path: str, source: str) -> str:
    """The own name of the item at a path."""
    if name := PurePosixPath(path).name:
        return name
    msg = f"SRC is {show_value(source)}, which has no name of its own; give the new path of the copy as DST"
    raise click.UsageError(msg)

"""The documentation: its examples run, it names what is there, and it builds without a warning."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import jupyter_launcher
from jupyter_launcher import (
    DEFAULT_IMAGE,
    BuildOptions,
    EventKind,
    KernelImage,
    Launcher,
    LauncherError,
    Mount,
    OptionError,
    Phase,
    SessionEventKind,
    SessionState,
    Timeouts,
    errors,
    pytest_plugin,
)
from jupyter_launcher.cli.commands import cli
from jupyter_launcher.pytest_plugin import LauncherConfig
from jupyter_launcher.spec.engine_options import check_container_options, refuse_unsafe
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.spec.options import SPELLINGS
from tests.integration.pages import DOCS, README, ROOT, read_blocks, read_rows, run_page, run_pytest

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = sorted(DOCS.glob("*.md"))
ALL_PAGES = [README, CONTRIBUTING, *PAGES]
LANGUAGES = {"python", "sh", "text", "json", "dockerfile", "{toctree}", "{eval-rst}"}
PACKAGE = ROOT / "jupyter_launcher"


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", paths, ids=[page.stem for page in paths])


def has_program(page: Path) -> bool:
    return any(block.language == "python" and not block.file for block in read_blocks(page))


def code_spans(page: Path) -> Iterator[str]:
    """What stands in backticks, and the lines of shell blocks and of indented blocks."""
    for block in read_blocks(page):
        if block.language == "sh":
            yield from block.text.splitlines()
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", text)
    yield from re.findall(r"^    (.+)$", text, re.MULTILINE)


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_names(page: str, heading: str) -> list[str]:
    return names_of_column(0, page, heading)


def names_of_column(column: int, page: str, heading: str) -> list[str]:
    return [name for row in read_rows(DOCS / page, heading) for name in names_in(row[column])]


# The examples


@pytest.fixture
def files(page: Path, tmp_path: Path) -> Path:
    """The files that a page shows, in a folder."""
    folder = tmp_path / "files"
    folder.mkdir()
    for block in read_blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    return folder


@pytest.fixture
def built(page: Path, files: Path, client: Any) -> Iterator[None]:
    """The image that a page builds, with no packages more than the base has: they would come from a network."""
    if not (files / "Dockerfile").exists():
        yield
        return
    (tag,) = (match[1] for span in code_spans(page) if (match := re.match(r"docker build --tag (\S+) \.", span)))
    (files / "requirements.txt").write_text("# none\n")
    client.images.build(path=str(files), tag=tag, rm=True, forcerm=True)
    try:
        yield
    finally:
        client.images.remove(tag, force=True)


@pytest.fixture
def limits_of_page(page: Path, enforces_limits: bool) -> None:  # noqa: FBT001 - pytest's
    text = "".join(block.text for block in read_blocks(page))
    if "memory=" in text and not enforces_limits:
        pytest.skip("the engine does not limit memory and cpus, as the page's examples want it")


@named([page for page in PAGES if has_program(page)])
@pytest.mark.usefixtures("limits_of_page", "built")
def test_the_examples_run(client: Any, page: Path, tmp_path: Path, namespace: str) -> None:
    run_page(client, page, tmp_path, f"{namespace}-{page.stem}")


@named([page for page in PAGES if any("test" in block.file for block in read_blocks(page))])
@pytest.mark.usefixtures("limits_of_page")
def test_the_tests_pass(page: Path, files: Path) -> None:
    tests = sum(path.read_text().count("\ndef test_") for path in files.glob("*test*.py"))
    assert f"{tests} passed" in run_pytest(files)


def test_the_image_is_made_from_the_default_one() -> None:
    (dockerfile,) = (block.text for block in read_blocks(DOCS / "images.md") if block.file == "Dockerfile")
    assert dockerfile.splitlines()[0] == f"FROM {DEFAULT_IMAGE}"


@named(ALL_PAGES)
def test_every_block_has_a_language(page: Path) -> None:
    assert {block.language for block in read_blocks(page)} <= LANGUAGES


@named(ALL_PAGES)
def test_every_call_of_the_command_can_be_parsed(page: Path) -> None:
    for span in code_spans(page):
        call = re.search(r"(?:^|\()jupyter-launcher ([^)#]+)", span)
        if call is None or call[1].startswith("COMMAND"):
            continue
        name, *rest = shlex.split(call[1])
        with contextlib.suppress(click.exceptions.Exit):  # --help
            cli.commands[name].make_context(name, rest, parent=click.Context(cli))


@named(ALL_PAGES)
def test_every_target_of_make_is_there(page: Path) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    wanted = [match[1] for span in code_spans(page) if (match := re.match(r"make ([a-z][a-z0-9-]*)", span))]
    assert [target for target in wanted if target not in targets] == []


def test_every_path_of_a_test_exists() -> None:
    paths = re.findall(r" (tests/\S+)", "\n".join(code_spans(CONTRIBUTING)))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


# What the pages must name


def test_every_option_has_its_row() -> None:
    assert first_names("options.md", "## `Launcher.start`") == list(inspect.signature(Launcher.start).parameters)[1:]
    assert first_names("options.md", "## `Launcher`") == list(inspect.signature(Launcher).parameters)


def test_every_option_of_the_command_has_its_row() -> None:
    shown = [names_in(row[0])[0] for row in read_rows(DOCS / "command.md", "### Options of `start`")]
    names = names_of_column(1, "command.md", "### Options of `start`")
    assert dict(zip(names, shown, strict=True)) == {
        name: spelling.flag.partition("/")[0] for name, spelling in SPELLINGS.items()
    }


def test_the_engines_own_options_are_what_the_page_says() -> None:
    safe, unsafe, held = (names_in(row[0]) for row in read_rows(DOCS / "options.md", "### `container_options`"))
    options = {name: 1 for name in safe if name[0].isupper() and name != "Blkio" and not name.endswith("Mode")}
    refuse_unsafe(check_container_options(options, "container_options"), "container_options")
    for name in unsafe:
        if name[0].isupper():
            with pytest.raises(OptionError, match="opens the engine's host"):
                refuse_unsafe({name: 1}, "container_options")
    for name in held:
        with pytest.raises(OptionError, match="which the launcher holds"):
            check_container_options({name: 1}, "container_options")


@pytest.mark.parametrize("kind", [Timeouts, Mount, KernelImage, BuildOptions])
def test_every_field_has_its_row(kind: type[Any]) -> None:
    assert first_names("options.md", f"## `{kind.__name__}`") == [item.name for item in dataclasses.fields(kind)]


def test_the_timeouts_are_those_of_the_code() -> None:
    shown = {names_in(row[0])[0]: float(row[1]) for row in read_rows(DOCS / "options.md", "## `Timeouts`")}
    assert shown == dataclasses.asdict(Timeouts())


@pytest.mark.parametrize(
    ("page", "heading", "kind"),
    [
        ("recovery.md", "## States", SessionState),
        ("recovery.md", "## What a session uses, and what happened to it", SessionEventKind),
        ("errors.md", "## Events", EventKind),
    ],
)
def test_every_value_has_its_row(page: str, heading: str, kind: type[enum.Enum]) -> None:
    assert first_names(page, heading) == [item.value for item in kind]


def test_every_phase_is_named() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8").partition("The phases are")[2].partition(".")[0]
    assert names_in(text) == [item.value for item in Phase]


def test_every_error_stands_in_the_tree_with_its_fields() -> None:
    kinds = {name: getattr(errors, name) for name in errors.__all__}
    (tree,) = (block.text for block in read_blocks(DOCS / "errors.md") if block.language == "text")
    assert sorted(re.findall(r"\w+Error\b(?!\))", tree)) == sorted(kinds)
    rows = read_rows(DOCS / "errors.md", "## Errors")
    shown = {
        (owner, name)
        for row in rows
        for name in names_in(row[0])
        for owner in names_in(row[1]) or [LauncherError.__name__]
    }
    own = {
        (name, item)
        for name, kind in kinds.items()
        for item, text in vars(kind).get("__annotations__", {}).items()
        if not str(text).startswith("ClassVar")
    }
    assert own == shown


def test_every_command_has_its_options() -> None:
    rows = {names_in(row[0])[0].split()[0]: names_in(row[2]) for row in read_rows(DOCS / "command.md", "## Commands")}
    assert sorted(rows) == sorted(cli.commands)
    for name, shown in rows.items():
        assert set(shown) == options_of(cli.commands[name]), name


def test_every_global_option_has_its_row() -> None:
    shown = {word for row in read_rows(DOCS / "command.md", "## Options of all commands") for word in names_in(row[0])}
    context = cli.make_context("jupyter-launcher", [], resilient_parsing=True)
    known = {option for param in cli.get_params(context) for option in param.opts}
    assert {word.split()[0] for word in shown if word.startswith("-")} == known


def options_of(command: click.Command) -> set[str]:
    """The command's own options, without the global ones."""
    return {option for param in command.params if isinstance(param, click.Option) for option in param.opts}


def test_every_exit_code_has_its_row() -> None:
    rows = {row[0]: row[1] for row in read_rows(DOCS / "command.md", "## Exit codes")}
    for kind in LauncherError.__subclasses__():
        assert f"`{kind.__name__}`" in rows[str(kind.command_exit_code)]


def test_every_fixture_and_option_of_the_plugin_has_its_row(pytestconfig: pytest.Config) -> None:
    fixtures = {name for name in pytest_plugin.__all__ if name.startswith("jupyter_")}
    assert set(first_names("testing.md", "## Fixtures")) == fixtures
    options = {name.partition("=")[0] for name in first_names("testing.md", "## Options of pytest")}
    known = {name for name in vars(pytestconfig.option) if name.startswith("jupyter_")}
    assert {option.removeprefix("--").replace("-", "_") for option in options} == known
    text = (DOCS / "testing.md").read_text(encoding="utf-8")
    assert all(f"\n| `{item.name}` |" in text for item in dataclasses.fields(LauncherConfig))


# The architecture


def test_the_protocol_is_that_of_the_scripts() -> None:
    page = read_rows(PACKAGE / "server" / "inside" / "README.md", "# What runs inside the container")
    assert read_rows(DOCS / "architecture.md", "## The container") == page


def test_every_label_has_its_row() -> None:
    labels = SessionLabels(
        namespace="n",
        session_id="s",
        start_id="a",
        owner="",
        pipeline_dir=Path("/p"),
        gateway=None,
        base_url="/",
        host_ip="127.0.0.1",
        options={},
    )
    known = {name.removeprefix("jupyter-launcher.") for name in labels.to_labels()}
    assert set(first_names("architecture.md", "## Labels")) == known


def test_every_patch_has_its_row() -> None:
    shown = {names_in(row[0])[0] for row in read_rows(DOCS / "architecture.md", "## What we patch in Jupyter")}
    assert shown == {path.stem for path in (PACKAGE / "server" / "inside" / "patches").glob("*.py")}


def test_every_place_exists() -> None:
    places = [name for row in read_rows(DOCS / "architecture.md", "## Where to look") for name in names_in(row[1])]
    assert [place for place in places if not (PACKAGE / place).exists()] == []


# The build


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert [name for name in jupyter_launcher.__all__ if f'id="jupyter_launcher.{name}"' not in api] == []
    assert re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(?:https?:)?//[^>]*>', api) == [], "fetched elsewhere"


def test_the_tests_that_show_what_is_promised_are_there() -> None:
    paths = list((ROOT / "tests").rglob("test_*.py"))
    named = {span for span in code_spans(DOCS / "security.md") if re.fullmatch(r"test_\w+(\.py)?", span)}
    assert len(named) > 15
    code = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    known = {path.name for path in paths} | set(re.findall(r"^def (test_\w+)", code, re.MULTILINE))
    assert named - known == set()

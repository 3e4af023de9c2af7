"""Pages of the documentation: their code blocks and tables, and how their examples are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupyter_launcher

__all__ = ["DOCS", "README", "ROOT", "Block", "read_blocks", "read_rows", "run_page", "run_pytest"]

ROOT = Path(jupyter_launcher.__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"

_SECONDS = 180
# A namespace of the test's own takes the place of the default one, so that a page's sessions meet nobody else's.
_RUN = """
import runpy, sys
from jupyter_launcher import Launcher
Launcher.__init__.__kwdefaults__["namespace"] = sys.argv[2]
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A code block: ``line`` is where its text begins, ``file`` the name in a comment before it."""

    language: str
    text: str
    line: int
    file: str


def read_blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page."""
    inside: list[str] | None = None
    language, begin, file, before = "", 0, "", ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            if inside is not None:
                inside.append(line)
            elif line.strip():
                before = line
        elif inside is None:
            inside, language, begin = [], line.removeprefix("```"), number + 1
            named = re.fullmatch(r"<!-- file: (\S+) -->", before)
            file, before = named[1] if named else "", line
        else:
            yield Block(language=language, text="\n".join(inside) + "\n", line=begin, file=file)
            inside = None
    assert inside is None, f"{page} has a code block without an end"


def read_rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without the table's own head."""
    below = f"\n{page.read_text(encoding='utf-8')}".partition(f"\n{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table, f"{page} has no table below {heading!r}"
    rows = [re.split(r"(?<!\\)\|", line.strip("|")) for line in table[0].splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def run_page(client: Any, page: Path, folder: Path, namespace: str) -> str:
    """Run the Python blocks of a page in order, as one program in an empty folder; return what it prints."""
    lines: list[str] = []
    for block in read_blocks(page):
        if block.language == "python" and not block.file:
            lines += [""] * (block.line - 1 - len(lines))  # a traceback names the page's lines
            lines += block.text.splitlines()
    assert lines, f"{page} has no example"
    program = folder / f"{page.stem}.py"
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "empty").mkdir()
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", _RUN, program, namespace],
            cwd=folder / "empty",
            input="\n" * 9,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    finally:
        left = _remove_leftovers(client, namespace)
    assert done.returncode == 0, done.stderr
    assert left == [], f"the examples of {page} left containers behind"
    return done.stdout


def _remove_leftovers(client: Any, namespace: str) -> list[str]:
    names = []
    for label in ("namespace", "gateway-of"):
        for item in client.containers.list(
            all=True, filters={"label": f"jupyter-launcher.{label}={namespace}"}, ignore_removed=True
        ):
            names.append(str(item.name))
            item.remove(force=True, v=True)
    return names


def run_pytest(folder: Path) -> str:
    """Run the tests of a folder as a user would."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--jupyter-docker=require"]
    done = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

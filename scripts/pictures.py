"""Make the README's pictures anew, of a real run: ``start`` in a terminal, and JupyterLab in a browser.

Both sessions are over when the pictures are done, and no token is in them. Run from the top of the
repository, as ``python -m scripts.pictures``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyte
from playwright.sync_api import expect
from rich.console import Console
from rich.style import Style
from rich.text import Text

from jupyter_launcher import Launcher
from tests.browser.chromium import MISSING, SECONDS, launched, open_notebook, run_all, save
from tests.integration.terminal import Terminal

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS, LINES = 110, 40
_MASK = "•" * 8
_TOKEN = re.compile(r"(?<=token=)[0-9a-f]+")
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
# Where a terminal's name for a colour is not rich's.
_COLOURS = {"default": None, "brown": "yellow"}


def main() -> None:
    """Both pictures, of the same pipeline and the same gateway."""
    if MISSING:
        sys.exit(f"pictures: {MISSING}")
    with tempfile.TemporaryDirectory() as folder, Launcher() as launcher:
        pipeline = Path(folder) / "my-pipeline"
        shutil.copytree(ROOT / "examples" / "pipeline", pipeline)
        with launcher.run_gateway(pipeline) as gateway:
            PICTURES.mkdir(parents=True, exist_ok=True)
            typed = ("jupyter-launcher", "start", pipeline.name, "--gateway", gateway.name)
            shown = run(typed, pipeline.parent)
            with launcher.get(shown.wait_for(r"(?m)^session +\S+").split()[1]) as session:
                draw(" ".join(typed), shown.raw, PICTURES / "start.svg")
                lab(session.lab_url, PICTURES / "lab.png")


def run(typed: Sequence[str], folder: Path) -> Terminal:
    """Run a command of ours in a terminal, to its end."""
    command = str(Path(sys.executable).with_name(typed[0]))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    shown = Terminal(["env", "-C", str(folder), command, *typed[1:]], environment, columns=COLUMNS)
    if shown.end() != 0:
        sys.exit(f"pictures: {' '.join(typed)} failed:\n{shown.text}")
    return shown


def draw(typed: str, raw: str, picture: Path) -> None:
    """A terminal as it looks in the end, with the token masked."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.Stream(screen).feed(_TOKEN.sub(_MASK, raw))
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.assemble(("$ ", "bold"), typed))
        for line in range(screen.cursor.y):
            console.print(_row(screen, line))
        # Without the fonts of elsewhere: where a README is shown, they are not loaded anyway.
        picture.write_text(_FONTS.sub("", console.export_svg(title="jupyter-launcher")), encoding="utf-8")


def _row(screen: pyte.Screen, line: int) -> Text:
    row = Text(no_wrap=True)
    for column in range(COLUMNS):
        cell = screen.buffer[line][column]
        row.append(cell.data, Style(color=_COLOURS.get(cell.fg, cell.fg), bold=cell.bold))
    row.rstrip()
    return row


def lab(url: str, picture: Path) -> None:
    """The example notebook, run in a browser."""
    expect.set_options(timeout=SECONDS * 1000)
    with launched() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 640})
        page.goto(url)
        panel = open_notebook(page, page, "report.ipynb")
        run_all(page)
        expect(panel).to_contain_text("in all, computed on host")
        save(page, page)
        page.screenshot(path=picture)


if __name__ == "__main__":
    main()

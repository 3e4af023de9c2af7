"""The README: its examples do what it says, and it stays short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.integration.pages import DOCS, README, ROOT, read_blocks, run_page


def test_the_examples_run(client: Any, tmp_path: Path, namespace: str) -> None:
    printed = run_page(client, README, tmp_path, f"{namespace}-readme")
    assert re.match(r"http://127\.0\.0\.1:\d+/lab\?token=[0-9a-f]{64}\n", printed)
    assert re.search(r"http://1\d+\.\d+\.\d+\.\d+:8888\n", printed), printed
    assert "StopReport(method=<StopMethod.API: 'api'>" in printed
    assert re.search(r"^NameError: name 'number' is not defined", printed, re.MULTILINE), printed


def test_its_test_is_one_that_passes() -> None:
    (shown,) = (block.text for block in read_blocks(README) if block.file)
    assert any(shown in block.text for block in read_blocks(DOCS / "how-to.md"))


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130


def test_its_links_lead_to_files() -> None:
    for page in (README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        assert [target for target in targets if not (ROOT / target).exists()] == []


def test_it_names_every_page() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - {"docs/index.md"}
    assert pages <= set(re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8")))

"""``execute``: what is refused before a kernel is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.fakes import FakeEngine


@pytest.mark.parametrize(
    ("code", "options", "told"),
    [
        (b"print('\xff')", [], "and is no text in UTF-8"),
        (b"1", ["--timeout", "-1"], "--timeout is -1.0"),
    ],
)
def test_what_cannot_be_executed_is_refused_before_a_kernel_starts(
    run: Run, engine: FakeEngine, tmp_path: Path, code: bytes, options: list[str], told: str
) -> None:
    (tmp_path / "a.py").write_bytes(code)
    result = run("execute", "one", tmp_path / "a.py", *options)
    assert result.exit_code == 2
    assert told in result.stderr
    assert engine.calls == [], "nobody was asked"

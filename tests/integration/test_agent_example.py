"""The example of a sandbox for an agent: what its model is told, whatever its code does."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent import sandbox

from jupyter_launcher import Launcher
from tests.containers import nothing_left

__all__ = ["nothing_left"]

LONG = "print('a' * 9000)"
DIED = "Your kernel is gone, with all variables: it needed more memory than it may have."
FILLS = "print('before')\nkept = bytearray(2**30)\nfor at in range(0, 2**30, 4096): kept[at] = 1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("day,amount\nmonday,40\ntuesday,2\n")
    return path


@pytest.mark.usefixtures("needs_input")
@pytest.mark.usefixtures("needs_limits")
def test_a_model_is_told_of_its_mistakes_and_solves_its_task(
    launcher: Launcher,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    enforces_limits: bool,  # noqa: FBT001 - pytest's
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 3.0)
    told: list[str] = []

    def model() -> sandbox.Model:
        wrong = ["n = 1; print('one'); 1 / 0", "print('two'); input()", "while True: pass", "n", LONG]
        for code in wrong + [FILLS] * enforces_limits:
            answer = yield code
            told.append(answer)
        yield from sandbox.script(data)

    sandbox.solve(launcher, data, model(), data.with_name("answer.txt"), memory="400m")
    raised, asked, stopped, kept, long, *died = told
    assert raised.startswith("one\n---")
    assert raised.endswith("ZeroDivisionError: division by zero")
    assert asked.startswith("two\n---")
    assert "input" in asked
    assert stopped == "It was stopped after 3 s. Your variables are still there."
    assert kept == "1"
    assert len(long) < 4100
    assert [text.endswith(DIED) for text in died] == [True] * enforces_limits  # what it printed last may be lost
    # It has seen that there is no pandas.
    assert data.with_name("answer.txt").read_text() == "The total is 42\n"

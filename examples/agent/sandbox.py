"""A sandbox for an agent: the code of a model runs in a session with limits, and the model is told what came of it.

    sandbox.py DATA [--network NAME]

No model is asked here: ``script`` stands for its replies. A call of yours takes its place.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeAlias

from jupyter_launcher import (
    CodeError,
    ExecuteResult,
    ExecuteTimeoutError,
    KernelDiedError,
    Launcher,
    Session,
    WorkError,
)

Model: TypeAlias = Generator[str, str, None]
"""Yields code, and is sent what came of it; ends when the task is done."""

LIMITS: dict[str, Any] = {"memory": "1g", "cpus": 1, "read_only": True, "log_size": "1m", "lease": 600}
SECONDS = 20.0
MOST = 4000


def execute(session: Session, code: str) -> str:
    """What the model is told: what its code printed, and what went wrong."""
    try:
        text = session.execute(code, timeout=SECONDS).text
    except CodeError as error:
        text = printed(error.result) + error.traceback
    except ExecuteTimeoutError as error:
        text = f"{printed(error.result)}It was stopped after {SECONDS:g} s. Your variables are still there."
    except KernelDiedError as error:
        why = "it needed more memory than it may have" if error.for_memory else "its process ended"
        text = f"{printed(error.result)}Your kernel is gone, with all variables: {why}."
    except WorkError as error:  # such as a kernel that does not start
        text = error.message
    return text if len(text) <= MOST else f"{text[: MOST // 2]}\n[…]\n{text[-MOST // 2 :]}"


def printed(result: ExecuteResult | None) -> str:
    """What came of the code before it ended."""
    return f"{result.text.rstrip()}\n" if result and result.text.strip() else ""


def solve(launcher: Launcher, data: Path, model: Model, answer: Path, **options: Any) -> None:
    """Let a model work with a copy of a file until it is done; ``answer`` is the ``answer.txt`` that it has written."""
    with tempfile.TemporaryDirectory() as folder, launcher.start(folder, **{**LIMITS, **options}) as session:
        session.upload(data, data.name)
        code = next(model)
        with contextlib.suppress(StopIteration):  # it is done
            while True:
                code = model.send(execute(session, code))
        session.download("answer.txt", answer)


def script(data: Path) -> Model:
    """What a model might write: it is told of its mistake, and tries again."""
    told = yield f"import pandas\nprint(pandas.read_csv({data.name!r})['amount'].sum())"
    if "ModuleNotFoundError" in told:
        told = yield (
            f"import csv\nwith open({data.name!r}) as file:\n"
            "    total = sum(int(row['amount']) for row in csv.DictReader(file))\nprint(total)"
        )
    yield "with open('answer.txt', 'w') as file:\n    print('The total is', total, file=file)"


def main() -> None:
    """Parse the command line, and show the answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a file of CSV with a column 'amount'")
    parser.add_argument("--network", help="of the session; see docs/how-to.md")
    arguments = parser.parse_args()
    with Launcher(namespace="agent") as launcher, tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.txt")
        solve(launcher, arguments.data, script(arguments.data), answer, network=arguments.network)
        print(answer.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

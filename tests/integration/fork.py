"""A launcher that is used, then forked: what the processes get from it.

    python -m tests.integration.fork NAMESPACE ROUNDS SESSION_ID...

In each round three forks ask for sessions at the same time, and the parent too. Prints one JSON object: how many
answers were right, and those that were not.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from jupyter_launcher import Launcher

FORKS = 3
PATIENCE = 60


def ask(launcher: Launcher, session_ids: list[str], first: int) -> list[str]:
    """What is wrong with the answers to one question for each session."""
    wrong = []
    for index in range(len(session_ids)):
        wanted = session_ids[(first + index) % len(session_ids)]
        try:
            session = launcher.get(wanted)
        except Exception as error:  # noqa: BLE001 - every error is a wrong answer
            wrong.append(f"{wanted}: {type(error).__name__}: {error}")
            continue
        if session.id != wanted or f".{wanted}" not in session.container_name:
            wrong.append(f"{wanted}: got {session.id}")
    return wrong


def main() -> None:
    namespace, rounds, *session_ids = sys.argv[1:]
    launcher = Launcher(namespace=namespace)
    right, wrong = 0, []
    for _ in range(int(rounds)):
        launcher.ids()
        children = [fork(launcher, session_ids, first) for first in range(FORKS)]
        answers = [ask(launcher, session_ids, 0)] + [wait(*child) for child in children]
        right += sum(not answer for answer in answers)
        wrong += [item for answer in answers for item in answer]
    print(json.dumps({"right": right, "wrong": wrong}))


def fork(launcher: Launcher, session_ids: list[str], first: int) -> tuple[int, int]:
    """A fork that asks; its process id, and where its answer comes."""
    readable, writable = os.pipe()
    process = os.fork()
    if process == 0:
        signal.alarm(PATIENCE)  # one that hangs ends without an answer
        os.write(writable, json.dumps(ask(launcher, session_ids, first)).encode())
        os._exit(0)
    os.close(writable)
    return process, readable


def wait(process: int, readable: int) -> list[str]:
    with os.fdopen(readable) as answer:
        text = answer.read()
    os.waitpid(process, 0)
    found: list[str] = json.loads(text) if text else ["a fork hung"]
    return found


if __name__ == "__main__":
    main()

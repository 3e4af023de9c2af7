"""Start a session of each image of another style, use it, stop it, and print a table of what passed.

image_matrix.py BASE OLD_BASE [--ca-certificate FILE]... [--keep] [NAME...]

BASE and OLD_BASE are images with a Python to build upon; the second one has Python 3.11. Each folder of
tests/images/others has a Dockerfile, whose first line says what the image is like. Its labels say what is tried:
``trial.variable`` (one that the ENTRYPOINT sets), ``trial.options`` (more options of ``start``, as JSON),
``trial.warning`` (a pattern), ``trial.error`` (a pattern: the session is refused).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests
import websocket

from jupyter_launcher import Launcher, LauncherError, Session, StopMethod

__all__ = ["Row", "main", "table", "try_image"]

FOLDER = Path("tests/images/others")
GROUNDS = ("base", "lab")
TAG = "jupyter-launcher/trial"
OWNER = 1234
SECONDS = 60.0
CHECKS = ("start", "cell", "save", "environment", "stop")


@dataclass(slots=True)
class Row:
    """What came of one image: for each check ``yes``, or what was seen in its place."""

    name: str
    style: str
    checks: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    @property
    def passed(self) -> bool:
        """Nothing was seen that should not be."""
        return not self.error and all(seen == "yes" for seen in self.checks.values())


class Client:
    """What a browser would do in a session."""

    def __init__(self, session: Session) -> None:
        self._url = session.url.rstrip("/")
        self._headers = {"Authorization": f"token {session.server_info.token}"}

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request to the server's API; its answer's JSON."""
        url = f"{self._url}/api/{path}"
        answer = requests.request(method, url, json=body, headers=self._headers, timeout=SECONDS)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    @contextlib.contextmanager
    def connect(self, path: str) -> Any:
        """A websocket of the server."""
        url = f"{self._url.replace('http', 'ws', 1)}/{path}"
        with contextlib.closing(websocket.create_connection(url, timeout=SECONDS, header=self._headers)) as connection:
            yield connection

    def run_cell(self, code: str) -> str:
        """What a cell prints in a kernel of its own."""
        kernel = self.ask("POST", "kernels", {})["id"]
        with self.connect(f"api/kernels/{kernel}/channels") as connection:
            header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s", "username": "u"}
            content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
            message = {"header": {**header, "version": "5.3", "date": ""}, "parent_header": {}, "metadata": {}}
            connection.send(json.dumps({**message, "content": content, "channel": "shell", "buffers": []}))
            printed = ""
            while True:
                answer = json.loads(connection.recv())
                if answer["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                if answer["msg_type"] == "error":
                    raise ValueError(answer["content"]["ename"] + ": " + answer["content"]["evalue"])
                printed += answer["content"].get("text", "") if answer["msg_type"] == "stream" else ""
                if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                    return printed.strip()

    def run_line(self, line: str) -> None:
        """Send a line to a terminal of its own."""
        name = self.ask("POST", "terminals")["name"]
        with self.connect(f"terminals/websocket/{name}") as connection:
            connection.send(json.dumps(["stdin", line + "\r"]))


def try_session(client: Any, session: Session, folder: Path, labels: dict[str, str], row: Row) -> None:
    """Use a session, and stop it: fills in the row's checks."""
    browser = Client(session)
    name, _, value = labels.get("trial.variable", "").partition("=")
    row.checks["cell"] = _compare(browser.run_cell("print(6 * 7)"), "42")
    body = {"type": "notebook", "content": {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}}
    browser.ask("PUT", "contents/saved.ipynb", body)
    row.checks["save"] = _compare(str((folder / "saved.ipynb").stat().st_uid), str(OWNER))
    if name:
        seen = browser.run_cell(f"import os; print(os.environ.get({name!r}))")
        # The line is written whole before it has its name.
        browser.run_line(f'printf %s "${name}" >/pipeline-dir/seen; mv /pipeline-dir/seen /pipeline-dir/variable')
        _await((folder / "variable").exists)
        row.checks["environment"] = _compare(f"{seen} {(folder / 'variable').read_text()}", f"{value} {value}")
    pattern = labels.get("trial.warning")
    unexpected = [text for text in session.warnings if not (pattern and re.search(pattern, text))]
    if unexpected or (pattern and not session.warnings):
        row.error = f"warnings: {session.warnings}"
    if pattern:  # it is not graceful otherwise
        row.checks["stop"] = _compare(session.stop().method.value, StopMethod.API.value)
        return
    container = client.containers.get(session.container_id)
    container.stop()
    row.checks["stop"] = _compare(str(container.wait(timeout=SECONDS)["StatusCode"]), "0")


def _compare(seen: str, expected: str) -> str:
    return "yes" if seen == expected else f"{seen!r}, not {expected!r}"


def _await(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.1)


def try_image(client: Any, launcher: Launcher, name: str, style: str, tag: str) -> Row:
    """All that is tried with one image."""
    labels = client.images.get(tag).labels
    row = Row(name=name, style=style)
    expected = labels.get("trial.error")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.chown(folder, OWNER, OWNER)
        began = time.monotonic()
        try:
            with launcher.start(
                folder, image=tag, pull="never", **json.loads(labels.get("trial.options", "{}"))
            ) as session:
                row.seconds = time.monotonic() - began
                row.checks["start"] = "it started" if expected else "yes"
                try_session(client, session, folder, labels, row)
        except LauncherError as error:
            row.seconds = time.monotonic() - began
            row.checks["start"] = "yes" if expected and re.search(expected, str(error)) else "no"
            row.error = "" if row.checks["start"] == "yes" else error.message
        except Exception as error:  # noqa: BLE001 - the next image is tried all the same
            row.error = f"{type(error).__name__}: {error}"
    return row


def table(rows: Sequence[Row]) -> str:
    """The rows for docs/images.md: images that run, those that cannot, and what failed."""
    runs = [row for row in rows if "cell" in row.checks or not row.passed]
    lines = [f"| image | {' | '.join(CHECKS)} |", "|" + "---|" * (len(CHECKS) + 1)]
    lines += [f"| {row.style} | {' | '.join(row.checks.get(check, '') for check in CHECKS)} |" for row in runs]
    lines += ["", "| image | after |", "|---|---|"]
    lines += [f"| {row.style} | {row.seconds:.1f} s |" for row in rows if row not in runs]
    lines += [f"{row.name}: failed: {row.checks} {row.error}" for row in rows if not row.passed]
    return "\n".join(lines)


def build(client: Any, name: str, certificates: Sequence[Path], arguments: dict[str, str], tag: str) -> str:
    """Build one folder, as far as the engine's cache does not have it."""
    with tempfile.TemporaryDirectory() as made:
        context = Path(shutil.copytree(FOLDER / name, Path(made) / "context"))
        (context / "ca-certificates").mkdir()
        for certificate in certificates:
            shutil.copy(certificate, context / "ca-certificates")
        client.images.build(path=str(context), tag=tag, buildargs=arguments, rm=True, forcerm=True)
    return tag


def main(given: Sequence[str]) -> int:
    """Build and try the images; 0 when nothing failed."""
    parser = argparse.ArgumentParser(description="Sessions of images of other styles.")
    parser.add_argument("base")
    parser.add_argument("old_base")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--ca-certificate", type=Path, action="append", default=[])
    parser.add_argument("--keep", action="store_true", help="leave the images on the engine")
    options = parser.parse_intermixed_args(given)
    known = sorted(path.parent.name for path in FOLDER.glob("*/Dockerfile") if path.parent.name not in GROUNDS)
    if unknown := set(options.names) - set(known):
        sys.exit(f"no such image: {' '.join(sorted(unknown))}; there are {' '.join(known)}")
    client = docker.from_env(timeout=1800)
    arguments = {"PIP_INDEX_URL": os.environ["INDEX_URL"]} if os.environ.get("INDEX_URL") else {}
    tags: list[str] = []
    rows: list[Row] = []

    def make(name: str, tag: str, **more: str) -> str:
        print(f"building {tag}", file=sys.stderr, flush=True)
        tags.append(build(client, name, options.ca_certificate, {**arguments, **more}, f"{TAG}:{tag}"))
        return tags[-1]

    try:
        grounds = {
            "BASE": make("base", "base", BASE_IMAGE=options.base),
            "OLD": make("base", "old", BASE_IMAGE=options.old_base),
        }
        grounds["LAB"] = make("lab", "lab", **grounds)
        with Launcher(namespace=f"trial-{uuid.uuid4().hex[:8]}") as launcher:
            for name in options.names or known:
                style = (FOLDER / name / "Dockerfile").read_text().splitlines()[0].removeprefix("# ").removesuffix(".")
                try:
                    rows.append(try_image(client, launcher, name, style, make(name, name, **grounds)))
                except docker.errors.DockerException as error:
                    rows.append(Row(name=name, style=style, error=f"it cannot be built: {error}"))
                print(f"{name}: {'passed' if rows[-1].passed else rows[-1]}", file=sys.stderr, flush=True)
    finally:
        for tag in [] if options.keep else reversed(tags):
            with contextlib.suppress(docker.errors.APIError):
                client.images.remove(tag, force=True)
    print(table(rows))
    return int(not rows or any(not row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

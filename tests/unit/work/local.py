"""A session whose commands run on this machine: the real scripts, and no container."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jupyter_launcher.engine.protocol import Exchange
from jupyter_launcher.engine.types import ExecResult
from jupyter_launcher.models import Phase
from jupyter_launcher.spec.server import RUN_DIR
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.place import Place
from tests.unit.fakes import FakeEngine, container, printed

CONTAINER = "c" * 64


class LocalExchange:
    """A process of this machine in place of one in a container."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._input = self.process.stdin.fileno()
        os.set_blocking(self._input, False)
        self._outputs = {self.process.stdout.fileno(): 1, self.process.stderr.fileno(): 2}
        self._outbox = bytearray()

    def send(self, data: bytes) -> None:
        assert b"\x10" not in data  # Podman would look whether 17 follows
        self._outbox += data

    def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
        while self._outputs:
            seconds = min(deadline.remaining(), 60)
            watched = [*self._outputs, *([] if wake is None else [wake])]
            readable, writable, _ = select.select(watched, [self._input] if self._outbox else [], [], seconds)
            if writable:
                with contextlib.suppress(BrokenPipeError):
                    del self._outbox[: os.write(self._input, self._outbox[:65536])]
            if wake in readable:
                return 0, b""
            if not readable and deadline.expired():
                raise TimeoutError
            for output in readable:
                if data := os.read(output, 65536):
                    return self._outputs[output], data
                del self._outputs[output]
        return None

    def close(self) -> None:
        self.process.communicate()


def _localize(argv: Sequence[str], folder: Path) -> list[str]:
    return [str(folder) if word == RUN_DIR else word for word in argv]


def attach_here(folder: Path) -> Callable[[Sequence[str], str | None], contextlib.AbstractContextManager[Exchange]]:
    """Runs commands of containers here; their own folder is this one."""

    @contextlib.contextmanager
    def attach(argv: Sequence[str], _: str | None) -> Iterator[Exchange]:
        exchange = LocalExchange(_localize(argv, folder))
        try:
            yield exchange
        finally:
            exchange.close()

    return attach


def local_engine(folder: Path) -> FakeEngine:
    """An engine whose one container's own folder is this one."""

    def run(_: str, argv: tuple[str, ...]) -> ExecResult:
        done = subprocess.run(_localize(argv, folder), capture_output=True, text=True, check=False)
        return printed(done.stdout, done.returncode, done.stderr)

    engine = FakeEngine(container(id=CONTAINER), run=run)
    engine.on_attach = attach_here(folder)
    return engine


def make_place(engine: FakeEngine, phase: Callable[[Phase], object] | None = None) -> Place:
    return Place(
        engine=engine,
        container=CONTAINER,
        session_id="one",
        url="http://127.0.0.1:1/",
        token="t" * 64,
        gateway=None,
        phase=phase,  # type: ignore[arg-type] # nothing happens in phases here
    )


def write_environment(folder: Path, mask: str = "0027", **variables: str) -> None:
    """What the server writes for commands."""
    given = {"PATH": os.environ["PATH"], **variables}
    entries = [mask, *(f"{name}={value}" for name, value in given.items())]
    (folder / "kernels.environment").write_bytes("\0".join(entries).encode())

"""Sessions from event loops, asyncio's and trio's: many calls at once, and calls that are cancelled."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from jupyter_launcher import AsyncLauncher, AsyncSession, Event, EventKind, Output, Phase, SessionEventKind
from tests.containers import eventually

AT_ONCE = 32


def run_loop(main: Callable[[], Awaitable[None]], backend: str) -> None:
    """In a thread of its own: tests in a browser leave a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: anyio.run(main, backend=backend)).result()


def no_act_is_left() -> bool:
    """Threads end a moment after what they were for."""
    return eventually(lambda: all(item.name != "jupyter-launcher" for item in threading.enumerate()))


async def work(launcher: AsyncLauncher, session: AsyncSession) -> None:
    """Many calls at once, and one that is cancelled."""
    answers: list[str] = []

    async def call(number: int) -> None:
        if number % 16 == 0:
            answers.append((await session.run(["echo", str(number)])).stdout)
        elif number % 4 == 0:
            answers.append((await session.execute(f"print({number})")).text)
        else:
            found = await launcher.get(session.id)
            answers.append(f"{number}\n" if found.container_id == session.container_id else "")

    async with anyio.create_task_group() as group:
        for number in range(AT_ONCE):
            group.start_soon(call, number)
    assert sorted(answers) == sorted(f"{number}\n" for number in range(AT_ONCE))
    pieces: list[Output] = []
    scope = anyio.CancelScope()

    def take(piece: Output) -> None:
        pieces.append(piece)
        scope.cancel()

    with scope:
        await session.execute("import time; print('begun', end='', flush=True); time.sleep(600)", on_output=take)
    assert scope.cancelled_caught
    assert [piece["text"] for piece in pieces] == ["begun"]
    with anyio.fail_after(60):  # the code was interrupted, and the kernel is the same
        assert (await session.execute("print(time.time() > 0)")).text == "True\n"


@pytest.mark.usefixtures("needs_input", "needs_logs")
def test_work_in_a_session(namespace: str, pipeline_dir: Path) -> None:
    async def begin() -> None:
        async with AsyncLauncher(namespace=namespace) as launcher:
            session = await launcher.start(pipeline_dir, session_id="one")
            await work(launcher, session)
            await session.close_kernel()
            assert await session.kernels() == ()

    async def end() -> None:
        async with AsyncLauncher(namespace=namespace) as launcher, await launcher.events() as events:
            async with await launcher.get("one") as session, await launcher.logs("one", follow=True) as log:
                await work(launcher, session)
                assert (await anext(log)).startswith("[")
            with anyio.fail_after(60):
                kinds = [(await anext(events)).kind for _ in range(2)]
            assert kinds == [SessionEventKind.ENDED, SessionEventKind.REMOVED]
            assert await launcher.ids() == []

    run_loop(begin, "asyncio")
    run_loop(end, "trio")
    assert no_act_is_left()


@pytest.mark.parametrize(
    ("backend", "phase"),
    [("asyncio", Phase.CONTAINER), ("asyncio", Phase.SERVER), ("asyncio", Phase.READY), ("trio", Phase.SERVER)],
)
def test_a_start_that_is_cancelled_leaves_nothing(
    client: Any, namespace: str, pipeline_dir: Path, backend: str, phase: Phase
) -> None:
    async def main() -> None:
        scope = anyio.CancelScope()

        def listen(event: Event) -> None:
            if event.phase is phase and event.kind is EventKind.STARTED:
                scope.cancel()

        async with AsyncLauncher(namespace=namespace, on_event=listen) as launcher:
            with scope:
                await launcher.start(pipeline_dir)
            assert scope.cancelled_caught
            assert await launcher.ids() == []

    run_loop(main, backend)
    label = f"jupyter-launcher.namespace={namespace}"
    assert client.containers.list(all=True, filters={"label": label}, ignore_removed=True) == []
    assert no_act_is_left()

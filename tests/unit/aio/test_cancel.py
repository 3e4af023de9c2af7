"""A call whose task is cancelled, whenever and however that is, leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from jupyter_launcher import (
    AsyncKernel,
    AsyncLauncher,
    AsyncSession,
    Event,
    EventKind,
    Phase,
    StartCancelledError,
    StopMethod,
    acts,
)
from jupyter_launcher.acts import wait_for_cancel
from jupyter_launcher.aio.loop import Act, Loop
from jupyter_launcher.aio.stream import AsyncStream
from jupyter_launcher.sessions.events import SessionEvents
from tests.containers import eventually
from tests.unit.aio.conftest import Run
from tests.unit.fakes import HASTY, FakeEngine, FakeEvents, FakeJupyter, refusal

PATIENCE = 10


class Steps:
    """Cancels a scope from inside an act, at its so manieth call to the engine, and only then lets the act go on."""

    def __init__(self, engine: FakeEngine, at: int) -> None:
        self.seen = 0
        self.at = at
        self.scope = anyio.CancelScope()
        self._loop = Loop()
        self._note = engine._note
        engine._note = self  # type: ignore[method-assign]

    def __call__(self, call: str, target: str = "") -> None:
        self.seen += 1
        if self.seen == self.at:
            cancelled = threading.Event()
            self._loop.soon(self.scope.cancel)
            self._loop.soon(cancelled.set)
            assert cancelled.wait(PATIENCE)
        self._note(call, target)


def test_a_start_that_is_cancelled_at_any_call_to_the_engine(
    run: Run[int], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path
) -> None:
    note = engine._note

    async def main(at: int) -> int:
        async with launcher:
            engine._note = note  # type: ignore[method-assign]
            steps = Steps(engine, at)
            session = None
            with steps.scope:
                session = await launcher.start(tmp_path)
            if session is None:
                assert steps.scope.cancel_called
                assert engine.known == {}, f"cancelled at call {at}"
            else:
                await session.stop()
            return steps.seen

    calls = run(lambda: main(0))
    assert calls > 5
    for at in range(1, calls):
        run(lambda at=at: main(at))  # type: ignore[misc]


Late = Callable[[anyio.CancelScope], None]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    """From its call on, a scope is cancelled just when the result of the next call is there."""

    def cancel_late(scope: anyio.CancelScope) -> None:
        async def wait_late(act: Act[Any]) -> None:
            act.begin()
            act.result.exception(PATIENCE)
            monkeypatch.undo()
            scope.cancel()
            await checkpoint()

        monkeypatch.setattr(Act, "wait", wait_late)

    return cancel_late


@pytest.mark.parametrize("joined", [False, True])
def test_a_session_that_comes_when_its_task_is_cancelled_is_stopped_unless_it_was_there(
    run: Run[None],
    launcher: AsyncLauncher,
    engine: FakeEngine,
    tmp_path: Path,
    late: Late,
    *,
    joined: bool,
) -> None:
    async def main() -> None:
        async with launcher:
            if joined:
                await launcher.start(tmp_path, session_id="one")
            with anyio.CancelScope() as scope:
                late(scope)
                await launcher.start(tmp_path, session_id="one")
            assert scope.cancelled_caught
            assert ("create", "jupyter-server.unit.one") in engine.calls
            assert len(engine.known) == joined

    run(main)


def test_what_cannot_be_undone_is_told(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path, late: Late, caplog: Any
) -> None:
    notes: list[str] = []

    async def start() -> None:
        try:
            await launcher.start(tmp_path)
        except BaseException as error:
            notes.extend(getattr(error, "__notes__", ()))
            raise

    async def main() -> None:
        async with launcher:
            engine.fail("remove", refusal(500, "busy"))
            with anyio.CancelScope() as scope:
                late(scope)
                await start()

    run(main)
    assert "could not be undone: busy" in caplog.text
    assert ("busy" in "".join(notes)) is (sys.version_info >= (3, 11))


def test_a_prepared_session_that_comes_when_its_task_is_cancelled_stays_prepared(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path, late: Late
) -> None:
    async def main() -> None:
        async with launcher:
            item = await launcher.prepare(tmp_path)
            with anyio.CancelScope() as scope:
                late(scope)
                await item.session()
            assert await item.cancel() is True
            assert engine.known == {}

    run(main)


class Block:
    """In place of a kernel: whether it was entered, and left."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __enter__(self) -> Block:
        self.calls.append("enter")
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.append("exit")


def test_a_kernel_that_comes_when_its_task_is_cancelled_is_left(run: Run[None], late: Late) -> None:
    async def main() -> None:
        block: Any = Block()
        async with AsyncKernel(block, Loop()):
            assert block.calls == ["enter"]
        assert block.calls == ["enter", "exit"]
        with anyio.CancelScope() as scope:
            late(scope)
            async with AsyncKernel(block, Loop()):
                block.calls.append("inside")
        assert block.calls == ["enter", "exit"] * 2

    run(main)


def test_the_callers_own_event_cancels_a_start_too(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path
) -> None:
    cancel = threading.Event()

    def wait(_: str) -> None:
        cancel.set()
        wait_for_cancel(PATIENCE)

    async def main() -> None:
        engine.on_start = wait
        async with launcher:
            with pytest.raises(StartCancelledError):
                await launcher.start(tmp_path, cancel=cancel)
            assert engine.known == {}

    run(main)


def test_a_clean_up_that_the_engine_holds_up_is_told(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr(acts, "_CLEAN_UP_SECONDS", 0.1)
    hangs = threading.Event()
    monkeypatch.setattr(engine, "remove", lambda _: hangs.wait(PATIENCE))

    async def main() -> None:
        scope, loop = anyio.CancelScope(), Loop()

        def wait(_: str) -> None:
            loop.soon(scope.cancel)
            wait_for_cancel(PATIENCE)

        engine.on_start = wait
        async with launcher:
            with scope:
                await launcher.start(tmp_path, session_id="one")
            hangs.set()

    run(main)
    assert "this may be left: container jupyter-server.unit.one" in caplog.text


async def by_timeout(call: Callable[[], Awaitable[object]], started: asyncio.Event) -> None:
    task = asyncio.ensure_future(call())
    await started.wait()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(task, 0)


async def by_task(call: Callable[[], Awaitable[object]], started: asyncio.Event) -> None:
    task = asyncio.ensure_future(call())
    await started.wait()
    for _ in range(3):  # somebody who does not let go
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_sibling(call: Callable[[], Awaitable[object]], started: asyncio.Event) -> None:
    async def fail() -> None:
        await started.wait()
        raise KeyError

    errors: list[type[BaseException]] = []
    try:
        async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined,unused-ignore] # from Python 3.11 on
            group.create_task(fail())
            group.create_task(call())
    except Exception as caught:  # noqa: BLE001 - a group of them
        errors = [type(error) for error in getattr(caught, "exceptions", ())]
    assert errors == [KeyError]


async def by_interrupt(call: Callable[[], Awaitable[object]], started: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.ensure_future(started.wait())
    waiting.add_done_callback(lambda _: loop.call_soon(os.kill, os.getpid(), signal.SIGINT))
    await call()


WAYS = [by_timeout, by_task]
if sys.version_info >= (3, 11):
    WAYS += [by_sibling, by_interrupt]


@pytest.mark.parametrize("way", WAYS)
def test_the_ways_of_asyncio(launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path, way: Any) -> None:
    async def main() -> None:
        started, loop = asyncio.Event(), asyncio.get_running_loop()

        def wait(_: str) -> None:
            loop.call_soon_threadsafe(started.set)
            wait_for_cancel(PATIENCE)

        engine.on_start = wait
        async with launcher:
            await way(lambda: launcher.start(tmp_path), started)
            assert engine.known == {}

    if way is by_interrupt:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
    else:
        asyncio.run(main())
    assert engine.known == {}


def test_leaving_a_session_in_a_task_that_is_cancelled_stops_it_gracefully(
    run: Run[None], engine: FakeEngine, tmp_path: Path
) -> None:
    events: list[Event] = []
    engine.on_wait = lambda _: wait_for_cancel(0.2)  # longer than a cancel needs

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with (
                AsyncLauncher(namespace="unit", timeouts=HASTY, on_event=events.append) as launcher,
                await launcher.start(tmp_path, lease=600) as session,
            ):
                assert session.lease == 600
                scope.cancel()
                await session.status()
        assert scope.cancelled_caught

    run(main)
    stop = [(event.kind, event.detail) for event in events if event.phase is Phase.STOP]
    assert stop[-1] == (EventKind.FINISHED, StopMethod.API.value)
    assert (engine.known, engine.closed) == ({}, True)


def test_the_loop_goes_on_while_a_cancelled_act_cleans_up(run: Run[None]) -> None:
    async def main() -> None:
        loop, scope, answered = Loop(), anyio.CancelScope(), threading.Event()

        def work() -> None:
            try:
                loop.soon(scope.cancel)
                wait_for_cancel(PATIENCE)
            finally:
                loop.soon(answered.set)
                assert answered.wait(PATIENCE)

        with scope:
            await loop.call(work)
        assert answered.is_set()

    run(main)


def test_a_call_in_a_task_that_is_cancelled_does_not_begin(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path
) -> None:
    async def main() -> None:
        async with launcher:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await launcher.start(tmp_path)
            assert scope.cancelled_caught

    run(main)
    assert engine.calls == []


def test_a_stop_in_a_task_that_is_cancelled_begins_and_kills(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    jupyter.heeds_shutdown = jupyter.heeds_sigterm = False
    engine.on_wait = lambda _: wait_for_cancel(PATIENCE)

    async def main() -> None:
        async with launcher:
            sessions = [await launcher.start(tmp_path), await launcher.start(tmp_path)]
            with anyio.CancelScope() as scope:
                scope.cancel()
                await sessions[0].stop()
            assert scope.cancelled_caught
            assert list(engine.known) == [sessions[1].container_id]
            with anyio.CancelScope() as scope:
                scope.cancel()
                await launcher.stop(sessions[1].id)
            assert engine.known == {}

    run(main)


def test_a_coroutine_that_nobody_runs_any_more_cancels_its_act() -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            wait_for_cancel(PATIENCE)
        finally:
            ended.set()

    async def main() -> None:
        item = Loop().call(work)
        item.send(None)
        item.close()
        await asyncio.to_thread(ended.wait, PATIENCE)

    asyncio.run(main())
    assert ended.is_set()


@pytest.fixture(params=["before", "after"])
def interrupt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, Ctrl-C comes where the next thread of an act is started."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name != "jupyter-launcher" or threading.current_thread() is not threading.main_thread():
            start(thread)
            return
        monkeypatch.undo()
        if request.param == "after":
            start(thread)
        raise KeyboardInterrupt

    def begin() -> None:
        monkeypatch.setattr(threading.Thread, "start", interrupted)

    return begin


def test_an_interrupt_while_a_call_begins(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path, interrupt: Callable[[], None]
) -> None:
    async def interrupted(call: Awaitable[object]) -> None:
        interrupt()
        with anyio.fail_after(PATIENCE), pytest.raises(KeyboardInterrupt):
            await call

    async def leave(session: AsyncSession) -> None:
        async with session:
            interrupt()

    async def main() -> None:
        async with launcher:
            await interrupted(launcher.start(tmp_path))
            assert engine.known == {}
            await interrupted(leave(await launcher.start(tmp_path)))
            assert engine.known == {}

    run(main)


def test_an_interrupt_while_a_stream_begins(run: Run[None], interrupt: Callable[[], None]) -> None:
    events = FakeEvents()

    async def main() -> None:
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            AsyncStream(SessionEvents(events), Loop())
        await anyio.to_thread.run_sync(lambda: eventually(lambda: events.closed))

    run(main)
    assert events.closed


@pytest.mark.parametrize("first", ["piece", "cancel"])
def test_a_piece_that_comes_when_its_task_is_cancelled_is_kept(first: str) -> None:
    most, go_on = 100, threading.Semaphore(0)

    def pieces() -> Iterator[int]:
        for number in range(most):
            assert go_on.acquire(timeout=PATIENCE)
            yield number

    async def main() -> None:
        loop, taken, cancelled = Loop(), list[int](), 0
        soon = loop._soon
        task = asyncio.ensure_future(asyncio.sleep(0, 0))

        def cancel_at_once(call: Callable[[], object]) -> object:
            def both() -> None:
                if first == "cancel":
                    task.cancel()
                call()
                task.cancel()

            return soon(both)

        loop._soon = cancel_at_once
        stream = AsyncStream(pieces(), loop)
        with anyio.fail_after(PATIENCE):
            for _ in range(most):
                task = asyncio.ensure_future(stream.__anext__())
                await asyncio.sleep(0)
                go_on.release()
                try:
                    taken.append(await task)
                except asyncio.CancelledError:
                    cancelled += 1
                    taken.append(await anext(stream))
            assert taken == list(range(most))
            assert cancelled > 0
            await stream.close()

    asyncio.run(main())

"""What belongs to one loop is refused by another; and callbacks that raise whatever there is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

from jupyter_launcher import AsyncLauncher, EngineUnavailableError, Event, EventKind, Launcher, OptionError, Phase
from jupyter_launcher.aio.loop import Loop
from jupyter_launcher.aio.stream import AsyncStream
from tests.unit.aio.conftest import Run
from tests.unit.fakes import HASTY, FakeEngine

PATIENCE = 10


def here(main: Callable[[], Coroutine[Any, Any, None]], backend: str) -> None:
    anyio.run(main, backend=backend)


def in_a_thread(main: Callable[[], Coroutine[Any, Any, None]], backend: str) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            anyio.run(main, backend=backend)
        except BaseException as error:  # noqa: BLE001 - raised again
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE * 3)
    assert (errors, thread.is_alive()) == ([], False)


@pytest.mark.parametrize("other", [here, in_a_thread])
def test_another_loop_is_refused(
    run: Run[Any], backend: str, launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path, other: Any
) -> None:
    def pieces() -> Any:
        yield "one"

    async def begin() -> tuple[Any, Any]:
        await launcher.__aenter__()
        session = await launcher.start(tmp_path, session_id="one")
        stream = AsyncStream[str](pieces(), Loop())
        assert await anext(stream) == "one"
        return session, stream

    session, stream = run(begin)
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        session.status,
        session.__aenter__,
        session.stop,
        session.kernel().__aenter__,
        launcher.ids,
        launcher.run_gateway(tmp_path).__aenter__,
        launcher.__aenter__,
        launcher.close,
        stream.__anext__,
        stream.close,
    ]

    async def use() -> None:
        for call in calls:
            with (
                anyio.fail_after(PATIENCE),
                pytest.raises(EngineUnavailableError, match=r"another event loop.*its `get`"),
            ):
                await call()
        assert launcher.namespace == "unit"  # still there
        async with AsyncLauncher(namespace="unit", timeouts=HASTY) as own, await own.get("one"):
            assert await own.ids() == ["one"]

    other(use, backend)
    assert engine.known == {}


def test_two_tasks_that_enter_one_launcher_make_one(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, closed = list[Launcher](), list[Launcher]()
    both, close, init = threading.Barrier(2, timeout=PATIENCE), Launcher.close, Launcher.__init__

    def make(own: Launcher, **options: Any) -> None:
        made.append(own)
        both.wait()
        init(own, **options)

    def end(own: Launcher) -> None:
        closed.append(own)
        close(own)

    monkeypatch.setattr(Launcher, "__init__", make)
    monkeypatch.setattr(Launcher, "close", end)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(launcher.__aenter__)
        assert len(closed) == 1
        await launcher.close()

    run(main)
    assert len(made) == 2
    assert set(closed) == set(made)


class GoneError(BaseException):
    """As ``pytest.fail`` raises."""


RAISED = [GoneError, asyncio.CancelledError, SystemExit, KeyboardInterrupt]


@pytest.mark.parametrize("kind", RAISED)
def test_a_call_raises_whatever_its_callback_raises(run: Run[None], kind: type[BaseException]) -> None:
    def fail(_: str) -> None:
        raise kind

    async def main() -> None:
        loop, ended = Loop(), threading.Event()

        def work() -> None:
            try:
                loop.ask(fail, "one")
            finally:
                ended.set()

        with anyio.fail_after(PATIENCE), pytest.raises(kind):
            await loop.call(work)
        assert ended.is_set()

    run(main)


@pytest.mark.parametrize("kind", RAISED)
def test_a_listener_may_raise_whatever_it_likes(
    run: Run[None], backend: str, kind: type[BaseException], caplog: Any
) -> None:
    event = Event(session_id="one", phase=Phase.READY, kind=EventKind.STARTED)

    def fail(_: Event) -> None:
        raise kind

    async def main() -> None:
        loop, calls = Loop(), list[Callable[[], object]]()
        loop._soon = calls.append
        loop.tell(fail, event)
        if backend == "asyncio" and kind in (SystemExit, KeyboardInterrupt):  # ends the loop
            with pytest.raises(kind):
                calls[0]()
        else:
            calls[0]()

    run(main)
    assert "on_event failed for Event(" in caplog.text


async def later(_: object) -> None:
    """A function that has to be awaited."""


async def pieces_of(_: object) -> AsyncIterator[int]:
    yield 1


class Later:
    async def __call__(self, _: object) -> None:
        """It has to be awaited."""


@pytest.mark.parametrize("value", [Later(), pieces_of, later])
def test_a_callback_that_can_be_seen_to_need_an_await_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"on_event is .* has to be awaited"):
        AsyncLauncher(on_event=value)


def test_a_callback_that_gives_a_coroutine_is_refused(
    run: Run[None], engine: FakeEngine, tmp_path: Path, caplog: Any
) -> None:
    coroutines: list[Any] = []

    def give(what: object) -> Any:
        coroutines.append(later(what))
        return coroutines[-1]

    async def main() -> None:
        loop = Loop()
        ask = loop.adapt({"on_output": give})["on_output"]
        with pytest.raises(OptionError, match=r"on_output is .* has to be awaited") as caught:
            await loop.call(lambda: ask("one"))
        assert caught.value.option == "on_output"
        async with AsyncLauncher(namespace="unit", timeouts=HASTY, on_event=give) as launcher:
            await launcher.start(tmp_path)

    run(main)
    assert "on_event is " in caplog.text
    assert len(coroutines) > 1
    assert {item.cr_frame for item in coroutines} == {None}  # closed: no warning that nobody awaited it

"""``AsyncLauncher``: each call reaches the one that it stands for, and callbacks come back into the loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from jupyter_launcher import (
    AsyncKernel,
    AsyncLauncher,
    AsyncPreparation,
    EngineError,
    EngineUnavailableError,
    Event,
    Launcher,
    OptionError,
    Phase,
    RunningGateway,
    ServerTimeoutError,
    SessionEventKind,
    SessionNotFoundError,
    SessionState,
    StartCancelledError,
    StopMethod,
)
from jupyter_launcher.acts import wait_for_cancel
from jupyter_launcher.aio import loop as module
from jupyter_launcher.aio.forward import Async, awaited
from jupyter_launcher.aio.launcher import _undo_gateway
from jupyter_launcher.aio.loop import Loop
from jupyter_launcher.aio.stream import AsyncStream
from jupyter_launcher.engine.shapes import ContainerEvent
from tests.containers import eventually
from tests.unit.aio.conftest import Run
from tests.unit.fakes import HASTY, NOW, FakeEngine, FakeEvents, FakeJupyter, refusal

PATIENCE = 10
USER = f"{os.getuid()}:{os.getgid()}"


def test_a_session_is_started_found_and_stopped(run: Run[None], engine: FakeEngine, tmp_path: Path) -> None:
    events: list[Event] = []
    threads: set[int] = set()

    def listen(event: Event) -> None:
        events.append(event)
        threads.add(threading.get_ident())

    async def main() -> None:
        async with AsyncLauncher(namespace="unit", timeouts=HASTY, on_event=listen) as launcher:
            assert (launcher.namespace, launcher.owner, launcher.timeouts) == ("unit", "", HASTY)
            async with await launcher.start(tmp_path, session_id="one", secrets={"db": "s3cret"}) as session:
                assert events[-1].phase is Phase.READY  # all are there when the call returns
                assert (session.id, session.joined, session.pipeline_dir) == ("one", False, tmp_path)
                assert session.lab_url_of("a.ipynb").startswith(f"{session.url}lab/tree/a.ipynb?token=")
                found = await launcher.get("one")
                assert (found.joined, found.server_info) == (True, session.server_info)
                assert (await found.status()).state is SessionState.READY
                assert await session.logs(5) == "the log"
                assert await launcher.ids() == ["one"]
                assert [item.session_id for item in await launcher.list(probe=False)] == ["one"]
                assert isinstance(session.kernel(id="0123abcd-0123-0123-0123-0123456789ab"), AsyncKernel)
                assert repr(session) == f"<AsyncSession of <Session one of {tmp_path} at {session.url}>>"
            assert engine.known == {}
            assert (await session.stop()).method is StopMethod.ALREADY_STOPPED
            with pytest.raises(SessionNotFoundError):
                await launcher.get("one")
            with pytest.raises(TypeError):
                await launcher.start(tmp_path, nonsense=1)  # type: ignore[call-arg]

    run(main)
    assert engine.closed
    assert {"_jl_secret_1": "s3cret"} in engine.environments
    assert threads == {threading.get_ident()}
    assert [event.kind for event in events if event.phase is Phase.SERVER] == ["started", "finished"]


def test_it_is_used_in_its_block_and_may_be_used_again(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine
) -> None:
    assert repr(launcher) == "<AsyncLauncher>"
    with pytest.raises(EngineUnavailableError, match=r"not connected; use it inside of its `async with` block"):
        _ = launcher.namespace

    async def main() -> None:
        with pytest.raises(EngineUnavailableError):
            await launcher.ids()
        async with launcher, launcher:
            assert await launcher.ids() == []
        with pytest.raises(EngineUnavailableError):
            await launcher.ids()
        await launcher.close()

    run(main)
    run(main)


async def later(_: object) -> None:
    """A function that has to be awaited."""


@pytest.mark.parametrize(
    ("given", "kind"), [({"on_event": later}, OptionError), ({"nonsense": 5}, TypeError), ({"namespace": 5}, None)]
)
def test_options_that_cannot_be(given: dict[str, Any], kind: type[Exception] | None) -> None:
    if kind is None:  # seen when it connects
        made = AsyncLauncher(**given)
        with pytest.raises(OptionError):
            anyio.run(made.__aenter__)
        return
    with pytest.raises(kind):
        AsyncLauncher(**given)


def test_a_listener_that_fails_changes_nothing(run: Run[None], engine: FakeEngine, tmp_path: Path, caplog: Any) -> None:
    def fail(_: Event) -> None:
        raise KeyError

    async def main() -> None:
        async with AsyncLauncher(namespace="unit", timeouts=HASTY, on_event=fail) as launcher:
            await launcher.start(tmp_path)

    run(main)
    assert "on_event failed for Event(" in caplog.text


class Worker:
    """An object whose calls block."""

    def work(self, what: Callable[[], object] = int, *, on_output: Callable[[str], object] | None = None) -> object:
        return what() if on_output is None else (on_output("one"), on_output("two"))

    def wait(self, what: Callable[[], object]) -> object:
        return what()


class AsyncWorker(Async[Worker], like=Worker):
    """The same, awaited."""

    work = awaited(Worker.work)
    wait = awaited(Worker.wait, is_limited=False)


def test_outputs_are_handed_over_in_the_loop(run: Run[None]) -> None:
    async def main() -> None:
        worker, seen, scope = AsyncWorker(Worker(), Loop()), list[object](), anyio.CancelScope()

        def take(text: str) -> str:
            seen.append((text, threading.get_ident()))
            return text.upper()

        answers = await worker.work(on_output=take)
        assert seen == [("one", threading.get_ident()), ("two", threading.get_ident())]
        assert answers == ("ONE", "TWO")
        with pytest.raises(ZeroDivisionError):
            await worker.work(on_output=lambda text: len(text) / 0)
        with pytest.raises(OptionError, match=r"on_output is .* has to be awaited"):
            await worker.work(on_output=later)
        with scope:
            await worker.work(on_output=lambda _: scope.cancel())
        assert scope.cancelled_caught

    run(main)


def test_an_output_whose_loop_does_not_answer_any_more_is_given_up(run: Run[None]) -> None:
    async def main() -> None:
        loop, scope, asked, soon = Loop(), anyio.CancelScope(), threading.Event(), list[object]()

        def keep(call: object) -> None:  # a loop that has come to its end
            soon.append(call)
            asked.set()

        async def cancel() -> None:
            await anyio.to_thread.run_sync(asked.wait)
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            own = Loop()
            own._soon = keep
            with scope:
                await loop.call(lambda: own.ask(len, "one"))
        assert scope.cancelled_caught
        assert len(soon) == 1

    run(main)


def test_calls_of_one_kind_wait_for_each_other_where_there_are_many(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)

    async def main() -> None:
        worker, begun, go_on = AsyncWorker(Worker(), Loop()), list[None](), threading.Event()

        def hold() -> None:
            begun.append(None)
            assert go_on.wait(PATIENCE)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(worker.work, hold)
            await anyio.to_thread.run_sync(lambda: eventually(lambda: len(begun) == 2))
            for _ in range(3):  # these wait for nobody
                group.start_soon(worker.wait, hold)
            await anyio.to_thread.run_sync(lambda: eventually(lambda: len(begun) == 5))
            with anyio.move_on_after(0.1) as scope:
                await worker.work(hold)
            assert (scope.cancelled_caught, len(begun)) == (True, 5)
            go_on.set()
        assert len(begun) == 6

    run(main)


def test_many_calls_at_once(run: Run[None], launcher: AsyncLauncher, tmp_path: Path) -> None:
    async def main() -> None:
        found: list[str] = []

        async def get() -> None:
            found.append((await launcher.get("one")).id)

        async with (
            launcher,
            await launcher.start(tmp_path, session_id="one"),
            anyio.create_task_group() as group,
        ):
            for _ in range(100):
                group.start_soon(get)
        assert found == ["one"] * 100

    run(main)


# Streams


def test_a_log_comes_in_pieces(run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path) -> None:
    engine.log = "one\n" * 1000

    async def main() -> None:
        async with launcher:
            await launcher.start(tmp_path, session_id="one")
            assert [piece async for piece in await launcher.logs("one", follow=True)] == ["one\n"] * 1000
            engine.fail("logs", refusal(501, "no driver"))
            with pytest.raises(EngineError, match="no driver"):
                await launcher.logs("one")

    run(main)


class Waits(FakeEvents):
    """Events that come when they are let, until it is closed."""

    def __init__(self, *events: ContainerEvent) -> None:
        super().__init__(*events)
        self.changed = threading.Event()
        self.timed_out = False

    def __next__(self) -> ContainerEvent:
        while not self.events:
            self.timed_out = not self.changed.wait(PATIENCE)
            if self.timed_out or self.closed:
                raise StopIteration
            self.changed.clear()
        return self.events.popleft()

    def close(self) -> None:
        super().close()
        self.changed.set()


def happened(engine: FakeEngine) -> ContainerEvent:
    (info,) = engine.known.values()
    return ContainerEvent(action="die", id=info.id, name=info.name, labels=info.labels, time=NOW, exit_code=1)


@pytest.mark.parametrize("end", ["block", "launcher", "nobody"])
def test_events_are_waited_for_and_a_wait_that_is_cancelled_loses_none(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path, end: str
) -> None:
    engine.happened = waits = Waits()

    async def main() -> None:
        async with launcher:
            await launcher.start(tmp_path, session_id="one")
            events = await launcher.events(since=NOW)
            with anyio.move_on_after(0.05) as scope:
                await anext(events)
            assert scope.cancelled_caught
            waits.events.append(happened(engine))
            waits.changed.set()
            event = await anext(events)
            assert (event.kind, event.session_id) == (SessionEventKind.ENDED, "one")
            if end == "block":
                async with events:
                    pass
                with pytest.raises(StopAsyncIteration):
                    await anext(events)
            elif end == "nobody":
                del events
                await anyio.to_thread.run_sync(lambda: eventually(lambda: waits.closed))
        assert (waits.closed, waits.timed_out) == (True, False)

    run(main)


def test_a_stream_that_breaks_off_raises_each_time(run: Run[None]) -> None:
    async def main() -> None:
        def pieces() -> Any:
            yield 1
            raise refusal(500, "gone")

        stream = AsyncStream[int](pieces(), Loop())
        assert await anext(stream) == 1
        for _ in range(2):
            with pytest.raises(EngineError, match="gone"):
                await anext(stream)
        await stream.close()
        stream = AsyncStream[int](iter(range(10**9)), Loop())  # as many as wait, and no more
        assert await anext(stream) == 0
        await stream.close()

    run(main)


# Preparations, pools, gateways


def test_a_prepared_session_is_taken_or_cancelled(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def hold(_: str) -> None:
        while not go_on.is_set():
            wait_for_cancel(0.01)

    async def main() -> None:
        async with launcher:
            engine.on_start = hold
            item = await launcher.prepare(tmp_path, session_id="one", memory="1g")
            assert (type(item), item.session_id) == (AsyncPreparation, "one")
            with pytest.raises(ServerTimeoutError, match=r"not there after 0\.01 s"):
                await item.session(timeout=0.01)
            with pytest.raises(OptionError):
                await item.session(timeout=-1)
            with anyio.move_on_after(0.1) as scope:
                await item.session()
            assert scope.cancelled_caught
            go_on.set()
            async with await item.session() as session:
                assert (session.id, session.joined) == ("one", False)
                assert await item.cancel() is False
            go_on.clear()
            item = await launcher.prepare(tmp_path)
            assert await item.cancel() is True
            with pytest.raises(StartCancelledError):
                await item.session()
            await launcher.prepare(tmp_path)  # which nobody takes
        assert engine.known == {}

    run(main)


def test_a_pool_starts_sessions(run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path) -> None:
    async def main() -> None:
        async with launcher:
            async with await launcher.pool(size=1, user=USER, environment={"A": "b"}) as pool:
                assert (pool.size, await pool.wait(PATIENCE), pool.ready) == (1, True, 1)
                async with await pool.start(tmp_path, session_id="one", memory="1g") as session:  # not the pool's
                    assert engine.configs[session.container_name].environment == {"A": "b"}
                assert len(engine.known) == 1
            assert engine.known == {}
            with pytest.raises(OptionError):
                await launcher.pool(size=0, user=USER)

    run(main)


@pytest.mark.parametrize("kept", [False, True])
def test_a_gateway_is_run(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path, *, kept: bool
) -> None:
    asked: list[int] = []

    def keep(_: str) -> bool:
        asked.append(threading.get_ident())
        return kept

    async def main() -> None:
        scope = anyio.CancelScope()
        with scope:
            async with launcher, launcher.run_gateway(tmp_path, image="gateway", keep=keep) as gateway:
                assert [item.name for item in await launcher.gateways()] == [gateway.name]
                scope.cancel()
                await launcher.ids()
        assert scope.cancelled_caught

    run(main)
    assert asked == [threading.get_ident()]
    assert len(engine.known) == kept


def test_a_gateway_stays_until_it_is_stopped(
    run: Run[None], launcher: AsyncLauncher, engine: FakeEngine, tmp_path: Path
) -> None:
    async def main() -> None:
        async with launcher:
            first = await launcher.start_gateway(tmp_path, image="gateway", gateway_id="team")
            again = await launcher.start_gateway(tmp_path, image="gateway", gateway_id="team")
            assert (first.joined, again.joined, again.name) == (False, True, first.name)
            assert [item.gateway_id for item in await launcher.gateways()] == ["team"]
            await launcher.stop_gateway("team")

    run(main)
    assert engine.known == {}


@pytest.mark.parametrize("joined", [False, True])
def test_a_gateway_that_nobody_gets_is_stopped_unless_it_was_there(
    run: Run[None],
    launcher: AsyncLauncher,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    joined: bool,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    stopped: list[str] = []
    found = RunningGateway(name="kernel-gateway.unit.team", url="http://x", token="t", gateway_id="team", joined=joined)

    def start(_: Launcher, place: Path, **options: object) -> RunningGateway:
        assert (place, options) == (tmp_path, {"gateway_id": "team"})
        begun.set()
        go_on.wait()
        return found

    # What is awaited was taken from the class when that was made.
    awaits = awaited(start, take_back=_undo_gateway)  # type: ignore[arg-type]
    monkeypatch.setattr(AsyncLauncher, "start_gateway", awaits)
    monkeypatch.setattr(Launcher, "stop_gateway", lambda _, gateway_id: stopped.append(gateway_id))

    async def main() -> None:
        async with launcher, anyio.create_task_group() as group:
            group.start_soon(partial(launcher.start_gateway, tmp_path, gateway_id="team"))
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
            go_on.set()

    run(main)
    assert stopped == ([] if joined else ["team"])

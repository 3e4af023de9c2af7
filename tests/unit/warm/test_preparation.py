"""``Launcher.prepare``: what is begun is taken by somebody, or nothing of it is left."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    Event,
    Launcher,
    OptionError,
    PipelineDirError,
    Preparation,
    ServerTimeoutError,
    Session,
    StartCancelledError,
    acts,
)
from jupyter_launcher.acts import check_cancelled
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from jupyter_launcher.warm import preparation as module
from tests.unit.fakes import FakeEngine, FakeJupyter, refusal
from tests.unit.forks import in_a_fork

PATIENCE = 30


class Gate:
    """Holds a start where its container has just been started, until it is opened or the start is cancelled."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _: str) -> None:
        self.reached.set()
        for attempt in attempts(Deadline(PATIENCE), NotYetError):
            with attempt:
                if not self.opened.is_set():
                    raise NotYetError


@pytest.fixture
def gate(engine: FakeEngine) -> Iterator[Gate]:
    made = Gate()
    engine.on_start = made
    yield made
    made.opened.set()


def done(item: Preparation) -> Preparation:
    """It, once its start has ended; nobody has taken the session."""
    item._result.exception(PATIENCE)
    return item


def test_it_takes_what_start_takes() -> None:
    start, prepare = inspect.signature(Launcher.start), inspect.signature(Launcher.prepare)
    assert prepare.parameters == start.parameters
    assert (start.return_annotation, prepare.return_annotation) == ("Session", "Preparation")


def test_a_session_is_prepared_taken_and_its_takers(
    launcher: Launcher, engine: FakeEngine, events: list[Event], tmp_path: Path, gate: Gate
) -> None:
    item = launcher.prepare(tmp_path, session_id="one", memory="1g", secrets={"db": "s3cret"})
    assert gate.reached.wait(PATIENCE)
    assert (item.session_id, repr(item)) == ("one", "<Preparation of session one>")
    gate.opened.set()
    session = item.session()
    assert (session.id, session.joined, session.pipeline_dir) == ("one", False, tmp_path)
    assert item.session(0) is session
    assert engine.configs[session.container_name].memory == 2**30
    assert {"_jl_secret_1": "s3cret"} in engine.environments
    prepared = [(event.session_id, event.phase, event.kind) for event in events]
    assert item.cancel() is False
    launcher.close()
    assert engine.named(session.container_name).running
    session.stop()
    events.clear()
    launcher.start(tmp_path, session_id="one", memory="1g", secrets={"db": "s3cret"})
    assert [(event.session_id, event.phase, event.kind) for event in events] == prepared


@pytest.mark.parametrize("way", ["start", "get", "prepare"])
def test_a_session_that_somebody_got_otherwise_is_left_alone(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, way: str
) -> None:
    item = done(launcher.prepare(tmp_path, session_id="one"))
    ways: dict[str, Callable[[], Session]] = {
        "start": lambda: launcher.start(tmp_path, session_id="one"),
        "get": lambda: launcher.get("one"),
        "prepare": lambda: launcher.prepare(tmp_path, session_id="one").session(),
    }
    session = ways[way]()
    assert session.joined
    assert item.cancel() is False
    launcher.close()
    assert engine.named(session.container_name).running
    assert item.session().container_id == session.container_id
    session.stop()
    again = done(launcher.prepare(tmp_path, session_id="one"))
    assert again.cancel() is True
    assert engine.known == {}


def test_a_start_that_failed_is_not_kept(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    engine.fail("create", refusal(500, "no disk"))
    item = done(launcher.prepare(tmp_path))
    assert launcher._preparations._open == set()
    with pytest.raises(EngineError, match="no disk"):
        item.session()


def test_an_id_is_made_up_at_once(launcher: Launcher, tmp_path: Path) -> None:
    item = launcher.prepare(tmp_path)
    assert item.session().id == item.session_id


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"memory": "much"}, OptionError),
        ({"cancel": "yes"}, OptionError),
        ({"timeouts": 5}, OptionError),
        ({"token": lambda: "short"}, OptionError),
        ({"secrets": ["db"]}, OptionError),
        ({"image": ""}, OptionError),
        ({"session_id": "No"}, OptionError),
        ({"pipeline_dir": "/no/such/directory"}, PipelineDirError),
        ({"nonsense": 1}, TypeError),
    ],
)
def test_what_cannot_be_is_an_error_at_once(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, given: dict[str, Any], kind: type[Exception]
) -> None:
    call: Callable[..., Preparation] = launcher.prepare
    with pytest.raises(kind):
        call(**{"pipeline_dir": tmp_path, **given})
    assert "create" not in [name for name, _ in engine.calls]
    assert launcher._preparations._open == set()


def test_a_type_checker_knows_what_it_takes(launcher: Launcher, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        launcher.prepare(tmp_path, nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(OptionError):
        launcher.prepare(tmp_path, tune="yes")  # type: ignore[arg-type]


def test_secrets_are_in_no_traceback(launcher: Launcher, tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        launcher.prepare(tmp_path, secrets={"db": "s3cret"}, memory="none")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert not any("s3cret" in repr(value) for frame in frames for value in frame.f_locals.values())


def test_what_start_raises_is_raised_at_each_call(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    engine.fail("create", refusal(500, "made up"))
    item = launcher.prepare(tmp_path)
    found = []
    for _ in range(2):
        with pytest.raises(EngineError, match="made up") as caught:
            item.session()
        found.append(caught.value)
    assert found[0] is found[1]
    assert item.cancel() is True
    with pytest.raises(EngineError, match="made up"):
        item.session()
    assert engine.known == {}


def test_a_time_out_ends_the_wait_alone(launcher: Launcher, tmp_path: Path, gate: Gate) -> None:
    item = launcher.prepare(tmp_path)
    with pytest.raises(ServerTimeoutError, match="its start goes on") as caught:
        item.session(timeout=0)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.seconds == 0
    gate.opened.set()
    assert item.session(timeout=1e300).id == item.session_id


def test_a_time_out_of_the_start_is_the_starts(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    error = ServerTimeoutError("made up", hint="none", seconds=7.0)
    engine.fail("create", error)
    item = done(launcher.prepare(tmp_path))
    with pytest.raises(ServerTimeoutError) as caught:
        item.session(timeout=0)
    assert caught.value is error


@pytest.mark.parametrize("timeout", [-1, "5", True, float("nan"), float("inf")])
def test_a_time_out_that_cannot_be(launcher: Launcher, tmp_path: Path, timeout: Any) -> None:
    item = launcher.prepare(tmp_path)
    with pytest.raises(OptionError) as caught:
        item.session(timeout)
    assert caught.value.option == "timeout"


def test_a_cancel_in_the_middle_leaves_nothing(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, gate: Gate
) -> None:
    item = launcher.prepare(tmp_path, session_id="one")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(item.session)
        assert gate.reached.wait(PATIENCE)
        assert item.cancel() is True
        assert engine.known == {}
        assert isinstance(waiting.exception(PATIENCE), StartCancelledError)
    assert item.cancel() is True
    with pytest.raises(StartCancelledError, match="the start of session one was cancelled") as caught:
        item.session()
    assert caught.value.session_id == "one"
    assert launcher._preparations._open == set()


def test_a_wait_ends_with_the_act_that_it_is_part_of(
    launcher: Launcher, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "_CLEAN_UP_SECONDS", 2.0)
    item, cancel, ended = launcher.prepare(tmp_path), threading.Event(), threading.Event()

    def wait() -> None:
        cancel.set()
        try:
            item.session()
        finally:
            ended.set()

    with pytest.raises(KeyError):
        acts.run_act(wait, cancel=acts.Cancel(cancel, KeyError))
    assert ended.is_set()
    gate.opened.set()
    assert item.session().id == item.session_id


def test_a_session_that_nobody_took_is_stopped(
    launcher: Launcher, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    item = done(launcher.prepare(tmp_path))
    assert len(engine.known) == 1
    assert [item.cancel(), item.cancel()] == [True, True]
    assert engine.known == {}
    assert ("POST", "/api/shutdown") in jupyter.asked
    found = []
    for _ in range(2):
        with pytest.raises(StartCancelledError) as caught:
            item.session()
        found.append(caught.value)
    assert found[0] is found[1]


def test_a_stop_that_fails_is_tried_again(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    item = done(launcher.prepare(tmp_path))
    engine.fail("remove", refusal(500, "busy"))
    with pytest.raises(EngineError, match="busy"):
        item.cancel()
    assert len(engine.known) == 1
    assert item.cancel() is True
    assert engine.known == {}


def test_only_who_made_a_session_stops_it(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    first = done(launcher.prepare(tmp_path, session_id="one"))
    second = done(launcher.prepare(tmp_path, session_id="one"))
    assert second.cancel() is True
    assert len(engine.known) == 1
    third = launcher.prepare(tmp_path, session_id="one")
    assert (third.session().joined, third.cancel()) == (True, False)
    assert first.cancel() is False
    assert len(engine.known) == 1
    third.session().stop()
    assert engine.known == {}


def test_closing_the_launcher_cancels_what_nobody_took(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    taken = launcher.prepare(tmp_path, session_id="taken").session()
    ready = done(launcher.prepare(tmp_path, session_id="ready"))
    gate = Gate()
    engine.on_start = gate
    running = launcher.prepare(tmp_path, session_id="running")
    assert gate.reached.wait(PATIENCE)
    launcher.close()
    assert [info.id for info in engine.known.values()] == [taken.container_id]
    assert engine.closed
    for item in (ready, running):
        with pytest.raises(StartCancelledError):
            item.session()


def test_closing_says_what_could_not_be_ended_and_closes(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path
) -> None:
    done(launcher.prepare(tmp_path, session_id="one"))
    engine.fail("remove", refusal(500, "busy"))
    with pytest.raises(EngineError, match="busy"):
        launcher.close()
    assert engine.closed
    launcher.close()
    assert engine.known == {}


def test_a_cancel_that_the_engine_holds_up_names_what_may_be_left(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(acts, "_CLEAN_UP_SECONDS", 0.1)
    hangs, over = threading.Event(), threading.Event()
    remove = engine.remove

    def hang(container: str) -> None:
        hangs.wait(PATIENCE)
        remove(container)
        over.set()

    monkeypatch.setattr(engine, "remove", hang)
    item = launcher.prepare(tmp_path, session_id="one")
    assert gate.reached.wait(PATIENCE)
    try:
        for call in (item.cancel, item.session):
            with pytest.raises(StartCancelledError, match=r"may be left: container jupyter-server\.unit\.one"):
                call()
    finally:
        hangs.set()
    assert over.wait(PATIENCE)
    assert item.cancel() is True  # it was told
    assert launcher._preparations._open == set()


def test_the_callers_own_event_cancels_it_too(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, gate: Gate
) -> None:
    event = threading.Event()
    item = launcher.prepare(tmp_path, cancel=event)
    assert gate.reached.wait(PATIENCE)
    event.set()
    with pytest.raises(StartCancelledError):
        item.session()
    assert engine.known == {}
    assert item.cancel() is True
    with pytest.raises(StartCancelledError):
        launcher.prepare(tmp_path, cancel=event).session()
    assert engine.known == {}


def test_many_take_it_or_cancel_it(launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> None:
    """Either somebody has it, and it runs, or nobody has."""
    for number in range(10):
        item = launcher.prepare(tmp_path, session_id=f"one-{number}")
        together = threading.Barrier(8)

        def call(take: bool, item: Preparation = item, together: threading.Barrier = together) -> object:  # noqa: FBT001
            together.wait(PATIENCE)
            try:
                return item.session() if take else item.cancel()
            except StartCancelledError:
                return None

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(call, [True, False] * 4))
        taken = {item for item in found if isinstance(item, Session)}
        assert len(taken) == len(engine.known) <= 1
        assert found[1::2] == [not taken] * 4
        for session in taken:
            session.stop()


def test_an_interrupt_while_it_begins_leaves_nothing(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "begin_act", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launcher.prepare(tmp_path)
    assert launcher._preparations._open == set()
    launcher.close()
    assert engine.known == {}


def test_an_interrupt_after_it_has_begun_ends_it(
    launcher: Launcher, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    begin = acts.begin_act

    def interrupted(*given: Any, **more: Any) -> None:
        begin(*given, **more)
        assert gate.reached.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "begin_act", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launcher.prepare(tmp_path)
    launcher.close()
    assert engine.known == {}


def test_a_fork_has_no_part_in_it(launcher: Launcher, engine: FakeEngine, tmp_path: Path, gate: Gate) -> None:
    item = launcher.prepare(tmp_path, session_id="one")
    assert gate.reached.wait(PATIENCE)

    def use() -> str:
        launcher.close()
        item.cancel_at_exit()
        found = []
        for call in (item.session, item.cancel):
            with pytest.raises(EngineUnavailableError, match="was forked from") as caught:
                call()
            found.append(caught.value.endpoint)
        return f"{found} {len(engine.known)}"

    assert in_a_fork(use) == f"{[engine.endpoint] * 2} 1"
    gate.opened.set()
    assert item.session().id == "one"


EXIT = """
import atexit, sys, threading
from tests.unit.fakes import HASTY, FakeJupyter
from tests.unit.warm.test_preparation import Gate, done
from jupyter_launcher import DEFAULT_IMAGE, Launcher
from jupyter_launcher.engine.client import DockerEngine

jupyter = FakeJupyter()
plain, threading.Thread = threading.Thread, lambda **options: plain(**options, daemon=True)
serving = jupyter.serve()
serving.__enter__()
threading.Thread = plain
engine = jupyter.engine
engine.images.known.add(DEFAULT_IMAGE)
atexit.register(lambda: print(len(engine.known), "left"))
DockerEngine.connect = lambda **_: engine
launcher = Launcher(namespace="unit", timeouts=HASTY)
ready = done(launcher.prepare(sys.argv[1], session_id="ready"))
engine.on_start = gate = Gate()
running = launcher.prepare(sys.argv[1], session_id="running")
gate.reached.wait()
print(len(engine.known), "there")
"""


def test_the_end_of_the_process_leaves_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-c", EXIT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)
    assert (ended.stdout.splitlines(), ended.stderr) == (["2 there", "0 left"], "")


def test_a_start_that_is_part_of_an_act_does_not_end_with_it(launcher: Launcher, tmp_path: Path) -> None:
    """A listener of events prepares a session: the start that it was told of may end, and this one goes on."""
    items: list[Preparation] = []

    def act() -> None:
        items.append(launcher.prepare(tmp_path, session_id="one"))
        check_cancelled()

    acts.run_act(act)
    assert items[0].session().id == "one"

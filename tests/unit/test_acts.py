from __future__ import annotations

import contextvars
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from jupyter_launcher import acts
from jupyter_launcher.acts import (
    Cancel,
    CancelledActError,
    begin_act,
    check_cancelled,
    close_on_cancel,
    leaves,
    run_act,
    shielded,
)
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from tests.unit.forks import in_a_fork


def interrupt(times: int = 1) -> None:
    """What Ctrl-C sends, some times in a row."""
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)


class Act:
    """An act that waits until it is cancelled, and then cleans up."""

    def __init__(
        self, on_wait: Callable[[], object] = lambda: None, clean_up: Callable[[], object] = lambda: None
    ) -> None:
        self.ended = False
        self._on_wait = on_wait
        self._clean_up = clean_up

    def __call__(self) -> None:
        try:
            self._on_wait()
            for attempt in attempts(Deadline(60), NotYetError):
                with attempt:
                    raise NotYetError
        finally:
            self._clean_up()
            self.ended = True


def test_an_act_runs_in_a_thread_of_its_own_and_gives_its_result() -> None:
    assert run_act(threading.current_thread) is not threading.current_thread()


def test_what_an_act_raises_is_raised() -> None:
    with pytest.raises(KeyError):
        run_act(lambda: dict[str, int]()["missing"])


def test_an_act_in_an_act_is_a_part_of_it() -> None:
    outer, inner = run_act(lambda: (threading.current_thread(), run_act(threading.current_thread)))
    assert outer is inner


def test_an_act_sees_its_callers_context_variables() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    variable.set(5)
    assert run_act(variable.get) == 5


@pytest.mark.parametrize("times", [1, 2, 5])
def test_interrupts_end_the_waits_of_an_act_and_not_its_clean_up(times: int) -> None:
    act = Act(on_wait=lambda: interrupt(times), clean_up=lambda: interrupt(times))
    with pytest.raises(KeyboardInterrupt):
        run_act(act)
    assert act.ended
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_that_meet_the_end_of_an_act_undo_it() -> None:
    undone: list[str] = []

    def act() -> str:
        interrupt(3)
        return "made"

    with pytest.raises(KeyboardInterrupt):
        run_act(act, undo=undone.append)
    assert undone == ["made"]


def test_an_interrupt_before_the_act_begins_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(signal, "getsignal", interrupted)
    called: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run_act(lambda: called.append(1))
    assert called == []


def test_the_interrupt_of_the_last_moment_undoes_the_act(monkeypatch: pytest.MonkeyPatch) -> None:
    undone: list[str] = []
    set_handler = signal.signal
    pending = [True]

    def restore(number: int, handler: Any) -> Any:
        before = set_handler(number, handler)
        if handler is signal.default_int_handler and pending:
            pending.clear()
            raise KeyboardInterrupt
        return before

    monkeypatch.setattr(signal, "signal", restore)
    with pytest.raises(KeyboardInterrupt):
        run_act(lambda: "made", undo=undone.append)
    assert undone == ["made"]


def test_what_a_handler_of_the_caller_raises_cancels_the_act_too() -> None:
    def leave(*_: object) -> None:
        sys.exit(3)

    before = signal.signal(signal.SIGUSR1, leave)
    act = Act(
        on_wait=lambda: os.kill(os.getpid(), signal.SIGUSR1), clean_up=lambda: os.kill(os.getpid(), signal.SIGUSR1)
    )
    try:
        with pytest.raises(SystemExit):
            run_act(act)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert act.ended


def test_an_event_cancels_an_act() -> None:
    event = threading.Event()
    act = Act(on_wait=event.set)
    with pytest.raises(ValueError, match="cancelled, left nothing"):
        run_act(act, cancel=Cancel(event, lambda left: ValueError(f"cancelled, left {left or 'nothing'}")))
    assert act.ended


def test_an_event_cancels_an_act_inside_an_act_alone() -> None:
    event = threading.Event()
    inner = Act(on_wait=event.set)

    def outer() -> str:
        with pytest.raises(ValueError, match="cancelled"):
            run_act(inner, cancel=Cancel(event, lambda _: ValueError("cancelled")))
        return "goes on"

    assert run_act(outer) == "goes on"
    assert inner.ended


@pytest.mark.parametrize("hangs", [False, True])
def test_an_act_inside_an_act_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, hangs: bool
) -> None:
    over = threading.Event()
    if hangs:
        monkeypatch.setattr(acts, "_CLEAN_UP_SECONDS", 0.1)

    def act() -> None:
        with leaves("container one"):
            Act(on_wait=interrupt, clean_up=lambda: over.wait(30) if hangs else None)()

    def outer() -> None:
        run_act(act, cancel=Cancel(threading.Event(), ValueError))

    try:
        with pytest.raises(KeyboardInterrupt):
            run_act(outer)
    finally:
        over.set()
    assert ("this may be left: container one" in caplog.text) is hangs


def test_an_error_of_the_clean_up_is_told_too() -> None:
    def fail() -> None:
        msg = "the clean-up failed"
        raise OSError(msg)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_act(Act(on_wait=interrupt, clean_up=fail))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("by", ["interrupt", "event"])
def test_a_clean_up_that_hangs_names_what_may_be_left(
    by: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acts, "_CLEAN_UP_SECONDS", 0.1)
    event, hangs, over = threading.Event(), threading.Event(), threading.Event()

    def act() -> None:
        try:
            with leaves("container one"):
                try:
                    Act(on_wait=interrupt if by == "interrupt" else event.set)()
                finally:
                    hangs.wait(30)
        finally:
            over.set()

    try:
        with pytest.raises((KeyboardInterrupt, ValueError)) as caught:
            run_act(act, cancel=Cancel(event, ValueError))
    finally:
        hangs.set()
    assert over.wait(30)
    assert "this may be left: container one" in caplog.text
    if by == "event":
        assert "container one" in str(caught.value)
    elif sys.version_info >= (3, 11):
        assert "container one" in caught.value.__notes__[0]


def test_a_cancel_closes_what_the_act_reads_from() -> None:
    one, other = socket.socketpair()
    seen: list[bytes] = []

    def act() -> None:
        with close_on_cancel(lambda: one.shutdown(socket.SHUT_RDWR)):
            interrupt()
            seen.append(one.recv(1))  # the end of the stream, and no answer

    with one, other, pytest.raises(KeyboardInterrupt):
        run_act(act)
    assert seen == [b""]


def test_what_a_closed_read_raises_is_the_cancel_and_no_error() -> None:
    closed = threading.Event()
    seen: list[str] = []

    def act() -> None:
        interrupt()
        try:
            with close_on_cancel(closed.set):
                closed.wait(30)
                raise OSError
        except CancelledActError:
            seen.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt) as caught:
        run_act(act)
    assert (seen, caught.value.__cause__) == (["cancelled"], None)


def test_an_error_of_a_read_stays_an_error_when_nothing_was_cancelled() -> None:
    def act() -> None:
        with close_on_cancel(lambda: None):
            msg = "a real one"
            raise OSError(msg)

    with pytest.raises(OSError, match="a real one"):
        run_act(act)


def test_outside_of_an_act_nothing_is_cancelled() -> None:
    check_cancelled()
    with close_on_cancel(pytest.fail), leaves("nothing"), shielded():
        check_cancelled()


def test_a_check_ends_an_act_that_was_cancelled() -> None:
    ended = threading.Event()

    def act() -> None:
        interrupt()
        try:
            while not ended.wait(0.01):
                check_cancelled()
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_act(act)
    assert ended.is_set()


def test_the_waits_of_a_clean_up_do_not_end() -> None:
    made = 0

    def clean_up() -> None:
        nonlocal made
        with shielded():
            for attempt in attempts(Deadline(60), NotYetError):
                with attempt:
                    check_cancelled()
                    made += 1
                    if made < 3:
                        raise NotYetError

    with pytest.raises(KeyboardInterrupt):
        run_act(Act(on_wait=interrupt, clean_up=clean_up))
    assert made == 3


def test_an_act_from_another_thread_leaves_the_signals_alone() -> None:
    seen: list[object] = []
    thread = threading.Thread(target=lambda: run_act(lambda: seen.append(signal.getsignal(signal.SIGINT))))
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_an_act_while_the_interpreter_ends() -> None:
    script = (
        "import atexit\nfrom jupyter_launcher.acts import run_act\n"
        "atexit.register(lambda: run_act(lambda: print('done')))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_a_fork_makes_a_value_of_its_own() -> None:
    def make() -> int:
        return os.getpid()

    value = PerProcess(make)
    assert value.find() is None
    assert value.get() == value.find() == os.getpid()
    inside = in_a_fork(lambda: [value.find() is None, value.get() == os.getpid()])
    assert inside == "[True, True]"


def test_a_lock_that_was_held_at_the_fork_does_not_matter() -> None:
    entered, leave = threading.Event(), threading.Event()
    process = os.getpid()

    def make() -> int:
        if os.getpid() == process:
            entered.set()
            leave.wait(30)
        return os.getpid()

    value = PerProcess(make)
    thread = threading.Thread(target=value.get)
    thread.start()
    entered.wait(30)
    inside = in_a_fork(lambda: value.get() == os.getpid())
    leave.set()
    thread.join()
    assert inside == "True"


def test_an_act_in_the_background_gives_its_future_what_it_returns_or_raises() -> None:
    result, failure, interrupted = Future[str](), Future[str](), Future[None]()
    begin_act(lambda: threading.current_thread().name, result)
    assert result.result(30)

    def fail() -> str:
        raise SystemExit

    begin_act(fail, failure)
    assert isinstance(failure.exception(30), SystemExit)
    event = threading.Event()
    event.set()
    begin_act(Act(), interrupted, cancel=Cancel(event, ValueError))
    assert isinstance(interrupted.exception(30), ValueError)


def test_an_act_in_the_background_has_nothing_of_what_began_it() -> None:
    """Neither its act, which may be cancelled or end before, nor its context variables."""
    variable = contextvars.ContextVar("variable", default="none")
    result, seen = Future[str](), threading.Event()

    def look() -> str:
        seen.wait(30)
        check_cancelled()
        return variable.get()

    def outer() -> None:
        variable.set("outer")
        begin_act(look, result)

    run_act(outer)
    seen.set()
    assert result.result(30) == "none"


def test_an_act_whose_future_was_cancelled_does_not_begin() -> None:
    result, calls = Future[None](), list[str]()
    assert result.cancel()
    begin_act(lambda: calls.append("called"), result)
    assert calls == []


def test_where_no_thread_can_be_started_an_act_in_the_background_runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", refuse)
    result = Future[int]()
    begin_act(lambda: 7, result)
    assert result.result(0) == 7

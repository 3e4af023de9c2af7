from __future__ import annotations

import math
import os
import signal
import threading
from typing import cast

import pytest

from jupyter_launcher.acts import CancelledActError, run_act
from jupyter_launcher.waiting import Deadline, NotYetError, attempts, call_within, shorten, within


def test_a_deadline_that_has_passed() -> None:
    deadline = Deadline(0.0)
    assert deadline.expired()
    assert deadline.remaining() == 0.0
    assert deadline.elapsed() >= 0.0


@pytest.mark.parametrize("seconds", [60.0, math.inf])
def test_a_deadline_that_is_to_come(seconds: float) -> None:
    deadline = Deadline(seconds)
    assert not deadline.expired()
    assert 0 < deadline.remaining() <= seconds


def test_an_attempt_that_succeeds_is_the_last_one() -> None:
    made = 0
    for attempt in attempts(Deadline(60), NotYetError, pause=0.0):
        with attempt:
            made += 1
            if made < 3:
                raise NotYetError
    assert made == 3


@pytest.mark.parametrize("at_least", [1, 2, 5])
def test_so_many_attempts_are_made_even_after_the_deadline(at_least: int) -> None:
    made = 0
    for attempt in attempts(Deadline(0.0), NotYetError, at_least=at_least, pause=0.0):
        with attempt:
            made += 1
            raise NotYetError
    assert made == at_least


def test_pauses_may_become_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("jupyter_launcher.waiting.wait_for_cancel", pauses.append)
    for attempt in attempts(Deadline(60.0), NotYetError, pause=1.0, longest=1.25):
        with attempt:
            if len(pauses) < 5:
                raise NotYetError
    assert pauses == pytest.approx([1.0, 1.1, 1.2, 1.25, 1.25])


def test_an_error_that_is_not_awaited_comes_at_once() -> None:
    made = 0

    def fail() -> None:
        nonlocal made
        for attempt in attempts(Deadline(60), (NotYetError, ValueError)):
            with attempt:
                made += 1
                raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert made == 1


def test_each_of_several_errors_is_awaited() -> None:
    errors = iter([NotYetError(), ValueError()])
    seen: list[Exception | None] = []
    for attempt in attempts(Deadline(60), (NotYetError, ValueError), pause=0.0):
        with attempt:
            error = next(errors, None)
            seen.append(error)
            if error is not None:
                raise error
    assert [type(error) for error in seen] == [NotYetError, ValueError, type(None)]


def test_a_value_may_be_returned_from_an_attempt() -> None:
    def first() -> str:
        for attempt in attempts(Deadline(60), NotYetError):
            with attempt:
                return "found"
        return "never"

    assert first() == "found"


def test_a_request_has_no_more_than_what_remains() -> None:
    assert (shorten(60.0), shorten(None)) == (60.0, None)
    with within(Deadline(5)):
        assert 4 < cast("float", shorten(60.0)) <= 5
        assert 4 < cast("float", shorten(None)) <= 5
        assert shorten(1.0) == 1.0
        with within(Deadline(50)):
            assert cast("float", shorten(60.0)) <= 5
        with within(Deadline(0)):
            assert shorten(60.0) == 1.0
        assert cast("float", shorten(60.0)) > 4
    assert shorten(60.0) == 60.0


def test_a_call_within_a_deadline_gives_its_result_or_its_error() -> None:
    assert call_within(Deadline(60), lambda: 5) == 5
    with pytest.raises(KeyError):
        call_within(Deadline(60), lambda: dict[str, int]()["missing"])


def test_that_an_act_was_cancelled_is_its_callers_matter() -> None:
    def end() -> None:
        raise CancelledActError

    with pytest.raises(CancelledActError):
        call_within(Deadline(60), end)


def test_a_call_that_never_ends_is_left_alone() -> None:
    over = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            call_within(Deadline(0.1), lambda: over.wait(60))
    finally:
        over.set()


def test_a_call_that_never_ends_does_not_hold_up_the_end_of_an_act() -> None:
    over = threading.Event()

    def hang() -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return over.wait(60)

    try:
        with pytest.raises(KeyboardInterrupt):
            run_act(lambda: call_within(Deadline(60), hang))
    finally:
        over.set()

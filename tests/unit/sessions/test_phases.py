"""Events for what happens, and a limit on concurrent starts."""

from __future__ import annotations

import logging
import threading

import pytest

from jupyter_launcher import Event, EventKind, OptionError, Phase
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit


def kinds(events: list[Event]) -> list[tuple[Phase, EventKind, str]]:
    return [(event.phase, event.kind, event.detail) for event in events]


def test_a_phase_is_reported_from_its_start_to_its_end() -> None:
    events: list[Event] = []
    reporter = PhaseReporter(events.append, "one")
    with reporter.phase(Phase.IMAGE) as progress:
        progress("half", 1, 2)
        progress("all")
    assert kinds(events) == [
        (Phase.IMAGE, EventKind.STARTED, ""),
        (Phase.IMAGE, EventKind.PROGRESS, "half"),
        (Phase.IMAGE, EventKind.PROGRESS, "all"),
        (Phase.IMAGE, EventKind.FINISHED, "all"),
    ]
    assert {event.session_id for event in events} == {"one"}
    assert [(event.done, event.total) for event in events] == [(0, 0), (1, 2), (0, 0), (0, 0)]
    assert reporter.seconds == {Phase.IMAGE: events[-1].seconds}


@pytest.mark.parametrize("error", [ValueError("secret"), KeyboardInterrupt()])
def test_a_phase_that_fails_is_reported_by_the_kind_of_its_error(error: BaseException) -> None:
    events: list[Event] = []
    reporter = PhaseReporter(events.append)
    with pytest.raises(type(error)), reporter.phase(Phase.SERVER):
        raise error
    assert kinds(events)[1:] == [(Phase.SERVER, EventKind.FAILED, type(error).__name__)]
    assert reporter.seconds == {}


def test_an_interrupt_while_the_start_is_reported_is_a_failure_of_the_phase() -> None:
    seen: list[EventKind] = []

    def listen(event: Event) -> None:
        seen.append(event.kind)
        if event.kind is EventKind.STARTED:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), PhaseReporter(listen).phase(Phase.SERVER):
        pytest.fail("the phase has not begun")
    assert seen == [EventKind.STARTED, EventKind.FAILED]


def test_a_listener_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def listen(_: Event) -> None:
        msg = "made up"
        raise RuntimeError(msg)

    with PhaseReporter(listen).phase(Phase.SERVER) as progress:
        progress("on")
    assert caplog.text.count("on_event failed for") == 3


def test_without_a_listener_the_seconds_are_known_all_the_same() -> None:
    reporter = PhaseReporter(None)
    with reporter.phase(Phase.READY):
        pass
    assert set(reporter.seconds) == {Phase.READY}


def test_a_warning_is_an_event_a_line_of_the_log_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    reporter = PhaseReporter(events.append, "one")
    reporter.warn(Phase.CONTAINER, "no limit")
    assert kinds(events) == [(Phase.CONTAINER, EventKind.WARNING, "no limit")]
    assert reporter.warnings == ["no limit"]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "session one: no limit")
    ]


def test_a_reporter_for_a_session_keeps_its_own_book() -> None:
    events: list[Event] = []
    reporter = PhaseReporter(events.append)
    reporter.warn(Phase.IMAGE, "first")
    other = reporter.for_session("one")
    other.warn(Phase.IMAGE, "second")
    assert (reporter.warnings, other.warnings) == (["first"], ["second"])
    assert [event.session_id for event in events] == ["", "one"]


@pytest.mark.parametrize("most", [0, -1, 1.5, "2", True])
def test_a_limit_that_cannot_be(most: int) -> None:
    with pytest.raises(OptionError) as caught:
        StartLimit(most, lambda: None)
    assert caught.value.option == "max_starts"


@pytest.mark.parametrize(("most", "cores", "slots"), [(1, 8, 1), (3, None, 3), (None, 4, 4), (None, None, 2)])
def test_so_many_starts_at_once(most: int | None, cores: int | None, slots: int) -> None:
    limit = StartLimit(most, lambda: cores)
    inside, release = threading.Semaphore(0), threading.Event()

    def start() -> None:
        with limit.slot():
            inside.release()
            release.wait(10)

    threads = [threading.Thread(target=start) for _ in range(slots + 1)]
    for thread in threads:
        thread.start()
    assert all(inside.acquire(timeout=10) for _ in range(slots))
    assert not inside.acquire(timeout=0.05)  # the last one waits
    release.set()
    assert inside.acquire(timeout=10)
    for thread in threads:
        thread.join()


def test_the_engine_is_asked_when_the_first_start_begins_and_not_before() -> None:
    asked: list[bool] = []

    def cores() -> int:
        asked.append(True)
        return 1

    limit = StartLimit(None, cores)
    assert asked == []
    for _ in range(2):
        with limit.slot():
            pass
    assert asked == [True]

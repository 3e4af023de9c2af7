"""Events for what happens, and a limit on concurrent starts."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable

import pytest

from jupyter_launcher import Event, EventKind, OptionError, Phase, ServerTimeoutError
from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit
from jupyter_launcher.waiting import Deadline
from tests.unit.forks import in_a_fork


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
        with limit.slot(Deadline(60)):
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
        with limit.slot(Deadline(60)):
            pass
    assert asked == [True]


def take(limit: StartLimit, deadline: Deadline) -> str:
    with limit.slot(deadline):
        return "taken"


def elsewhere(call: Callable[[], object]) -> None:
    """Call as another start does, which has nothing in common with this one."""
    contextvars.Context().run(call)


def test_a_start_waits_so_long_for_others_to_end() -> None:
    limit, deadline = StartLimit(1, lambda: None), Deadline(0.1)
    with (
        limit.slot(Deadline(60)),
        pytest.raises(ServerTimeoutError, match=r"no other start .* ended within 0\.1 s") as caught,
    ):
        elsewhere(lambda: take(limit, deadline))
    assert deadline.expired()
    assert caught.value.seconds >= 0.1
    assert "max_starts" in caught.value.hint
    elsewhere(lambda: take(limit, Deadline(60)))  # the one that waited holds no slot


def test_a_start_that_is_cancelled_waits_no_more() -> None:
    limit, event, soon = StartLimit(1, lambda: None), threading.Event(), Deadline(10)

    def act() -> None:
        event.set()
        take(limit, Deadline(60))

    with limit.slot(Deadline(60)), pytest.raises(KeyError):
        elsewhere(lambda: run_act(act, cancel=Cancel(event, KeyError)))
    assert not soon.expired()


def test_a_start_that_is_part_of_a_start_counts_with_it() -> None:
    """As one that a listener of events begins: with one slot it would wait for itself."""
    limit, other = StartLimit(1, lambda: None), StartLimit(1, lambda: None)
    with limit.slot(Deadline(60)):
        assert take(limit, Deadline(0.0)) == "taken"
        with other.slot(Deadline(60)):  # another launcher's
            assert [take(limit, Deadline(0.0)), take(other, Deadline(0.0))] == ["taken", "taken"]
        with pytest.raises(ServerTimeoutError):
            elsewhere(lambda: take(limit, Deadline(0.0)))
    with limit.slot(Deadline(60)), pytest.raises(ServerTimeoutError):
        elsewhere(lambda: take(limit, Deadline(0.0)))


def test_a_start_that_fails_gives_its_slot_back() -> None:
    limit = StartLimit(1, lambda: None)
    with pytest.raises(KeyError), limit.slot(Deadline(60)):
        raise KeyError
    elsewhere(lambda: take(limit, Deadline(60)))


def test_in_a_fork_the_starts_of_its_parent_do_not_count() -> None:
    limit = StartLimit(1, lambda: None)
    inside: list[str] = []

    def fork() -> None:
        inside.append(in_a_fork(lambda: take(limit, Deadline(0.0))))

    with limit.slot(Deadline(60)):
        elsewhere(fork)
    assert inside == ["taken"]

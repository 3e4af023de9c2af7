from __future__ import annotations

import signal
import threading

import pytest

from jupyter_launcher.engine.interrupt import run_uninterrupted


def test_what_the_call_gives() -> None:
    assert run_uninterrupted(lambda: 7) == 7
    with pytest.raises(ValueError, match="its own"):
        run_uninterrupted(lambda: int("its own"))


def test_an_interrupt_while_the_call_runs() -> None:
    main, ended = threading.get_ident(), threading.Event()

    def call() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        threading.Event().wait(0.2)  # goes on for a while
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_uninterrupted(call)
    assert ended.is_set()


class Begun(threading.Thread):
    """One that an interrupt meets after its start, in which it has begun to run."""

    running = threading.Event()

    def start(self) -> None:
        super().start()
        assert self.running.wait(10)
        raise KeyboardInterrupt


def test_an_interrupt_within_the_start_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def call() -> None:
        seen.append("begun")
        Begun.running.set()
        threading.Event().wait(0.2)  # goes on for a while
        seen.append("ended")

    monkeypatch.setattr("jupyter_launcher.engine.interrupt.threading.Thread", Begun)
    with pytest.raises(KeyboardInterrupt):
        run_uninterrupted(call)
    assert seen == ["begun", "ended"]


def test_a_call_that_was_called_off_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    class NotYet(threading.Thread):
        def start(self) -> None:
            threads.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr("jupyter_launcher.engine.interrupt.threading.Thread", NotYet)
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run_uninterrupted(lambda: calls.append(1))
    threads[0].run()  # its first moment comes only now
    assert calls == []


def test_a_second_interrupt_comes_at_once() -> None:
    main, release = threading.get_ident(), threading.Event()

    def call() -> None:
        for _ in range(2):
            signal.pthread_kill(main, signal.SIGINT)
            threading.Event().wait(0.1)  # each interrupt is seen before the next one
        release.wait(10)  # hangs

    with pytest.raises(KeyboardInterrupt):
        run_uninterrupted(call)
    release.set()

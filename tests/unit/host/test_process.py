"""Marks of processes, and whether those live."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jupyter_launcher.host import process
from jupyter_launcher.host.process import is_process_dead, process_mark


def mark(pid: object, started: str = "1") -> str:
    return ":".join((*process._pid_space(), str(pid), started))


def test_the_mark_names_this_process_which_lives() -> None:
    boot, namespace, pid, started = process_mark().split(":")
    assert ((boot, namespace), pid) == (process._pid_space(), str(os.getpid()))
    assert started.isdecimal()
    assert is_process_dead(process_mark()) is False


def test_a_process_that_has_ended_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert is_process_dead(mark(ended.pid)) is True


def test_a_process_that_has_the_id_of_one_before_it_is_another() -> None:
    assert is_process_dead(mark(os.getpid(), "1")) is True


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as zombie:
        assert zombie.stdout is not None
        zombie.stdout.read()  # it has ended, and nobody has waited for it
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert is_process_dead(mark(zombie.pid, process._start_time(os.getpid()) or "")) is True


def test_of_a_process_that_proc_hides_nobody_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_start_time", lambda _: None)
    assert is_process_dead(mark(os.getpid(), "1")) is None


def test_another_users_process_may_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_process_dead(process_mark()) is False


@pytest.mark.parametrize("other", ["", "somebody", "a:b", "a:b:1:2", "a:b:1:2:3", mark("²"), mark("x"), mark(1, "")])
def test_of_others_nobody_can_tell(other: str) -> None:
    assert is_process_dead(other) is None


def test_without_proc_the_machine_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", missing)
    assert process._pid_space() == (os.uname().nodename, "")

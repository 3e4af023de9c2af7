"""What a launcher knows of servers: in memory alone, bounded, and for one process."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.sessions import context as module
from jupyter_launcher.sessions.context import Context, KnownServers
from tests.unit.fakes import TOKEN, server_info, session_info
from tests.unit.forks import in_a_fork


def started(number: int, at: str = "yesterday") -> ContainerInfo:
    return session_info(id=f"{number:064d}", started=at)


@pytest.fixture
def servers() -> KnownServers:
    return KnownServers()


def test_a_server_is_known_by_its_container_and_its_start(servers: KnownServers) -> None:
    server = server_info()
    servers.remember(started(1), server)
    assert servers.find(started(1)) is server
    assert servers.find(started(1, "today")) is None
    assert servers.find(started(2)) is None
    assert servers.find(replace(started(1), state="exited")) is None
    servers.remember(started(1, "today"), replace(server, pid=5))
    assert (servers.find(started(1)), servers.find(started(1, "today"))) == (None, replace(server, pid=5))
    servers.forget(started(1).id)
    servers.forget(started(1).id)
    assert servers.find(started(1, "today")) is None


def test_where_the_engine_does_not_tell_the_start_nothing_is_kept(servers: KnownServers) -> None:
    servers.remember(started(1, ""), server_info())
    assert servers.find(started(1, "")) is None


def test_those_that_were_not_asked_for_longest_are_forgotten(
    servers: KnownServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_SERVERS", 3)
    for number in (1, 2, 3):
        servers.remember(started(number), server_info())
    servers.find(started(1))
    servers.remember(started(3), server_info())
    servers.remember(started(4), server_info())
    assert [servers.find(started(number)) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]


def test_a_fork_knows_none(servers: KnownServers) -> None:
    servers.remember(started(1), server_info())
    assert in_a_fork(lambda: servers.find(started(1))) == "None"
    assert servers.find(started(1)) is not None


def test_a_token_is_neither_printed_nor_pickled(context: Context) -> None:
    context.servers.remember(started(1), server_info())
    assert TOKEN not in repr(context)
    assert TOKEN not in repr(vars(context.servers))
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError), match="pickle"):
        pickle.dumps(context.servers)

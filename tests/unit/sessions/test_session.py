"""``Session``, the handle: what it says, how it waits, renews and stops."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import (
    EngineError,
    ExecError,
    Gateway,
    OptionError,
    ServerNotRunningError,
    Session,
    SessionNotFoundError,
    SessionState,
    SessionStatus,
    StopMethod,
    Timings,
)
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import (
    TOKEN,
    Answer,
    FakeEngine,
    FakeJupyter,
    not_run,
    printed,
    refusal,
    server_info,
    session_info,
    session_labels,
)
from tests.unit.forks import in_a_fork
from tests.unit.hostile import ENDLESS, hostile_server


@pytest.fixture
def make(context: Context, jupyter: FakeJupyter) -> Any:
    """A session that is there, with these labels and in this state."""

    def call(labels: SessionLabels | None = None, **changes: Any) -> Session:
        labels = labels or session_labels()
        info = jupyter.add(session_info(labels, **changes))
        return Session(info, labels, server_info(), context=context, timings=Timings(server=1.0), joined=False)

    return call


def test_what_a_session_says_of_itself(make: Any, jupyter: FakeJupyter) -> None:
    session = make(session_labels(base_url="/x"))
    assert (session.id, session.container_name, str(session.pipeline_dir)) == (
        "one",
        "jupyter-server.unit.one",
        "/pipelines/one",
    )
    assert session.container_id == "c" * 64
    assert session.url == f"{jupyter.url}x/"
    assert session.host_url == f"{jupyter.url}x/"
    assert session.lab_url == f"{jupyter.url}x/lab?token={TOKEN}"
    assert session.internal_url == "http://172.17.0.9:8888/x/"
    assert (session.joined, session.warnings, session.lease, session.gateway) == (False, (), None, None)
    assert session.timings.total == 1.0
    assert session.server_info.token == TOKEN


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("steps/a.ipynb", "/steps/a.ipynb"),
        (PurePosixPath("steps/a b.ipynb"), "/steps/a%20b.ipynb"),
        ("./steps//ä?#%.ipynb", "/steps/%C3%A4%3F%23%25.ipynb"),
        ("a..b", "/a..b"),
        (".", ""),
    ],
)
def test_a_file_of_the_pipeline_in_jupyterlab(make: Any, jupyter: FakeJupyter, path: str, shown: str) -> None:
    session = make(session_labels(base_url="/x"))
    assert session.lab_url_of(path) == f"{jupyter.url}x/lab/tree{shown}?token={TOKEN}"
    assert session.client_url == f"{jupyter.url}x"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "a/../../b", "../b", "a\0", 7, None, b"a", "\ud800"])
def test_what_is_no_path_in_the_pipeline_is_refused(make: Any, path: Any) -> None:
    with pytest.raises(OptionError, match="path is ") as caught:
        make().lab_url_of(path)
    assert caught.value.option == "path"


def test_the_repr_holds_no_token(make: Any, jupyter: FakeJupyter) -> None:
    session = make()
    assert repr(session) == f"<Session one of /pipelines/one at {jupyter.url}>"
    assert TOKEN not in repr(session)


def test_the_address_in_its_network_may_be_ipv6(make: Any) -> None:
    assert make(networks={"a": "", "b": "fd00::2"}).internal_url == "http://[fd00::2]:8888/"


def test_the_gateway_is_on_the_containers_network(make: Any) -> None:
    gateway = Gateway(name="gw", url="http://10.0.0.1:8888", container_id="g")
    session = make(session_labels(gateway), network_mode="net")
    assert session.gateway == replace(gateway, network="net")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, SessionStatus(state=SessionState.READY, detail="running")),
        ({"state": "paused"}, SessionStatus(state=SessionState.PAUSED, detail="paused")),
        ({"state": "created"}, SessionStatus(state=SessionState.CREATED, exit_code=0, detail="created")),
        (
            {"state": "exited", "exit_code": 137, "oom_killed": True},
            SessionStatus(state=SessionState.EXITED, exit_code=137, oom_killed=True, detail="exited"),
        ),
        (
            {"state": "exited", "exit_code": 128, "error": "no such device"},
            SessionStatus(state=SessionState.EXITED, exit_code=128, detail="no such device"),
        ),
    ],
)
def test_the_status_is_of_now(make: Any, changes: dict[str, Any], status: SessionStatus) -> None:
    assert make(**changes).status() == status


def test_the_status_of_a_server_that_does_not_answer(make: Any, jupyter: FakeJupyter) -> None:
    session = make()
    jupyter.contents = 500
    assert session.status() == SessionStatus(state=SessionState.UNRESPONSIVE, detail="running")


@pytest.mark.parametrize("happen", [None, "replaced", "deleted", "unreadable", "on a disk that is gone"])
def test_a_pipeline_directory_that_was_deleted_or_replaced_is_told(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happen: str | None
) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    status = folder.stat()
    session = make(session_labels(folder=folder, pipeline_dir_id=f"{status.st_dev}:{status.st_ino}"))
    if happen in ("replaced", "deleted"):
        folder.rename(tmp_path / "old")
    if happen == "replaced":
        folder.mkdir()
    if happen == "unreadable":
        monkeypatch.setattr("jupyter_launcher.sessions.session.look_identity", lambda *_: None)
    over = threading.Event()
    if happen == "on a disk that is gone":
        monkeypatch.setattr("jupyter_launcher.sessions.session._LOOK_SECONDS", 0.1)
        monkeypatch.setattr("jupyter_launcher.sessions.session.look_identity", lambda *_: over.wait(60))
    expected = {None: False, "replaced": True, "deleted": True}.get(happen)
    try:
        found = session.status()
    finally:
        over.set()
    assert found == SessionStatus(state=SessionState.READY, detail="running", pipeline_dir_replaced=expected)


def test_the_status_of_a_server_that_says_nothing_comes_in_time(
    make: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_launcher.sessions.session._STATUS_SECONDS", 0.1)
    session = make()
    deadline = Deadline(5)
    with hostile_server(ENDLESS["a body that drips"]) as url:
        engine.change(session.container_id, ports={"8888/tcp": (urlsplit(url).port,)})
        assert session.status().state is SessionState.UNRESPONSIVE
    assert not deadline.expired()


def test_the_status_of_what_was_removed(make: Any, engine: FakeEngine) -> None:
    session = make()
    engine.known.clear()
    assert session.status() == SessionStatus(state=SessionState.GONE, detail="its container was removed")


def test_the_log_is_the_containers(make: Any) -> None:
    assert make().logs(5) == "the log"


def test_the_log_of_what_was_removed(make: Any, engine: FakeEngine) -> None:
    session = make()
    engine.known.clear()
    with pytest.raises(SessionNotFoundError) as caught:
        session.logs()
    assert caught.value.session_id == "one"


def test_a_log_that_cannot_be_read(make: Any, engine: FakeEngine) -> None:
    session = make()
    engine.fail("logs", refusal(501, "no driver"))
    with pytest.raises(EngineError, match="no driver"):
        session.logs()


def test_the_end_of_a_session_is_waited_for(make: Any, engine: FakeEngine) -> None:
    session = make()
    looks: list[str] = []

    def end_at_the_third(container: str) -> None:
        looks.append(container)
        if len(looks) == 3:
            engine.end(container, 3)

    engine.on_wait = end_at_the_third
    assert session.wait() == SessionStatus(state=SessionState.EXITED, exit_code=3, detail="exited")
    assert len(looks) == 3


def test_the_end_of_a_session_is_waited_for_so_long(make: Any) -> None:
    assert make().wait(0.0).state is SessionState.READY


def test_a_session_without_a_lease_is_not_renewed(make: Any, engine: FakeEngine) -> None:
    make().renew()
    assert engine.execs == []


def test_a_lease_is_renewed(make: Any, jupyter: FakeJupyter) -> None:
    make(session_labels(lease=60)).renew()
    assert jupyter.leases == ["60"]


def test_a_lease_that_did_not_move_is_an_error_while_the_session_runs(make: Any, jupyter: FakeJupyter) -> None:
    session = make(session_labels(lease=60))
    jupyter.renew_answer = printed("", 1, "no space left")
    with pytest.raises(ExecError, match="no space left"):
        session.renew()


def test_a_lease_of_a_session_that_ended_is_another_error(make: Any, jupyter: FakeJupyter) -> None:
    session = make(session_labels(lease=60))
    jupyter.engine.end(session.container_id)
    with pytest.raises(ServerNotRunningError):
        session.renew()


def test_a_lease_that_passed_before_it_was_renewed(make: Any, jupyter: FakeJupyter) -> None:
    session = make(session_labels(lease=60))
    jupyter.renew_answer = printed("", 3)
    with pytest.raises(ServerNotRunningError, match="had passed before it was renewed"):
        session.renew()


def test_a_session_is_stopped_with_the_token_that_is_known(make: Any, jupyter: FakeJupyter) -> None:
    session = make()
    assert session.stop().method is StopMethod.API
    assert jupyter.engine.execs == []
    assert session.stop().method is StopMethod.ALREADY_STOPPED


@pytest.mark.parametrize("error", [None, ValueError("made up")])
def test_the_context_manager_stops(make: Any, engine: FakeEngine, error: Exception | None) -> None:
    session = make()
    if error is None:
        with session as same:
            assert same is session
    else:
        with pytest.raises(ValueError, match="made up"), session:
            raise error
    assert engine.known == {}


def test_a_fork_that_leaves_the_block_ends_nothing_of_its_parents(make: Any, engine: FakeEngine) -> None:
    with make(session_labels(lease=60)) as session:
        calls = len(engine.calls)

        def leave() -> tuple[int, int]:
            session.__exit__(None, None, None)
            return len(engine.known), len(engine.calls) - calls

        assert in_a_fork(leave) == "(1, 0)"
        assert session.status().state is SessionState.READY
    assert engine.known == {}


def test_a_session_that_a_fork_made_ends_with_the_block_there(make: Any, engine: FakeEngine) -> None:
    def use() -> int:
        with make():
            pass
        return len(engine.known)

    assert in_a_fork(use) == "0"


def test_the_context_manager_stops_the_session_even_if_its_renewer_cannot_be_ended(
    make: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make(session_labels(lease=60))
    session.__enter__()
    renewer = session._renewer
    renewer.stop()

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(renewer, "stop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.__exit__(None, None, None)
    assert engine.known == {}


class Renewals:
    """What the renewals of a lease come to, one after another; the last one again and again."""

    def __init__(self, jupyter: FakeJupyter, *answers: Answer) -> None:
        self.answers = list(answers)
        self.all_asked = threading.Event()
        self.count = 0
        self._run = jupyter.run
        jupyter.engine.run = self.run

    def run(self, container: str, argv: tuple[str, ...]) -> Answer:
        if "renew" not in argv:
            return self._run(container, argv)
        answer = self.answers[min(self.count, len(self.answers) - 1)]
        self.count += 1
        if self.count > len(self.answers):
            self.all_asked.set()
        return answer


def with_lease(seconds: int) -> SessionLabels:
    """A lease as short as no start would take it."""
    return replace(session_labels(), options={"lease": seconds})


def test_the_context_manager_renews_again_and_again_and_says_when_it_cannot(
    make: Any, jupyter: FakeJupyter, caplog: pytest.LogCaptureFixture
) -> None:
    renewals = Renewals(
        jupyter, printed(""), not_run("no space left"), refusal(500), ZeroDivisionError("untyped"), printed("")
    )
    with make(with_lease(0)):
        assert renewals.all_asked.wait(10)
    assert "the lease of session one was not renewed: " in caplog.text
    assert "no space left" in caplog.text
    assert "untyped" in caplog.text
    assert not any(thread.name == "renew-one" for thread in threading.enumerate())


@pytest.mark.parametrize("by", ["its end", "its lease"])
def test_the_renewals_end_with_the_session(make: Any, jupyter: FakeJupyter, by: str) -> None:
    session = make(with_lease(0))
    if by == "its end":
        jupyter.engine.end(session.container_id)
    else:
        jupyter.renew_answer = printed("", 3)
    with session:
        for renewer in [thread for thread in threading.enumerate() if thread.name == "renew-one"]:
            renewer.join(10)
            assert not renewer.is_alive()
    assert len([argv for argv in jupyter.engine.execs if "renew" in argv]) == 1


def test_a_session_without_a_lease_has_no_renewer(make: Any) -> None:
    with make():
        assert not any(thread.name == "renew-one" for thread in threading.enumerate())


def test_what_a_session_holds_is_what_it_was_made_of(context: Context) -> None:
    info: ContainerInfo = session_info()
    session = Session(
        info,
        session_labels(),
        server_info(),
        context=context,
        timings=Timings(),
        warnings=("untuned",),
        joined=True,
    )
    assert (session.joined, session.warnings) == (True, ("untuned",))


def test_where_a_port_is_published(make: Any, jupyter: FakeJupyter) -> None:
    session = make()
    ports = {"8888/tcp": (jupyter.port,), "6006/tcp": (7000,), "5000/udp": (7001,), "6007/tcp": ()}
    session._info = replace(session._info, ports=ports)
    assert session.published(6006) == session.published("6006/tcp") == ("127.0.0.1", 7000)
    assert session.ports == {"5000/udp": ("127.0.0.1", 7001), "6006/tcp": ("127.0.0.1", 7000)}
    assert session.published("5000/udp") == ("127.0.0.1", 7001)
    for port in (5000, 6007, "x", None):
        with pytest.raises(OptionError, match="it has 5000/udp, 6006/tcp;") as caught:
            session.published(port)
        assert "ports=" in caught.value.hint

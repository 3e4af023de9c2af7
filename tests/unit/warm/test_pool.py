"""``Launcher.pool``: a server becomes a session in three steps, or the session is started, and nothing is left over."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    EngineUnavailableError,
    Event,
    EventKind,
    Launcher,
    LauncherError,
    Mount,
    OptionError,
    Phase,
    SessionState,
    SessionUnreadableError,
    StartCancelledError,
    Timeouts,
    Volume,
    WarmPool,
)
from jupyter_launcher.acts import CancelledActError, wait_for_cancel
from jupyter_launcher.engine.types import ContainerInfo, ImageInfo
from jupyter_launcher.server.inside import late_mount
from jupyter_launcher.spec.container import record_config
from jupyter_launcher.spec.labels import SessionLabels, ToolLabels
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.warm import servers
from jupyter_launcher.warm.mount import Mounter, RefusedError
from tests.unit.fakes import FakeEngine, FakeJupyter, printed, refusal
from tests.unit.forks import in_a_fork

USER = f"{os.getuid()}:{os.getgid()}"
PREFIX = "jupyter-launcher."


class Mounts:
    """In place of the mounts: what was asked for, and what to raise."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Path, int, int]] = []
        self.error: BaseException | None = None

    def mount(self, info: ContainerInfo, path: Path, identity: str, *, lease: int, length: int) -> None:
        status = path.stat()
        assert identity == f"{status.st_dev}:{status.st_ino}"
        self.asked.append((info.id, path, lease, length))
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def mounts(monkeypatch: pytest.MonkeyPatch) -> Mounts:
    made = Mounts()
    monkeypatch.setattr(Mounter, "mount", made.mount)
    monkeypatch.setattr(servers, "_TICK", 0.01)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pipeline"
    made.mkdir()
    return made


@pytest.fixture
def pool(launcher: Launcher) -> Iterator[WarmPool]:
    with launcher.pool(size=1, user=USER) as made:
        assert made.wait(30)
        yield made


def names(engine: FakeEngine, *, kind: str = "") -> list[str]:
    return sorted(info.name for info in engine.known.values() if info.name.startswith(kind))


def told(events: list[Event]) -> list[str]:
    return [event.detail for event in events if event.kind is EventKind.WARNING]


def make_no_more(pool: WarmPool) -> None:
    """What is ready stays so."""
    pool._servers._closed.set()
    pool._servers._thread.join()  # type: ignore[union-attr]


def warm_of(engine: FakeEngine) -> ContainerInfo:
    (name,) = names(engine, kind="jupyter-warm.unit.")
    return engine.named(name)


def test_a_server_becomes_a_session(
    pool: WarmPool, launcher: Launcher, engine: FakeEngine, mounts: Mounts, folder: Path, events: list[Event]
) -> None:
    warm = warm_of(engine)
    unique = warm.name.rpartition(".")[2]
    hidden = {PREFIX + name for name in ("session-id", "pipeline-dir", "pipeline-dir-id", "record-of", "claim")}
    assert hidden & set(warm.labels) == set()
    assert warm.labels[PREFIX + "warm"] == unique
    assert "pipeline_dir" not in warm.labels[PREFIX + "options"]
    assert all(mount.target != "/pipeline-dir" for mount in engine.configs[warm.name].mounts)
    assert [*launcher.list(), *launcher.ids()] == []
    make_no_more(pool)
    events.clear()
    session = pool.start(folder, session_id="one", labels={"team": "blue"}, lease=30)
    assert (session.container_id, session.container_name) == (warm.id, "jupyter-server.unit.one")
    assert (session.pipeline_dir, session.lease, session.joined) == (folder, 30, False)
    assert session.timings.claim == session.timings.total > 0
    assert mounts.asked == [(warm.id, folder, 60, 30)]
    assert [(event.phase, event.kind, event.session_id) for event in events] == [
        (Phase.CLAIM, EventKind.STARTED, "one"),
        (Phase.CLAIM, EventKind.FINISHED, "one"),
    ]
    record = engine.named(f"jupyter-session.unit.{unique}")
    assert (record.state, record.labels["team"]) == ("created", "blue")
    assert record.labels[PREFIX + "record-of"] == warm.id
    assert PREFIX + "session-id" not in record.labels
    found = launcher.get("one")
    assert (found.pipeline_dir, found.lease) == (folder, 30)
    assert [(item.session_id, item.pipeline_dir, item.owner) for item in launcher.list()] == [("one", folder, "")]
    assert launcher.ids() == ["one"]
    assert launcher.start(folder, session_id="one", user=USER, labels={"team": "blue"}, lease=30).joined
    launcher.stop("one")
    assert engine.known == {}


@pytest.fixture
def claimed(pool: WarmPool, engine: FakeEngine, folder: Path) -> ContainerInfo:
    session = pool.start(folder, session_id="one")
    pool.close()
    return engine.known[session.container_id]


def test_closing_the_launcher_closes_its_pools_and_keeps_what_was_claimed(
    pool: WarmPool, launcher: Launcher, engine: FakeEngine, folder: Path
) -> None:
    session = pool.start(folder, session_id="one")
    assert pool.wait(30)
    launcher.close()
    assert (pool.ready, names(engine, kind="jupyter-server.")) == (0, [session.container_name])
    assert engine.closed


def remove_record(engine: FakeEngine) -> None:
    (name,) = names(engine, kind="jupyter-session.")
    engine.remove(name)


def test_a_session_whose_record_is_gone(
    claimed: ContainerInfo, launcher: Launcher, engine: FakeEngine, jupyter: FakeJupyter, folder: Path
) -> None:
    remove_record(engine)
    (item,) = launcher.list()
    assert (item.session_id, item.state, item.pipeline_dir) == ("one", SessionState.READY, None)
    assert "which held its directory, labels and lease" in item.detail
    with pytest.raises(SessionUnreadableError, match="held its directory"):
        launcher.get("one")
    with pytest.raises(LauncherError, match="held its directory"):
        launcher.start(folder, session_id="one", user=USER)
    launcher.renew("one")
    assert jupyter.leases[-1] == "60"
    assert launcher.reap(min_age=0) == []
    launcher.stop("one")
    assert engine.known == {}


def test_one_that_has_ended_without_its_record_is_started_anew(
    claimed: ContainerInfo, launcher: Launcher, engine: FakeEngine, folder: Path
) -> None:
    remove_record(engine)
    engine.end(claimed.id)
    assert not launcher.start(folder, session_id="one", user=USER).joined
    assert names(engine) == ["jupyter-server.unit.one"]


def test_a_stop_after_somebody_removed_the_container(
    pool: WarmPool, launcher: Launcher, engine: FakeEngine, folder: Path
) -> None:
    session = pool.start(folder)
    pool.close()
    engine.remove(session.container_id)
    assert [item.kind for item in launcher.reap(min_age=0, dry_run=True)] == ["record"]
    session.stop()
    assert engine.known == {}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"memory": "1g"}, "other options than were asked for: memory"),
        ({"read_only": True, "tune": False}, "read_only, tune"),
        ({"user": USER, "log_size": None}, "asked for: log_size"),
        ({"environment": {"SAID": "so"}}, "environment"),
    ],
)
def test_other_options_are_started(
    pool: WarmPool, folder: Path, events: list[Event], given: dict[str, Any], reason: str
) -> None:
    for _ in range(2):
        session = pool.start(folder, **given)
        assert session.timings.claim == 0 < session.timings.total
        session.stop()
    (text,) = told(events)
    assert reason in text


def test_options_that_are_the_pools_own_are_no_others(launcher: Launcher, folder: Path) -> None:
    with launcher.pool(size=1, user=USER, memory="1g", secrets={"key": "text"}) as pool:
        assert pool.wait(30)
        assert pool.start(folder, memory="1g", secrets={"key": "text"}).timings.claim > 0


def test_options_stay_as_they_were_when_the_pool_was_made(
    launcher: Launcher, engine: FakeEngine, folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mount, argument = Mount(source=str(data), target="/data"), "--ServerApp.answer_yes=True"
    variables, secrets, words = {"SAID": "so"}, {"key": "text"}, {"Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}]}
    given: dict[str, Any] = {"environment": variables, "secrets": secrets, "container_options": words}
    with launcher.pool(size=1, user=USER, mounts=iter([mount]), lab_args=iter([argument]), **given) as pool:
        assert pool.wait(30)
        variables["SAID"], secrets["key"] = "otherwise", "another"
        words["Ulimits"].clear()
        warm = pool.start(folder, session_id="warm")
    cold = pool.start(folder, session_id="cold")
    assert (warm.timings.claim > 0, cold.timings.claim) == (True, 0)
    known: dict[str, Any] = {
        "environment": {"SAID": "so"},
        "container_options": {"Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}]},
        "secrets": {"key": "text"},
    }
    for session_id in ("warm", "cold"):
        start = launcher.start(folder, session_id=session_id, user=USER, mounts=[mount], lab_args=[argument], **known)
        assert start.joined
    assert pool._given["secrets"].values == {"key": "text"}


def test_a_volume_is_started(pool: WarmPool, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(pool, "_start", lambda place, **options: given.append((place, options["user"])))
    pool.start(Volume("data"))
    assert given == [(Volume("data"), USER)]
    assert "a volume" in told(events)[0]


def test_where_none_is_ready_the_session_is_started(launcher: Launcher, folder: Path, events: list[Event]) -> None:
    pool = launcher.pool(size=1, user=USER)
    assert pool.start(folder).timings.claim == 0
    assert told(events) == ["the session is started anew, not taken from the pool: no server is ready"]


def test_the_directory_of_another_user_is_started(
    launcher: Launcher, folder: Path, engine: FakeEngine, events: list[Event]
) -> None:
    with launcher.pool(size=1, user="4321:4321") as pool:
        assert pool.wait(30)
        folder.chmod(0o777)
        assert pool.start(folder).timings.claim == 0
        assert "the pool's sessions are user 4321's" in told(events)[0]
        assert pool.ready == 1


def test_another_group_of_the_directory_is_started(
    launcher: Launcher, folder: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = launcher.pool(size=1, user=os.getuid())
    assert pool._spec.user == f"{os.getuid()}:{os.getuid()}"
    monkeypatch.setattr(pool, "_spec", replace(pool._spec, user="7:8"))
    pool.start(folder)
    assert f"is to be {USER}, and the pool's is 7:8" in told(events)[0]


STEPS: dict[str, Callable[[FakeEngine, FakeJupyter, Mounts, BaseException], object]] = {
    "record": lambda engine, *rest: engine.fail("create", rest[2]),
    "answer of the record": lambda engine, *rest: engine.fail("created", rest[2]),
    "mount": lambda _, __, mounts, error: setattr(mounts, "error", error),
    "rename": lambda engine, *rest: engine.fail("rename", rest[2]),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [refusal(500), CancelledActError()], ids=["refused", "interrupted"])
def test_at_each_step_what_was_made_is_removed(
    step: str,
    error: BaseException,
    pool: WarmPool,
    engine: FakeEngine,
    jupyter: FakeJupyter,
    mounts: Mounts,
    folder: Path,
    events: list[Event],
) -> None:
    warm = warm_of(engine)
    make_no_more(pool)
    STEPS[step](engine, jupyter, mounts, error)
    if isinstance(error, CancelledActError):
        with pytest.raises(CancelledActError):
            pool.start(folder, session_id="one")
        assert engine.known == {}
        return
    mounts.error, session = (None if step != "mount" else error), pool.start(folder, session_id="one")
    assert session.timings.claim == 0
    assert session.container_id != warm.id
    assert names(engine) == ["jupyter-server.unit.one"]
    assert "refused" in told(events)[0]


@pytest.mark.parametrize(
    "code",
    [
        late_mount.OTHER_DIRECTORY,
        late_mount.OTHER_OWNER,
        late_mount.CLOSED,
        late_mount.ENDING,
        late_mount.SILENT,
        late_mount.FAILED,
    ],
)
def test_a_directory_that_is_not_mounted(
    code: int, pool: WarmPool, engine: FakeEngine, mounts: Mounts, folder: Path, events: list[Event]
) -> None:
    warm = warm_of(engine)
    mounts.error = RefusedError(code, "so it is")
    assert pool.start(folder, session_id="one").container_id != warm.id
    assert "the directory was not mounted: so it is" in told(events)[0]
    assert warm.id not in engine.known
    assert names(engine, kind="jupyter-session.") == []
    assert pool.wait(30)


@pytest.mark.parametrize("code", [late_mount.IMPOSSIBLE, late_mount.OBSTRUCTED])
def test_where_nothing_can_be_mounted_the_pool_makes_no_more(
    code: int, pool: WarmPool, engine: FakeEngine, mounts: Mounts, folder: Path, events: list[Event]
) -> None:
    mounts.error = RefusedError(code, "not here")
    for _ in range(2):
        assert pool.start(folder).timings.claim == 0
    assert pool.wait(30) is False
    pool.close()
    assert names(engine, kind="jupyter-warm.") == []
    assert len(mounts.asked) == 1
    assert len(told(events)) == 1


def test_a_server_that_does_not_answer_is_no_session(
    pool: WarmPool, engine: FakeEngine, mounts: Mounts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = warm_of(engine)
    make_no_more(pool)
    engine.change(warm.id, state="exited")
    monkeypatch.setattr("jupyter_launcher.server.ready._ALIVE_EVERY", 0.0)
    assert pool.start(folder).container_id != warm.id
    assert warm.id not in engine.known


def test_a_server_that_somebody_else_has_is_left_alone(
    pool: WarmPool, engine: FakeEngine, mounts: Mounts, folder: Path, events: list[Event]
) -> None:
    warm = warm_of(engine)
    make_no_more(pool)
    engine.fail("create", refusal(409))
    assert pool.start(folder).container_id != warm.id
    assert engine.known[warm.id].name == warm.name
    pool._servers._ready.append(_again(pool, warm))
    mounts.error = RefusedError(late_mount.TAKEN, "somebody else has claimed it")
    assert pool.start(folder).container_id != warm.id
    assert engine.known[warm.id].name == warm.name
    assert names(engine, kind="jupyter-session.") == []
    assert told(events) == [
        "the session is started anew, not taken from the pool: somebody else has claimed the server"
    ]


def _again(pool: WarmPool, warm: ContainerInfo) -> Any:
    made = pool._servers._make()
    object.__setattr__(made, "info", warm)
    return made


@pytest.mark.parametrize("code", [late_mount.OBSTRUCTED, late_mount.OTHER_OWNER, late_mount.OTHER_DIRECTORY])
def test_a_session_of_somebody_elses_is_left_alone(
    code: int, pool: WarmPool, engine: FakeEngine, mounts: Mounts, folder: Path
) -> None:
    # In a fork, say: another process has claimed it, and its record was pruned.
    warm = warm_of(engine)
    make_no_more(pool)
    engine.change(warm.id, name="jupyter-server.unit.live")
    mounts.error = RefusedError(code, "so it is")
    session = pool.start(folder, session_id="one")
    assert names(engine) == ["jupyter-server.unit.live", "jupyter-server.unit.one"]
    assert (session.container_id != warm.id, pool._servers.unusable) == (True, "")


def test_a_rename_whose_answer_is_lost(
    pool: WarmPool, engine: FakeEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, rename = warm_of(engine), engine.rename
    make_no_more(pool)

    def lose(container: str, name: str) -> None:
        rename(container, name)
        raise refusal(500)

    monkeypatch.setattr(engine, "rename", lose)
    assert pool.start(folder, session_id="one").container_id != warm.id
    assert names(engine) == ["jupyter-server.unit.one"]


def test_one_that_was_said_to_be_taken_is_removed_when_it_has_ended(
    pool: WarmPool, engine: FakeEngine, mounts: Mounts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts.error = RefusedError(late_mount.TAKEN, "somebody else has claimed it")
    first = warm_of(engine)
    pool.start(folder)
    assert pool.wait(30)
    assert first.id in engine.known
    engine.end(first.id)
    assert until(lambda: first.id not in engine.known)
    second = warm_of(engine)
    pool.start(folder)
    labels = pool._servers._aside[0].labels
    engine.create(record_config(labels, "image", second.id, "of a dead process", {}), labels.record_name)
    monkeypatch.setattr(servers, "is_process_dead", lambda _: True)
    pool.close()
    assert names(engine, kind="jupyter-warm.") == []
    assert names(engine, kind="jupyter-session.") == []


def test_what_another_process_has_claimed_is_dropped(pool: WarmPool, engine: FakeEngine, jupyter: FakeJupyter) -> None:
    first = warm_of(engine)
    engine.change(first.id, name="jupyter-server.unit.live")
    assert until(lambda: pool.ready == 1 and pool._servers._ready[0].info.id != first.id)
    assert first.id in engine.known


def test_the_same_reason_is_told_once(
    pool: WarmPool, mounts: Mounts, folder: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        assert pool.wait(30)
        mounts.error = RefusedError(late_mount.FAILED, f"No such container: {number:064x}")
        pool.start(folder)
    assert len(told(events)) == 1
    for number in range(2):
        pool._tell(f"the server has ended. The log ends:\n[I 10:00:0{number}] it began")
    assert len(told(events)) == 2
    pool._told.clear()
    events.clear()
    for number in range(200):
        pool._tell(f"reason {number}")
    assert len(pool._told) == len(told(events)) == 100


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), OSError(24, "too many files")])
def test_whatever_goes_wrong_in_a_claim_the_session_is_started(
    error: Exception, pool: WarmPool, engine: FakeEngine, mounts: Mounts, folder: Path, events: list[Event]
) -> None:
    warm = warm_of(engine)
    mounts.error = error
    assert pool.start(folder).container_id != warm.id
    assert warm.id not in engine.known
    assert str(error) in told(events)[0]


def test_a_limit_that_the_engine_does_not_enforce_is_told(
    pool: WarmPool, engine: FakeEngine, folder: Path, events: list[Event]
) -> None:
    engine.traits = replace(engine.traits, limits_pids=False)
    session = pool.start(folder)
    assert session.timings.claim > 0
    assert any("limit of processes" in text for text in session.warnings)


def test_a_session_is_as_old_as_its_record(
    pool: WarmPool, launcher: Launcher, engine: FakeEngine, folder: Path
) -> None:
    engine.clock += 1800
    launcher.start(folder, session_id="cold", user=USER)
    engine.clock += 1800
    pool.start(folder, session_id="one")
    assert [item.session_id for item in launcher.list()] == ["one", "cold"]
    assert launcher.list()[0].created == engine.clock
    assert [item.session_id for item in launcher.reap(min_age=60, keep=[])] == ["cold"]


def test_a_pool_is_entered_once(launcher: Launcher, folder: Path, events: list[Event]) -> None:
    pool = launcher.pool(size=1, user=USER)
    for _ in range(2):
        with pytest.raises(OptionError, match="was entered before"), pool, pool:
            pass
    assert pool.start(folder).timings.claim == 0


def test_where_no_thread_can_be_started_sessions_are(
    launcher: Launcher, folder: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    pool = launcher.pool(size=1, user=USER)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pool.__enter__()
    assert pool.start(folder).timings.claim == 0
    pool.close()
    assert "can't start new thread" in told(events)[0]


def test_secrets_are_in_no_traceback(launcher: Launcher, folder: Path, jupyter: FakeJupyter) -> None:
    text = "a text that nobody sees"
    with pytest.raises(OptionError) as caught:
        launcher.pool(user=USER, secrets={"key": text}, memory="much")
    frames = [frame for frame, _ in traceback.walk_tb(caught.tb)][1:]  # the first is this one
    assert frames
    assert not any(text in repr(value) for frame in frames for value in frame.f_locals.values())
    pool = launcher.pool(user=USER, secrets={"key": text})
    assert text not in repr(vars(pool))
    assert pool.start(folder, secrets={"key": text}).timings.claim == 0
    assert any(text in values for found in jupyter.engine.environments for values in found.values())


def test_a_session_of_this_id_is_joined(
    pool: WarmPool, launcher: Launcher, engine: FakeEngine, mounts: Mounts, folder: Path, events: list[Event]
) -> None:
    first = launcher.start(folder, session_id="one", user=USER)
    joined = pool.start(folder, session_id="one")
    assert (joined.joined, joined.container_id, mounts.asked) == (True, first.container_id, [])
    first.stop()
    # Somebody takes the id at the last moment.
    warm = warm_of(engine)
    mounted: list[str] = []

    def take(*_: object, **__: object) -> None:
        mounted.append(launcher.start(folder, session_id="one", user=USER).container_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mounter, "mount", take)
        session = pool.start(folder, session_id="one")
    assert (session.joined, [session.container_id]) == (True, mounted)
    assert warm.id not in engine.known
    assert names(engine, kind="jupyter-session.") == []
    assert told(events) == []


def test_an_option_that_cannot_work_is_that_of_a_start(pool: WarmPool, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="session_id"):
        pool.start(folder, session_id="No!")
    with pytest.raises(OptionError, match="lease"):
        pool.start(folder, lease=0)
    with pytest.raises(LauncherError, match="does not exist"):
        pool.start(tmp_path / "missing")
    with pytest.raises(TypeError, match="nonsense"):
        pool.start(folder, nonsense=1)
    assert pool.ready == 1


def test_a_claim_that_is_cancelled(pool: WarmPool, engine: FakeEngine, folder: Path, mounts: Mounts) -> None:
    cancel = threading.Event()
    warm = warm_of(engine)

    def set_and_wait(*_: object, **__: object) -> None:
        cancel.set()
        for _turn in range(1000):
            wait_for_cancel(0.05)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mounter, "mount", set_and_wait)
        with pytest.raises(StartCancelledError):
            pool.start(folder, session_id="one", cancel=cancel)
    assert warm.id not in engine.known
    assert names(engine, kind="jupyter-session.") == names(engine, kind="jupyter-server.") == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 0}, "from 1 to 64"),
        ({"size": True}, "from 1 to 64"),
        ({"max_age": -1}, "max_age"),
        ({"user": "no one"}, "user"),
        ({"labels": {}}, "WarmPool.start"),
        ({"lease": 30}, "WarmPool.start"),
        ({"home": "/home/me"}, "without a pool"),
        ({"token": None}, "without a pool"),
        ({"kernels": {"py": "image"}}, "kernels is of a gateway that one session alone has"),
        ({"isolation": "kernel"}, "start_gateway(kernels=...)"),
        ({"nonsense": 1}, "no option of a pool"),
        ({"session_id": "one"}, "no option of a pool"),
        ({"timeouts": 3}, "Timeouts"),
        ({"pull": "sometimes"}, "'always' or 'never'"),
        ({"pull": ["missing"]}, "'always' or 'never'"),
        ({"memory": "much"}, "memory"),
        ({"ports": {6006: 6006}}, "give None"),
        ({"mounts": [Mount(source="/data", target="/pipeline-dir/data")]}, "would be mounted"),
    ],
)
def test_options_that_a_pool_cannot_have(
    launcher: Launcher, engine: FakeEngine, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError) as caught:
        launcher.pool(**{"user": USER, **given})
    assert words in str(caught.value)
    assert engine.known == {}


@pytest.mark.parametrize("seconds", [None, "5", float("nan"), -1])
def test_a_time_to_wait_that_cannot_be(launcher: Launcher, seconds: Any) -> None:
    with pytest.raises(OptionError, match="seconds"):
        launcher.pool(size=1, user=USER).wait(seconds)


def test_leaving_removes_what_nobody_has_claimed(launcher: Launcher, engine: FakeEngine, folder: Path) -> None:
    with launcher.pool(size=2, user=USER, timeouts=Timeouts(start=5)) as pool:
        assert (pool.size, pool.wait(30), pool.ready) == (2, True, 2)
        session = pool.start(folder)
        in_a_fork(pool.close)
        assert names(engine, kind="jupyter-warm.") != []
    pool.close()
    assert [info.id for info in engine.known.values() if info.state == "running"] == [session.container_id]
    assert launcher.ids() == [session.id]


def test_what_a_fork_has_claimed_is_left_alone(pool: WarmPool, engine: FakeEngine) -> None:
    warm = warm_of(engine)
    server = pool._servers._ready[0]
    engine.create(record_config(server.labels, "image", warm.id, "claim of a fork", {}), server.labels.record_name)
    pool.close()
    assert warm.id in engine.known
    engine.remove(server.labels.record_name)
    pool._servers._remove(server)
    assert warm.id not in engine.known


def test_leaving_ends_a_server_that_is_just_being_made(launcher: Launcher, engine: FakeEngine) -> None:
    started = threading.Event()

    def hold(_: str) -> None:
        started.set()
        for _turn in range(1000):
            wait_for_cancel(0.05)

    engine.on_start = hold
    with launcher.pool(size=1, user=USER) as pool:
        assert started.wait(30)
        assert pool.wait(0.0) is False
    assert engine.known == {}


def test_a_listener_of_what_the_pool_tells_closes_it(
    engine: FakeEngine, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()

    def close(event: Event) -> None:
        if event.kind is EventKind.WARNING and not closed.is_set():
            made_pool.close()
            closed.set()

    monkeypatch.setattr(launcher._context.reporter, "_on_event", close)
    monkeypatch.setattr(servers, "_PAUSES", (0.0, 0.0))
    made_pool = launcher.pool(size=2, user=USER)
    create, made = engine.create, list[str]()

    def create_one(config: Any, name: str) -> str:
        made.append(name)
        if len(made) > 1:
            raise refusal(500, "no space")
        return create(config, name)

    monkeypatch.setattr(engine, "create", create_one)
    with made_pool:
        assert closed.wait(30)
        thread = made_pool._servers._thread
        assert thread is not None
        thread.join(30)
        assert (thread.is_alive(), engine.known) == (False, {})


def _away() -> EngineUnavailableError:
    return EngineUnavailableError("the engine does not answer", hint="see it", endpoint="unix:///engine.sock")


@pytest.mark.parametrize("is_renamed", [False, True])
def test_an_engine_that_is_away_for_a_moment(
    is_renamed: bool,  # noqa: FBT001 - pytest's
    pool: WarmPool,
    engine: FakeEngine,
    folder: Path,
    mounts: Mounts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm, server = warm_of(engine), pool._servers._ready[0]
    make_no_more(pool)
    look, rename, is_away = engine.inspect, engine.rename, threading.Event()

    def inspect(name: str) -> ContainerInfo | None:
        if is_away.is_set():
            raise _away()
        return look(name)

    def lose(container: str, name: str) -> None:
        if is_renamed:
            rename(container, name)
        is_away.set()
        raise _away()

    monkeypatch.setattr(engine, "inspect", inspect)
    monkeypatch.setattr(engine, "rename", lose)
    with pytest.raises(EngineUnavailableError):
        pool.start(folder, session_id="one")
    assert {warm.id, server.labels.record_name} <= {*engine.known, *names(engine)}
    pool._servers._do_chores()
    is_away.clear()
    pool._servers._do_chores()
    # What has the name of the session by then may have been found as that.
    assert (warm.id in engine.known, names(engine, kind="jupyter-session.") != []) == (is_renamed, is_renamed)
    assert list(pool._servers._chores) == []


def until(what: Callable[[], bool]) -> bool:
    deadline = Deadline(30)
    while not what() and not deadline.expired():
        threading.Event().wait(0.01)
    return what()


@pytest.mark.parametrize("cause", ["age", "image", "end"])
def test_a_server_is_replaced_when_it_is_old_or_dead_or_of_another_image(
    cause: str, pool: WarmPool, engine: FakeEngine, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = warm_of(engine)
    if cause == "image":
        monkeypatch.setattr(engine.images, "inspect", lambda _: ImageInfo(id="another", labels={}))
        monkeypatch.setattr(engine.images, "find", lambda _: "another")
    elif cause == "age":
        monkeypatch.setattr(pool._servers, "_max_age", 0.0)
        assert until(lambda: first.id not in engine.known)
        monkeypatch.setattr(pool._servers, "_max_age", 60.0)
    else:
        engine.end(first.id)
        pool._servers._renewed[first.id] = -1e9  # so that its lease is due
    assert until(lambda: first.id not in engine.known and pool.ready == 1)


def test_one_that_became_too_old_since_the_last_look_is_not_taken(
    pool: WarmPool, engine: FakeEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = warm_of(engine)
    make_no_more(pool)
    monkeypatch.setattr(pool._servers, "_max_age", 0.0)
    assert pool.start(folder).container_id != first.id
    assert first.id not in engine.known


def test_leases_are_renewed(
    launcher: Launcher, engine: FakeEngine, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_LEASE", 1)
    with launcher.pool(size=1, user=USER) as pool:
        assert pool.wait(30)
        before = len(jupyter.leases)
        assert until(lambda: len(jupyter.leases) > before + 1)
        first = warm_of(engine)
        jupyter.renew_answer = printed("", 3)  # it is ending
        assert until(lambda: first.id not in engine.known)


def test_leases_are_renewed_while_another_server_is_made(
    launcher: Launcher, engine: FakeEngine, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_LEASE", 1)
    over, seen = threading.Event(), threading.Event()

    def hold(_: str) -> None:
        if names(engine, kind="jupyter-warm.")[1:]:
            seen.set()
            over.wait(30)

    engine.on_start = hold
    with launcher.pool(size=2, user=USER) as pool:
        assert seen.wait(30)
        before = len(jupyter.leases)
        assert until(lambda: len(jupyter.leases) > before)
        assert pool.ready == 1
        over.set()
        assert pool.wait(30)


def test_one_look_at_the_image_is_for_all(pool: WarmPool, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    make_no_more(pool)
    looks: list[str] = []

    def find(name: str) -> str:
        looks.append(name)
        return f"sha256:{name}"

    monkeypatch.setattr(engine.images, "find", find)
    pool._servers._ready.append(pool._servers._make())
    pool._servers._renewed["of one that is gone"] = 0.0
    looks.clear()
    pool._servers._look_after()
    assert len(looks) == 1
    assert pool.ready == 2
    assert "of one that is gone" not in pool._servers._renewed


def test_what_cannot_be_made_is_told_once_and_tried_again(
    launcher: Launcher, engine: FakeEngine, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_PAUSES", (0.0, 0.0))
    engine.fail("create", refusal(500, "no space"), refusal(500, "no space"))
    with launcher.pool(size=1, user=USER) as pool:
        assert pool.wait(30)
    assert told(events) == ["no server could be made for sessions from the pool: no space; see why"]


def test_no_server_is_made_while_somebody_waits_for_a_start(launcher: Launcher, engine: FakeEngine) -> None:
    limit = launcher._limit
    waiting = limit._waiting.get()
    with limit.spare_slot() as is_spare:
        assert is_spare
    waiting.append(None)
    with limit.spare_slot() as is_spare:
        assert not is_spare
    with launcher.pool(size=1, user=USER) as pool:
        assert pool.wait(0.1) is False
        waiting.pop()
        pool._servers.wake()
        assert pool.wait(30)


def test_what_dead_processes_have_left_is_reaped(
    pool: WarmPool,
    launcher: Launcher,
    engine: FakeEngine,
    mounts: Mounts,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = pool.start(folder)
    assert pool.wait(30)
    assert launcher.reap(min_age=0) == []
    make_no_more(pool)
    # As if it had been killed in a claim, after the directory was mounted.
    warm = warm_of(engine)
    labels = SessionLabels.of_session(engine.known[session.container_id].labels, session.container_name)
    made = replace(labels, warm=warm.name.rpartition(".")[2])
    engine.create(record_config(made, "image", warm.id, "claim", {}), made.record_name)
    assert launcher.reap(min_age=0) == []  # its process may be about to go on
    monkeypatch.setattr("jupyter_launcher.sessions.leftovers.is_process_dead", lambda _: True)
    assert {(item.kind, item.reason) for item in launcher.reap(min_age=0)} == {
        ("warm", "orphaned"),
        ("record", "created"),
    }
    assert launcher.ids() == [session.id]
    assert len(engine.known) == 2


def test_a_record_names_its_claim(engine: FakeEngine, pool: WarmPool, folder: Path) -> None:
    pool.start(folder)
    (name,) = names(engine, kind="jupyter-session.")
    tool = ToolLabels.of_container(engine.named(name).labels, name)
    assert tool is not None
    assert (tool.kind, len(tool.claim)) == ("record", 32)

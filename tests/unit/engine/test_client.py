"""``DockerEngine`` over an SDK whose answers are made up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from jupyter_launcher import EngineError, EngineUnavailableError, ExecError, PortInUseError
from jupyter_launcher.engine import client
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.streams import END, MARK, mark
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.engine.types import ContainerConfig, ExecResult
from jupyter_launcher.waiting import Deadline
from tests.unit.sdk import FakeApi, api_error, docker_engine, framed, http_response, in_the_list, inspected, sdk_client

CONFIG = ContainerConfig(image="image")
ARGV = ("sh", "-c", "true")


def test_a_client_that_was_handed_in_stays_open() -> None:
    given = sdk_client(FakeApi())
    engine = DockerEngine.connect(client=given)
    assert (engine.client, engine.endpoint) == (given, "http+docker://localhost")
    engine.close()
    assert vars(given)["closed"] is False


def test_traits_are_asked_for_once() -> None:
    api = FakeApi(info={"NCPU": 4})
    engine = docker_engine(api)
    assert (engine.traits.name, engine.traits.cores, engine.traits.api_version) == ("Docker", 4, "1.41")
    assert engine.traits is engine.traits
    assert [name for name, _, _ in api.asked] == ["version", "info"]


def test_traits_of_an_engine_that_refuses_to_tell_are_unknown() -> None:
    engine = docker_engine(FakeApi(version=api_error(403, "forbidden"), info=api_error(403, "forbidden")))
    assert engine.traits == EngineTraits(api_version="1.41")


def test_traits_of_an_engine_that_does_not_answer_are_an_error() -> None:
    with pytest.raises(EngineUnavailableError):
        _ = docker_engine(FakeApi(version=requests.ConnectionError("gone"))).traits


@pytest.mark.parametrize("error", [requests.ConnectionError("gone"), api_error(500, "slow")])
def test_an_engine_that_tells_its_version_alone(error: Exception) -> None:
    traits = docker_engine(FakeApi(info=error)).traits
    assert (traits.name, traits.version, traits.limits_memory) == ("Docker", "28.5.1", None)


def test_the_time_is_the_engines() -> None:
    api = FakeApi(get=http_response(b"OK", headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}))
    assert docker_engine(api).now() == 1767225600.0
    assert api.arguments("get") == ("http+docker://localhost/_ping",)


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
def test_an_answer_without_a_time_is_a_typed_error(headers: dict[str, str]) -> None:
    with pytest.raises(EngineUnavailableError, match="ask for the time"):
        docker_engine(FakeApi(get=http_response(b"OK", headers=headers))).now()


@pytest.mark.parametrize("asked", ["abc", "abcdef", "name"])
def test_a_container_is_found_by_its_name_and_by_the_beginning_of_its_id(asked: str) -> None:
    info = docker_engine(FakeApi(inspect_container=inspected(Id="abcdef"))).inspect(asked)
    assert info is not None
    assert info.name == "name"


@pytest.mark.parametrize("error", [api_error(404, "no such container"), api_error(500, "no such container")])
def test_no_such_container(error: Exception) -> None:
    assert docker_engine(FakeApi(inspect_container=error)).inspect("abc") is None


def test_an_inspect_that_fails_is_not_taken_for_no() -> None:
    with pytest.raises(EngineError) as caught:
        docker_engine(FakeApi(inspect_container=api_error(500, "disk full"))).inspect("abc")
    assert caught.value.status == 500


@pytest.mark.parametrize("asked", ["other", "def", "abcd"])
def test_an_answer_about_another_container_is_an_error(asked: str) -> None:
    with pytest.raises(EngineError, match=rf"asked for container {asked}, and answered with name \(abc\)"):
        docker_engine(FakeApi(inspect_container=inspected())).inspect(asked)


@pytest.mark.parametrize("answer", [None, [], "text", {}])
def test_an_answer_that_is_no_container_is_a_typed_error(answer: object) -> None:
    engine = docker_engine(FakeApi(inspect_container=answer, containers=[answer]))
    with pytest.raises(EngineError, match="unexpected shape"):
        engine.inspect("abc")
    with pytest.raises(EngineError, match="unexpected shape"):
        engine.containers()


@pytest.mark.parametrize("answer", [None, {}, "text", 7])
def test_an_answer_that_is_no_list_is_a_typed_error(answer: object) -> None:
    with pytest.raises(EngineError, match="unexpected shape"):
        docker_engine(FakeApi(containers=answer)).containers()


def test_the_list_is_one_call_for_all_states() -> None:
    api = FakeApi(containers=[in_the_list()])
    assert [item.id for item in docker_engine(api).containers("a=b", "a")] == ["abc"]
    assert api.options("containers") == {"all": True, "filters": {"label": ["a=b", "a"]}}


@pytest.mark.parametrize("labels", [{}, {"a": "other"}, {"A": "b"}, {"a": ""}])
def test_what_does_not_carry_the_labels_that_were_asked_for_is_dropped(labels: dict[str, str]) -> None:
    api = FakeApi(containers=[in_the_list(Labels=labels), in_the_list(Id="right", Labels={"a": "b", "c": ""})])
    assert [item.id for item in docker_engine(api).containers("a=b", "c")] == ["right"]


def test_a_label_whose_value_has_an_equals_sign() -> None:
    api = FakeApi(containers=[in_the_list(Labels={"a": "b=c"}), in_the_list(Labels={"a": "b"})])
    assert [item.labels for item in docker_engine(api).containers("a=b=c")] == [{"a": "b=c"}]


def test_a_create_gives_the_id() -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"})
    assert docker_engine(api).create(CONFIG, "name") == "abc"
    assert api.arguments("create_container_from_config") == (CONFIG.to_docker(), "name")


@pytest.mark.parametrize(("status", "text"), [(409, "in use"), (400, "bad")])
def test_a_create_that_is_refused_keeps_its_status(status: int, text: str) -> None:
    with pytest.raises(EngineError) as caught:
        docker_engine(FakeApi(create_container_from_config=api_error(status, text))).create(CONFIG, "name")
    assert caught.value.status == status


def test_an_interrupt_within_a_create_comes_when_it_is_done() -> None:
    main, ended = threading.get_ident(), threading.Event()

    def create(*_: object) -> dict[str, Any]:
        signal.pthread_kill(main, signal.SIGINT)
        threading.Event().wait(0.1)  # goes on for a while
        ended.set()
        return {"Id": "abc"}

    with pytest.raises(KeyboardInterrupt):
        docker_engine(FakeApi(create_container_from_config=create)).create(CONFIG, "name")
    assert ended.is_set()


def test_a_port_that_is_taken_is_named() -> None:
    error = api_error(500, "Bind for 127.0.0.1:80 failed: port is already allocated")
    engine = docker_engine(FakeApi(start=error))
    with pytest.raises(PortInUseError) as caught:
        engine.start("abc", host_port=80)
    assert (caught.value.host_port, caught.value.status) == (80, 500)
    with pytest.raises(EngineError) as other:  # a free one was asked for
        engine.start("abc")
    assert type(other.value) is EngineError


def test_a_start_that_fails_otherwise_names_no_port() -> None:
    with pytest.raises(EngineError) as caught:
        docker_engine(FakeApi(start=api_error(404, "no such file"))).start("abc", host_port=80)
    assert type(caught.value) is EngineError


def test_a_temporary_container_is_removed_by_its_id() -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"})
    with docker_engine(api).temporary(CONFIG, "name") as container:
        assert container == "abc"
        assert api.names == ["create_container_from_config", "start"]
    assert (api.arguments("remove_container"), api.options("remove_container")) == (
        ("abc",),
        {"v": True, "force": True},
    )


@pytest.mark.parametrize(
    ("call", "error", "removed"),
    [
        ("create_container_from_config", KeyboardInterrupt(), "name"),
        ("start", KeyboardInterrupt(), "abc"),
        ("start", api_error(500, "no"), "abc"),
    ],
)
def test_a_temporary_container_that_fails_is_removed(call: str, error: BaseException, removed: str) -> None:
    api = FakeApi(**{"create_container_from_config": {"Id": "abc"}, call: error})
    with pytest.raises((KeyboardInterrupt, EngineError)), docker_engine(api).temporary(CONFIG, "name"):
        pytest.fail("it did not fail")
    assert api.arguments("remove_container") == (removed,)


def test_a_wait_gives_the_exit_code() -> None:
    assert docker_engine(FakeApi(wait={"StatusCode": 3})).wait("abc", Deadline(60)) == 3


def test_a_wait_for_what_was_removed() -> None:
    assert docker_engine(FakeApi(wait=api_error(404, "no such container"))).wait("abc", Deadline(60)) == -1


def test_a_wait_after_the_deadline_asks_nobody() -> None:
    api = FakeApi()
    assert docker_engine(api).wait("abc", Deadline(0.0)) is None
    assert api.names == []


def test_a_wait_until_the_deadline() -> None:
    deadline = Deadline(60)

    def late(*_: object, **__: object) -> None:
        deadline.seconds = 0.0
        raise requests.ReadTimeout

    assert docker_engine(FakeApi(wait=late)).wait("abc", deadline) is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (requests.ConnectionError("gone"), EngineUnavailableError),
        (api_error(500, "disk full"), EngineError),
        ({}, EngineError),
        ({"StatusCode": None}, EngineError),
    ],
)
def test_a_wait_that_fails_is_a_typed_error(answer: object, kind: type[EngineError]) -> None:
    with pytest.raises(kind):
        docker_engine(FakeApi(wait=answer)).wait("abc", Deadline(60))


@pytest.mark.parametrize("error", [api_error(404, "no such container"), api_error(500, "no such container")])
def test_a_removal_of_what_is_gone_is_done(error: Exception) -> None:
    api = FakeApi(remove_container=error)
    docker_engine(api).remove("abc")
    assert api.names == ["remove_container"]


def test_a_removal_that_somebody_else_has_begun_is_waited_for() -> None:
    looks: Iterator[Any] = iter([inspected(), inspected(), api_error(404, "no such container")])
    api = FakeApi(remove_container=api_error(409, "removal already in progress"), inspect_container=looks)
    docker_engine(api).remove("abc")
    assert api.names == ["remove_container", *["inspect_container"] * 3]


def test_a_removal_of_somebody_elses_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_REMOVAL_SECONDS", 0.0)
    api = FakeApi(remove_container=api_error(409, "removal already in progress"), inspect_container=inspected())
    with pytest.raises(EngineError, match="already in progress"):
        docker_engine(api).remove("abc")
    assert api.names == ["remove_container", "inspect_container"]


def test_a_removal_that_fails() -> None:
    with pytest.raises(EngineError):
        docker_engine(FakeApi(remove_container=api_error(500, "device busy"))).remove("abc")


LOG = framed((1, b"one\n"), (2, b"two\n"))


def test_a_log_has_both_streams() -> None:
    api = FakeApi(get=http_response(LOG))
    assert docker_engine(api).logs("abc", tail=5) == "one\ntwo\n"
    assert api.arguments("get") == ("http+docker://localhost/v1.41/containers/abc/logs",)
    options = api.options("get")
    assert (options["params"], options["timeout"]) == ({"stdout": 1, "stderr": 1, "follow": 0, "tail": 5}, 60)


def test_a_log_is_followed_without_a_time_out() -> None:
    api = FakeApi(get=http_response(LOG))
    assert list(docker_engine(api).follow_logs("abc")) == ["one\n", "two\n"]
    options = api.options("get")
    assert (options["params"]["follow"], options["params"]["tail"], options["timeout"]) == (1, "all", None)


def test_a_log_that_cannot_be_read() -> None:
    engine = docker_engine(FakeApi(get=lambda *_, **__: http_response(b'{"message": "no driver"}', 501)))
    with pytest.raises(EngineError, match="no driver") as caught:
        engine.logs("abc")
    assert caught.value.status == 501
    assert "logging driver" in caught.value.hint
    assert engine.log_tail("abc").startswith("(no log: the engine refused to read the log of container abc: no driver")


def test_a_log_of_what_is_gone() -> None:
    engine = docker_engine(FakeApi(get=lambda *_, **__: http_response(b'{"message": "no such container"}', 404)))
    with pytest.raises(EngineError) as caught:
        engine.logs("abc")
    assert caught.value.status == 404
    assert "logging driver" not in caught.value.hint


def exec_api(*frames: tuple[int, bytes], code: int | None = 0, **answers: Any) -> FakeApi:
    """An engine whose exec prints so and ends so."""
    known = {
        "exec_create": {"Id": "e1"},
        "post": lambda *_, **__: http_response(framed(*frames)),
        "exec_inspect": {"Running": code is None, "ExitCode": code},
    }
    return FakeApi(**{**known, **answers})


def run(api: FakeApi, deadline: Deadline | None = None, **options: Any) -> ExecResult:
    return docker_engine(api).exec("abc", ARGV, deadline or Deadline(60), **options)


def failure(api: FakeApi, deadline: Deadline | None = None, **options: Any) -> ExecError:
    with pytest.raises(ExecError) as caught:
        run(api, deadline, **options)
    assert caught.value.hint
    return caught.value


def test_a_command_that_ran() -> None:
    result = run(exec_api((1, MARK + b"out\xff"), (2, b"err")))
    assert result == ExecResult(exit_code=0, stdout="out\N{REPLACEMENT CHARACTER}", stderr="err")


def test_a_command_runs_marked_and_in_the_root() -> None:
    api = exec_api((1, MARK))
    run(api)
    assert api.arguments("exec_create") == ("abc", mark(ARGV))
    assert api.options("exec_create") == {"workdir": "/"}
    assert api.arguments("post") == ("http+docker://localhost/v1.41/exec/e1/start",)
    assert api.options("post")["json"] == {"Detach": False, "Tty": False}
    assert 0 < api.options("post")["timeout"] <= 60


def test_a_command_runs_where_it_is_asked_to() -> None:
    api = exec_api((1, MARK))
    run(api, workdir="/pipeline-dir")
    assert api.options("exec_create") == {"workdir": "/pipeline-dir"}


def test_a_command_that_failed_is_an_error() -> None:
    error = failure(exec_api((1, MARK + b"out"), (2, b"disk full"), code=3))
    assert (error.started, error.exit_code, error.output) == (True, 3, "out\ndisk full")
    assert "failed with exit code 3: out\ndisk full" in error.message


def test_a_code_that_is_the_answer() -> None:
    assert run(exec_api((1, MARK + b"out"), code=3), check=False) == printed_with(3)


def printed_with(code: int) -> ExecResult:
    return ExecResult(exit_code=code, stdout="out", stderr="")


@pytest.mark.parametrize("code", [126, 127, 128])
@pytest.mark.parametrize("check", [True, False])
def test_what_the_runtime_says_is_never_the_commands_output(code: int, check: bool) -> None:  # noqa: FBT001 - pytest's
    error = failure(exec_api((1, b"OCI runtime exec failed: exec failed"), code=code), check=check)
    assert (error.started, error.exit_code) == (False, code)
    assert "did not run: OCI runtime exec failed" in error.message


@pytest.mark.parametrize("check", [True, False])
def test_output_that_was_lost_is_not_taken_for_none(check: bool) -> None:  # noqa: FBT001 - pytest's
    error = failure(exec_api(code=0), check=check)
    assert (error.started, error.exit_code) == (None, 0)
    assert "its output was lost" in error.message


def test_a_command_that_goes_on_after_its_output() -> None:
    api = exec_api((1, MARK + b"out"), (1, END), (1, b"never read"))
    assert run(api) == ExecResult(exit_code=None, stdout="out", stderr="")
    assert "exec_inspect" not in api.names


def test_output_beyond_the_cap_is_an_error() -> None:
    api = exec_api((1, MARK + b"o" * 20), (1, b"never read"))
    error = failure(api, limit=10)
    assert (error.started, error.exit_code, error.output) == (True, None, "o" * 10)
    assert "printed more than 10 bytes" in error.message
    assert "exec_inspect" not in api.names


@pytest.mark.parametrize(("frame", "started"), [(MARK + b"out", True), (b"", None)])
def test_output_that_does_not_end_before_the_deadline(frame: bytes, started: bool | None) -> None:  # noqa: FBT001 - pytest's
    error = failure(exec_api((1, frame), (1, b"more")), Deadline(0.0))
    assert (error.started, error.exit_code) == (started, None)
    assert "did not answer within 0 s" in error.message


def test_a_command_that_closed_its_output_and_goes_on() -> None:
    error = failure(exec_api((1, MARK), code=None), Deadline(0.0))
    assert (error.started, error.exit_code) == (True, None)


def test_the_exit_code_may_come_a_moment_after_the_output() -> None:
    states: Iterator[dict[str, Any]] = iter(
        [{"Running": True, "ExitCode": None}, {"Running": True, "ExitCode": None}, {"Running": False, "ExitCode": 0}]
    )
    assert run(exec_api((1, MARK), exec_inspect=states)).exit_code == 0


def test_an_engine_that_stalls_until_the_deadline() -> None:
    error = failure(exec_api(post=requests.ReadTimeout("slow")), Deadline(0.0))
    assert (error.started, error.exit_code) == (None, None)


def test_an_engine_that_is_gone_is_not_an_error_of_the_command() -> None:
    with pytest.raises(EngineUnavailableError):
        run(exec_api(post=requests.ConnectionError("gone")))


@pytest.mark.parametrize(("status", "text"), [(409, "container abc is not running"), (409, "is paused"), (404, "gone")])
def test_an_exec_that_is_refused_did_not_run(status: int, text: str) -> None:
    api = exec_api(exec_create=api_error(status, text))
    error = failure(api)
    assert (error.started, error.exit_code, error.output) == (False, None, "")
    assert text in error.message
    assert api.names == ["exec_create"]


def test_a_proxy_that_forbids_the_start_of_an_exec() -> None:
    page = b"<html><body>403 Forbidden</body></html>"
    with pytest.raises(EngineError, match="403 Forbidden") as caught:
        docker_engine(exec_api(post=http_response(page, 403))).exec("abc", ["true"], Deadline(5))
    assert caught.value.status == 403
    assert "socket proxy" in caught.value.hint


def test_a_secret_is_in_no_error() -> None:
    api = exec_api((1, MARK + b"s3cret"), (2, b"told"), exec_inspect={"Running": False, "ExitCode": 3})
    with pytest.raises(ExecError) as caught:
        docker_engine(api).exec("abc", ["cat"], Deadline(5), secret=True)
    assert caught.value.output == "told"
    assert "s3cret" not in f"{caught.value}{caught.value!r}"
    broken = exec_api((1, MARK + b"s3cret"), exec_inspect=api_error(500, "gone"))
    with pytest.raises(ExecError) as caught:
        docker_engine(broken).exec("abc", ["cat"], Deadline(5), secret=True)
    assert "s3cret" not in f"{caught.value}{caught.value!r}"


def test_a_command_that_closes_its_output_and_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_LAST_MOMENT", 0.0)
    running = {"Running": True, "ExitCode": None}
    error = failure(exec_api((1, MARK + b"out"), exec_inspect=running))
    assert (error.started, error.exit_code) == (True, None)
    lost = failure(exec_api(exec_inspect=running))
    assert (lost.started, lost.exit_code) == (None, None)


def test_an_answer_to_the_create_of_an_exec_that_cannot_be_parsed() -> None:
    error = failure(exec_api(exec_create={}))
    assert "unexpected shape" in error.message
    assert error.started is False


@pytest.mark.parametrize("answer", [{}, None, api_error(404, "no such container"), api_error(500, "disk full")])
def test_a_command_whose_end_is_not_told_ran_all_the_same(answer: object) -> None:
    error = failure(exec_api((1, MARK + b"out"), exec_inspect=answer))
    assert (error.started, error.exit_code, error.output) == (True, None, "out")
    assert "ran, but its end was not seen" in error.message

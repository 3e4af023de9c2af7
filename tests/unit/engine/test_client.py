"""``DockerEngine`` over an SDK whose answers are made up."""

from __future__ import annotations

import json
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, cast

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import EngineError, EngineUnavailableError, ExecError, LauncherError, PortInUseError
from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.engine import client, logs, streams
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.streams import END, MARK, mark
from jupyter_launcher.engine.traits import EngineTraits, NetworkInfo
from jupyter_launcher.engine.types import ContainerConfig, ExecResult
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from tests.unit.forks import in_a_fork
from tests.unit.hostile import shown
from tests.unit.sdk import (
    FakeApi,
    answer_on_a_socket,
    api_error,
    docker_engine,
    framed,
    http_response,
    in_the_list,
    inspected,
    sdk_client,
)
from tests.unit.strategies import error_of, json_values

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


def test_a_fork_asks_for_traits_itself_with_a_client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FakeApi] = []

    def make(*_: object) -> Any:
        made.append(FakeApi(info={"NCPU": 4}))
        return sdk_client(made[-1]), None

    monkeypatch.setattr("jupyter_launcher.engine.connection._make_client", make)
    engine = DockerEngine.connect(docker_host="unix:///x")
    assert (engine.traits.cores, len(made)) == (4, 1)
    inside = in_a_fork(
        lambda: (engine.traits.cores, len(made), made[1].asked != [], cast("Any", engine.api) is made[1])
    )
    assert inside == "(4, 2, True, True)"
    assert cast("Any", engine.api) is made[0]


def test_traits_of_an_engine_that_refuses_to_tell_are_unknown() -> None:
    engine = docker_engine(FakeApi(version=api_error(403, "forbidden"), info=api_error(403, "forbidden")))
    assert engine.traits == EngineTraits(api_version="1.41")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("info", api_error(500, "busy")),
        ("info", requests.ConnectionError("closed")),
        ("version", api_error(500, "busy")),
    ],
)
def test_traits_that_an_engine_once_failed_to_tell_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    api = FakeApi(info=iter([{}, {"NCPU": 4}]))
    told = api.answers.get(call)
    api.answers[call] = iter([error, {"NCPU": 4} if call == "info" else told])
    engine = docker_engine(api)
    assert [engine.traits.cores, engine.traits.cores] == [None, None]  # not each time, since it may take long to fail
    monkeypatch.setattr(Deadline, "expired", lambda _: True)
    assert [engine.traits.cores, engine.traits.cores] == [4, 4]


def test_traits_that_an_engine_refuses_to_tell_are_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = docker_engine(FakeApi(info=iter([api_error(403, "forbidden")])))
    monkeypatch.setattr(Deadline, "expired", lambda _: True)
    assert engine.traits is engine.traits


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


def test_a_network_is_found_by_its_name() -> None:
    api = FakeApi(inspect_network={"Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}})
    assert docker_engine(api).network("mine") == NetworkInfo(driver="bridge", subnets=(ip_network("172.17.0.0/16"),))
    assert api.arguments("inspect_network") == ("mine",)


def test_no_such_network() -> None:
    assert docker_engine(FakeApi(inspect_network=api_error(404, "no such network"))).network("mine") is None


def test_a_network_that_must_not_be_looked_at_is_not_taken_for_none() -> None:
    with pytest.raises(EngineError, match="inspect network mine") as caught:
        docker_engine(FakeApi(inspect_network=api_error(403, "forbidden"))).network("mine")
    assert caught.value.status == 403


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


def test_a_port_that_is_taken_is_named() -> None:
    error = api_error(500, "Bind for 127.0.0.1:80 failed: port is already allocated")
    engine = docker_engine(FakeApi(start=error))
    with pytest.raises(PortInUseError) as caught:
        engine.start("abc", host_ports=[80])
    assert (caught.value.host_port, caught.value.status) == (80, 500)
    with pytest.raises(PortInUseError) as another:
        engine.start("abc", host_ports=[79, 80])  # the engine names the one of them that is taken
    assert another.value.host_port == 80
    with pytest.raises(EngineError) as other:  # a free one was asked for
        engine.start("abc")
    assert type(other.value) is EngineError


def test_a_port_of_the_engines_own_that_is_taken_after_all_is_chosen_again() -> None:
    taken = api_error(500, "driver failed: listen tcp4 127.0.0.1:49153: bind: address already in use")
    api = FakeApi(start=iter([taken, taken, None]))
    docker_engine(api).start("abc")
    assert api.names == ["start"] * 3
    beside = FakeApi(start=iter([taken, None]))
    docker_engine(beside).start("abc", host_ports=[80])
    assert beside.names == ["start"] * 2
    once = FakeApi(start=api_error(500, "address already in use"))
    with pytest.raises(PortInUseError):
        docker_engine(once).start("abc", host_ports=[80])
    assert once.names == ["start"]


def test_a_start_that_fails_otherwise_names_no_port() -> None:
    with pytest.raises(EngineError) as caught:
        docker_engine(FakeApi(start=api_error(404, "no such file"))).start("abc", host_ports=[80])
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


@pytest.mark.parametrize("error", [api_error(500, "busy"), requests.ConnectionError("closed")])
def test_a_temporary_container_whose_removal_fails_is_removed_again(error: Exception) -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"}, remove_container=iter([error, None]))
    with docker_engine(api).temporary(CONFIG, "name"):
        pass
    assert api.names[2:] == ["remove_container"] * 2


def test_a_temporary_container_that_cannot_be_removed_is_told() -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"}, remove_container=api_error(500, "busy"))
    with pytest.raises(EngineError, match="remove container abc: busy"), docker_engine(api).temporary(CONFIG, "name"):
        pass
    assert api.names[2:] == ["remove_container"] * 2


def test_a_temporary_container_that_is_not_what_was_waited_for_is_removed() -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"})

    def wait() -> None:
        assert api.names == ["create_container_from_config", "start"]
        raise KeyError

    with pytest.raises(KeyError), docker_engine(api).temporary(CONFIG, "name", wait=wait):
        pytest.fail("it was not waited for")
    assert api.arguments("remove_container") == ("abc",)


def test_a_temporary_container_that_is_kept_stays() -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"})
    asked: list[int] = []

    def keep() -> bool:
        asked.append(1)
        return True

    with docker_engine(api).temporary(CONFIG, "name", keep=keep):
        assert asked == []
    assert (asked, "remove_container" in api.names) == ([1], False)


def test_a_fork_that_leaves_the_block_of_a_temporary_container_ends_nothing() -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"})
    block = docker_engine(api).temporary(CONFIG, "name")
    block.__enter__()

    def leave() -> bool:
        block.__exit__(None, None, None)
        return "remove_container" in api.names

    assert in_a_fork(leave) == "False"
    block.__exit__(None, None, None)
    assert api.arguments("remove_container") == ("abc",)


@pytest.mark.parametrize("call", ["create_container_from_config", "start", "remove_container"])
def test_an_interrupt_of_a_temporary_container_outside_of_an_act_leaves_nothing(call: str) -> None:
    api = FakeApi(create_container_from_config={"Id": "abc"})
    answered = threading.Event()

    def interrupted(*_: object, **__: object) -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGINT)
        answered.wait(0.3)  # the interrupt comes while the engine is at it
        answered.set()
        return {"Id": "abc"}

    api.answers[call] = interrupted
    with pytest.raises(KeyboardInterrupt), docker_engine(api).temporary(CONFIG, "name"):
        assert call == "remove_container"
    assert answered.is_set()
    assert api.arguments("remove_container") == ("abc",)


def test_the_removal_of_a_temporary_container_is_waited_for_when_its_act_is_cancelled() -> None:
    event = threading.Event()
    looks: Iterator[Any] = iter([inspected(), inspected(), api_error(404, "no such container")])
    api = FakeApi(
        create_container_from_config={"Id": "abc"},
        remove_container=api_error(409, "removal already in progress"),
        inspect_container=looks,
    )

    def act() -> None:
        with docker_engine(api).temporary(CONFIG, "name"):
            event.set()
            for attempt in attempts(Deadline(60), NotYetError):
                with attempt:
                    raise NotYetError

    with pytest.raises(KeyError):
        run_act(act, cancel=Cancel(event, KeyError))
    assert api.names[2:] == ["remove_container", *["inspect_container"] * 3]


def test_a_wait_gives_the_exit_code() -> None:
    api = FakeApi(post=http_response(b'{"StatusCode": 3}'))
    assert docker_engine(api).wait("abc", Deadline(60)) == 3
    assert api.arguments("post") == ("http+docker://localhost/v1.41/containers/abc/wait",)
    assert api.options("post")["stream"] is True
    assert 0 < api.options("post")["timeout"] <= 60


@pytest.mark.parametrize(("status", "text"), [(404, "whatever"), (500, "no such container")])
def test_a_wait_for_what_was_removed(status: int, text: str) -> None:
    api = FakeApi(post=http_response(json.dumps({"message": text}).encode(), status))
    assert docker_engine(api).wait("abc", Deadline(60)) == -1


def test_a_wait_after_the_deadline_asks_nobody() -> None:
    api = FakeApi()
    assert docker_engine(api).wait("abc", Deadline(0.0)) is None
    assert api.names == []


def test_a_wait_until_the_deadline() -> None:
    with answer_on_a_socket(b"") as (response, _):
        deadline = Deadline(0.1)
        assert docker_engine(FakeApi(post=response)).wait("abc", deadline) is None
    assert deadline.expired()


def test_a_wait_until_the_deadline_for_an_answer_that_does_not_begin() -> None:
    deadline = Deadline(60)

    def late(*_: object, **__: object) -> None:
        deadline.seconds = 0.0
        raise requests.ReadTimeout

    assert docker_engine(FakeApi(post=late)).wait("abc", deadline) is None


def test_a_wait_that_is_cancelled_ends_at_once() -> None:
    event, soon = threading.Event(), Deadline(10)
    with answer_on_a_socket(b"") as (response, _):

        def post(*_: object, **__: object) -> requests.Response:
            event.set()
            return response

        engine = docker_engine(FakeApi(post=post))
        with pytest.raises(KeyError):
            run_act(lambda: engine.wait("abc", Deadline(60)), cancel=Cancel(event, KeyError))
    assert not soon.expired()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (requests.ConnectionError("gone"), EngineUnavailableError),
        (http_response(b"disk full", 500), EngineError),
        (http_response(b""), EngineUnavailableError),
        (http_response(b"{}"), EngineError),
        (http_response(b'{"StatusCode": null}'), EngineError),
    ],
)
def test_a_wait_that_fails_is_a_typed_error(answer: object, kind: type[EngineError]) -> None:
    with pytest.raises(kind):
        docker_engine(FakeApi(post=answer)).wait("abc", Deadline(60))


@given(json_values() | st.fixed_dictionaries({"StatusCode": json_values()}))
def test_whatever_the_end_of_a_container_is_said_to_be(answer: Any) -> None:
    engine = docker_engine(FakeApi(post=lambda *_, **__: http_response(json.dumps(answer).encode())))
    error_of(EngineError, lambda: engine.wait("abc", Deadline(60)))


def test_a_container_is_paused() -> None:
    api = FakeApi()
    docker_engine(api).pause("abc")
    assert (api.names, api.arguments("pause")) == (["pause"], ("abc",))
    paused = inspected(State={"Status": "paused"})
    docker_engine(FakeApi(pause=api_error(409, "is already paused"), inspect_container=paused)).pause("abc")


@pytest.mark.parametrize("found", [inspected(), api_error(404, "no such container")])
def test_a_container_that_cannot_be_paused_is_an_error(found: object) -> None:
    with pytest.raises(EngineError, match="no freezer"):
        docker_engine(FakeApi(pause=api_error(500, "no freezer"), inspect_container=found)).pause("abc")


def test_a_paused_container_goes_on() -> None:
    api = FakeApi()
    docker_engine(api).unpause("abc")
    assert (api.names, api.arguments("unpause")) == (["unpause"], ("abc",))


@pytest.mark.parametrize("found", [inspected(), api_error(404, "no such container")])
def test_what_is_not_paused_needs_not_to_go_on(found: object) -> None:
    docker_engine(FakeApi(unpause=api_error(500, "is not paused"), inspect_container=found)).unpause("abc")


def test_a_container_that_stays_paused_is_an_error() -> None:
    api = FakeApi(unpause=api_error(500, "frozen"), inspect_container=inspected(State={"Status": "paused"}))
    with pytest.raises(EngineError, match="frozen"):
        docker_engine(api).unpause("abc")


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
    assert list(docker_engine(api).read_log("abc", follow=True)) == ["one\n", "two\n"]
    options = api.options("get")
    assert (options["params"]["follow"], options["params"]["tail"], options["timeout"]) == (1, "all", None)


def test_a_log_that_cannot_be_read() -> None:
    engine = docker_engine(FakeApi(get=lambda *_, **__: http_response(b'{"message": "no driver"}', 501)))
    with pytest.raises(EngineError, match="no driver") as caught:
        engine.logs("abc")
    assert caught.value.status == 501
    assert "logging driver" in caught.value.hint
    assert engine.log_tail("abc").startswith("(no log: the engine refused to read the log of container abc: no driver")


def test_the_end_of_a_log_for_a_message() -> None:
    api = FakeApi(get=lambda *_, **__: http_response(LOG))
    assert docker_engine(api).log_tail("abc") == "one\ntwo\n"
    assert api.options("get")["params"]["tail"] == 40


def test_the_end_of_a_log_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_TAIL_SIZE", 5)
    assert docker_engine(FakeApi(get=http_response(LOG))).log_tail("abc") == "\ntwo\n"


def test_a_log_without_an_end_does_not_hold_up_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_TAIL_SECONDS", 0.2)
    with answer_on_a_socket(framed((1, b"one\n"))) as (response, _):
        tail = docker_engine(FakeApi(get=response)).log_tail("abc")
    assert tail == "one\n\n(the log breaks off: it did not end within 0.2 s)"


def test_a_log_that_goes_on_and_on_does_not_hold_up_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_TAIL_SECONDS", 0.0)
    tail = docker_engine(FakeApi(get=http_response(LOG * 9))).log_tail("abc")
    assert tail == "(no log: it did not end within 0 s)"


def test_a_log_that_breaks_off_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object) -> Iterator[tuple[int, bytes]]:
        yield 1, b"one\n"
        raise requests.ConnectionError

    monkeypatch.setattr(logs, "read_frames", break_off)
    tail = docker_engine(FakeApi(get=http_response())).log_tail("abc")
    assert tail.startswith("one\n\n(the log breaks off: could not read the log of container abc")


def test_a_log_of_what_is_gone() -> None:
    engine = docker_engine(FakeApi(get=lambda *_, **__: http_response(b'{"message": "no such container"}', 404)))
    with pytest.raises(EngineError) as caught:
        engine.logs("abc")
    assert caught.value.status == 404
    assert "logging driver" not in caught.value.hint


def test_a_log_that_cannot_be_read_is_an_error_of_the_call_and_of_no_piece() -> None:
    refusal, closed = http_response(b'{"message": "no such container"}', 404), threading.Event()
    refusal.close = closed.set  # type: ignore[method-assign]
    with pytest.raises(EngineError):
        docker_engine(FakeApi(get=refusal)).read_log("abc")
    assert closed.is_set()


def test_a_log_comes_in_pieces_as_it_is_written() -> None:
    with answer_on_a_socket(framed((1, b"one\n"))) as (response, engine):
        pieces = docker_engine(FakeApi(get=response)).read_log("abc", follow=True)
        assert next(pieces) == "one\n"
        engine.sendall(framed((2, b"two\n")))
        assert next(pieces) == "two\n"
        engine.close()
        assert list(pieces) == []


def test_a_log_that_breaks_off_is_a_typed_error() -> None:
    with answer_on_a_socket(framed((1, b"one\n"))) as (response, _):
        streams.limit_read(response, Deadline(0.01))
        pieces = docker_engine(FakeApi(get=response)).read_log("abc")
        assert next(pieces) == "one\n"
        with pytest.raises(EngineUnavailableError, match="read the log of container abc"):
            next(pieces)


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
    assert api.arguments("exec_create") == ("abc", mark(ARGV, 61))
    assert api.options("exec_create") == {"workdir": "/", "environment": {}}
    assert api.arguments("post") == ("http+docker://localhost/v1.41/exec/e1/start",)
    assert api.options("post")["json"] == {"Detach": False, "Tty": False}
    assert 0 < api.options("post")["timeout"] <= 60


@pytest.mark.parametrize(("seconds", "inside"), [(0.0, 1), (0.2, 2), (5.0, 6)])
def test_a_command_is_ended_in_the_container_a_moment_after_its_deadline(seconds: float, inside: int) -> None:
    api = exec_api((1, MARK + END))
    error_of(ExecError, lambda: run(api, Deadline(seconds)))
    assert api.arguments("exec_create") == ("abc", mark(ARGV, inside))


def test_a_command_that_stays_is_not_ended() -> None:
    api = exec_api((1, MARK + END))
    run(api, stays=True)
    assert api.arguments("exec_create") == ("abc", mark(ARGV))


def test_a_command_runs_where_it_is_asked_to() -> None:
    api = exec_api((1, MARK))
    run(api, workdir="/pipeline-dir")
    assert api.options("exec_create") == {"workdir": "/pipeline-dir", "environment": {}}


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
    with answer_on_a_socket(framed((1, frame))) as (response, _):
        error = failure(exec_api(post=response), Deadline(0.1))
    assert (error.started, error.exit_code, error.output) == (started, None, "out" if started else "")
    assert "did not answer within 0.1 s" in error.message


def test_the_exit_code_may_come_a_moment_after_the_output() -> None:
    states: Iterator[dict[str, Any]] = iter(
        [{"Running": True, "ExitCode": None}, {"Running": True, "ExitCode": None}, {"Running": False, "ExitCode": 0}]
    )
    assert run(exec_api((1, MARK), exec_inspect=states)).exit_code == 0


def test_an_engine_that_stalls_until_the_deadline() -> None:
    error = failure(exec_api(post=requests.ReadTimeout("slow")), Deadline(0.0))
    assert (error.started, error.exit_code) == (None, None)


def test_a_command_whose_act_is_cancelled_is_left_at_once() -> None:
    event, soon = threading.Event(), Deadline(10)
    with answer_on_a_socket(framed((1, MARK + b"out"))) as (response, _):

        def post(*_: object, **__: object) -> requests.Response:
            event.set()
            return response

        with pytest.raises(KeyError):
            run_act(lambda: run(exec_api(post=post)), cancel=Cancel(event, KeyError))
    assert not soon.expired()


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
    refused = http_response(page, 403, to="POST /v1.41/exec/e1/start")
    with pytest.raises(EngineError, match="403 Forbidden") as caught:
        docker_engine(exec_api(post=refused)).exec("abc", ["true"], Deadline(5))
    assert caught.value.status == 403
    assert "socket proxy" in caught.value.message
    assert "EXEC" in caught.value.hint


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


SECRET = b"s3cret"


class BreakingRaw:
    """A body that breaks off within a frame, in a transport whose frames hold what has come so far."""

    def __init__(self, error: Exception) -> None:
        self._frames = [framed((1, MARK + SECRET))[:8], MARK + SECRET, framed((1, SECRET))[:8]]
        self._error = error

    def read(self, _: int) -> bytes:
        if self._frames:
            return self._frames.pop(0)
        so_far = SECRET
        raise self._error from OSError(len(so_far))

    def close(self) -> None:
        self._frames.clear()


@pytest.mark.parametrize("error", [requests.ReadTimeout("slow"), requests.ConnectionError("reset"), OSError("odd")])
@pytest.mark.parametrize("seconds", [60.0, 0.0])
def test_a_secret_is_in_no_local_of_a_traceback(error: Exception, seconds: float) -> None:
    response = http_response()

    def post(*_: object, **__: object) -> requests.Response:
        response.raw = BreakingRaw(error)
        return response

    with pytest.raises(LauncherError) as caught:
        docker_engine(exec_api(post=post)).exec("abc", ["cat"], Deadline(seconds), secret=True)
    assert [text for text in shown(caught.value) if "s3cret" in text] == []


@pytest.mark.parametrize(
    "answers",
    [
        {"exec_inspect": {"Running": False, "ExitCode": 3}},
        {"exec_inspect": api_error(500, "gone")},
        {"exec_inspect": requests.ConnectionError("gone")},
        {"exec_inspect": None},
    ],
)
def test_a_secret_that_was_read_whole_is_in_no_local_of_a_traceback(answers: dict[str, Any]) -> None:
    with pytest.raises(LauncherError) as caught:
        docker_engine(exec_api((1, MARK + SECRET), **answers)).exec("abc", ["cat"], Deadline(5), secret=True)
    assert [text for text in shown(caught.value) if "s3cret" in text] == []


@given(st.binary() | st.binary().map(lambda body: framed((1, MARK + body))), json_values())
def test_whatever_an_exec_gives_is_a_result_or_a_typed_error(body: bytes, end: Any) -> None:
    api = exec_api(post=lambda *_, **__: http_response(body), exec_inspect=end)
    error = error_of(LauncherError, lambda: run(api, Deadline(0.01)))
    assert error is None or isinstance(error, (ExecError, EngineError))


@given(st.binary())
def test_whatever_a_log_is_it_is_text(body: bytes) -> None:
    docker_engine(FakeApi(get=http_response(body))).logs("abc")


def test_a_command_that_closes_its_output_and_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_LAST_MOMENT", 0.0)
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


def test_a_command_has_variables_of_its_own_which_nothing_shows() -> None:
    api = exec_api((1, MARK))
    run(api, environment=HiddenTexts({"KEY": "s3cret"}))
    assert api.options("exec_create") == {"workdir": "/", "environment": {"KEY": "s3cret"}}
    command = streams.Command(
        container="c",
        argv=("true",),
        workdir="/",
        limit=1,
        secret=False,
        stays=False,
        environment=HiddenTexts({"KEY": "s3cret"}),
    )
    assert "s3cret" not in repr(command)


@pytest.mark.parametrize(
    "answer", [*(api_error(status, "bad KEY=s3cret") for status in (403, 404, 500)), AssertionError("s3cret")]
)
def test_neither_a_traceback_nor_a_message_shows_the_variables_of_a_command(answer: Exception) -> None:
    hidden = HiddenTexts({"KEY": "s3cret"})
    with pytest.raises(LauncherError) as caught:
        run(exec_api(exec_create=answer), environment=hidden)
    assert "s3cret" not in str(caught.value)
    frames = [*traceback.walk_tb(caught.value.__traceback__)]
    shown = [repr(value) for frame, _ in frames for name, value in frame.f_locals.items() if name != "caught"]
    assert len(frames) > 1
    assert not any("s3cret" in text for text in shown if "api_error" not in text and "AssertionError" not in text)
    assert caught.value.__context__ is None


def test_an_unknown_failure_of_a_command_without_variables_is_not_hidden() -> None:
    with pytest.raises(AssertionError, match="unknown"):
        run(exec_api(exec_create=AssertionError("unknown")))

"""Code in a kernel, whatever the kernel, its server and the connection do."""

from __future__ import annotations

import functools
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jupyter_launcher import (
    CodeError,
    EngineUnavailableError,
    ExecuteResult,
    ExecuteTimeoutError,
    Gateway,
    KernelDiedError,
    LauncherError,
    OptionError,
    Output,
    ServerError,
    ServerNotRunningError,
    ServerTimeoutError,
    SessionNotFoundError,
    WorkError,
)
from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.work import channels, connection, execution
from jupyter_launcher.work import server as server_module
from jupyter_launcher.work.kernels import KeptKernel, Kernel, check_kernel_id, list_kernels
from jupyter_launcher.work.session import SessionWork
from tests.unit.fakes import TOKEN, FakeEngine, container
from tests.unit.hostile import KINDS, SOME, hostile_server, shown
from tests.unit.work.jupyter import Channel, FakeKernel, place_of


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience."""
    for module, name, seconds in (
        (execution, "_LOOK_SECONDS", 0.1),
        (execution, "_PROBE_SECONDS", 0.3),
        (execution, "_RESUME_SECONDS", 1.0),
        (execution, "_BEGIN_SECONDS", 0.3),
        (execution, "_AHEAD_SECONDS", 0.2),
        (execution, "_INTERRUPT_SECONDS", 0.5),
        (connection, "_LOOK_SECONDS", 0.1),
        (connection, "_CONNECT_SECONDS", 20.0),
        (connection, "_HANDSHAKE_SECONDS", 2.0),
        (connection, "_RETRY_SECONDS", 0.02),
        (connection, "_ASK_AGAIN_SECONDS", (0.1,)),
    ):
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def jupyter() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def kernel(jupyter: FakeKernel) -> Iterator[Kernel]:
    with jupyter.serve() as url, Kernel(place_of(url), name=None, path=None, kernel_id=None) as found:
        yield found


def prints(*texts: str) -> Callable[[Channel, str, str], None]:
    def on_code(channel: Channel, request: str, _: str) -> None:
        for text in texts:
            channel.say("stream", request, name="stdout", text=text)
        channel.end(request)

    return on_code


def on_nth(*behaviours: Callable[[Channel, str, str], None]) -> Callable[[Channel, str, str], None]:
    """Behaves otherwise with each execution; the last goes on."""
    left = list(behaviours)

    def on_code(channel: Channel, request: str, code: str) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(channel, request, code)

    return on_code


def says_nothing(channel: Channel, request: str, _: str) -> None:
    channel.kernel.state = "busy"
    channel.say("status", request, execution_state="busy")


# What is sent, and what comes of it


def test_what_belongs_to_the_request_is_its_result(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, code: str) -> None:
        channel.say("stream", "another", name="stdout", text="not ours")
        channel.end("another", "error")
        channel.send(b"no message")
        channel.say("execute_reply", request, status="ok", execution_count=1)
        channel.say("stream", request, name="stdout", text=f"{code}\n")
        channel.say("status", request, execution_state="idle")
        channel.say("stream", request, name="stdout", text="too late")

    jupyter.on_code = on_code
    heard: list[Output] = []
    assert kernel.execute("one", on_output=heard.append).text == "one\n"
    assert kernel.execute("two").text == "two\n"
    assert [item["text"] for item in heard] == ["one\n"]
    sent = jupyter.requests[0]["content"]
    assert (sent["allow_stdin"], sent["stop_on_error"], sent["silent"]) == (False, False, False)
    assert len(jupyter.channels) == 1


def test_an_error_of_the_code_is_raised_unless_it_is_not_wanted(jupyter: FakeKernel, kernel: Kernel) -> None:
    failure = {"ename": "E", "evalue": "a\nb", "traceback": ["\x1b[31mt\x1b[0m"]}
    jupyter.on_code = lambda channel, request, _: channel.end(request, "error", **failure)
    with pytest.raises(CodeError, match=r"the code raised E: a b; ") as caught:
        kernel.execute("1/0")
    assert (caught.value.ename, caught.value.evalue, caught.value.traceback) == ("E", "a\nb", "t")
    assert isinstance(caught.value.result, ExecuteResult)
    assert caught.value.session_id == "unit"
    assert kernel.execute("1/0", check=False).status == "error"


def test_code_that_was_not_executed_is_no_success(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = lambda channel, request, _: channel.end(request, "aborted")
    with pytest.raises(WorkError, match="did not execute the code"):
        kernel.execute("1")
    assert kernel.execute("1", check=False).status == "aborted"


@pytest.mark.parametrize("asks", [True, False])
def test_an_input_is_refused(jupyter: FakeKernel, kernel: Kernel, *, asks: bool) -> None:
    def on_code(channel: Channel, request: str, _: str) -> None:
        if asks:
            jupyter.on_interrupt = lambda: channel.end(request, "error", ename="KeyboardInterrupt")
            channel.say("input_request", request, prompt="?")
        else:
            channel.end(request, "error", ename="StdinNotImplementedError")

    jupyter.on_code = on_code
    with pytest.raises(CodeError, match="the code asked for an input"):
        kernel.execute("input()")


def test_code_that_no_server_takes_is_refused_before(
    jupyter: FakeKernel, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_MOST_BYTES", 1000)
    with pytest.raises(OptionError, match=r"the code has .* bytes"):
        kernel.execute("x" * 1000)
    assert jupyter.requests == []


@pytest.mark.parametrize("timeout", [0, -1, True, float("nan"), float("inf"), "1"])
def test_a_time_that_is_none_is_refused(kernel: Kernel, timeout: Any) -> None:
    with pytest.raises(OptionError, match="timeout is"):
        kernel.execute("1", timeout=timeout)


def test_code_that_is_no_text_is_refused(kernel: Kernel) -> None:
    with pytest.raises(OptionError, match="code is bytes"):
        kernel.execute(b"1")  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["'\ud800'", "x = 1\n\udfff"])
def test_code_that_no_server_can_hand_on_is_refused(jupyter: FakeKernel, kernel: Kernel, code: str) -> None:
    with pytest.raises(OptionError, match="code has a character at"):
        kernel.execute(code)
    assert jupyter.requests == []


def test_a_listener_that_raises_interrupts_the_code(jupyter: FakeKernel, kernel: Kernel) -> None:
    interrupted = threading.Event()
    jupyter.on_interrupt = interrupted.set
    jupyter.on_code = on_nth(lambda channel, request, _: channel.say("stream", request, text="x"), prints("next"))

    def listen(_: Output) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kernel.execute("1", on_output=listen)
    assert interrupted.is_set()
    assert kernel.execute("1").text == "next"


def test_a_listener_cannot_use_its_kernel(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = prints("x")
    with pytest.raises(WorkError, match="is just being handed over"):
        kernel.execute("1", on_output=lambda _: kernel.execute("2"))


def test_calls_of_many_threads_come_one_after_another(jupyter: FakeKernel, kernel: Kernel) -> None:
    at_once: list[int] = []
    running = [0]

    def on_code(channel: Channel, request: str, code: str) -> None:
        running[0] += 1
        at_once.append(running[0])
        channel.say("stream", request, text=code)
        running[0] -= 1
        channel.end(request)

    jupyter.on_code = on_code
    found: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda code=str(number): found.update({code: kernel.execute(code).text}))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {str(number): str(number) for number in range(12)}
    assert set(at_once) == {1}


# The time limit


def test_at_its_time_the_code_is_interrupted(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, code: str) -> None:
        says_nothing(channel, request, code)
        channel.say("stream", request, text="so far")
        jupyter.on_interrupt = lambda: channel.end(request, "error", ename="KeyboardInterrupt")

    jupyter.on_code = on_nth(on_code, prints("next"))
    with pytest.raises(ExecuteTimeoutError, match=r"within 0\.2 s; it was interrupted") as caught:
        kernel.execute("1", timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.seconds == 0.2
    assert caught.value.result is not None
    assert caught.value.result.text == "so far"
    assert kernel.execute("2").text == "next"


def test_code_that_ignores_the_interrupt_loses_its_process(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = on_nth(says_nothing, prints("next"), says_nothing)
    with pytest.raises(ExecuteTimeoutError, match="the kernel was restarted, and its variables are gone"):
        kernel.execute("1", timeout=0.2)
    assert f"POST /api/kernels/{jupyter.id}/restart" in jupyter.asked
    assert kernel.execute("2").text == "next"
    jupyter.answers[f"POST /api/kernels/{jupyter.id}/restart"] = (500, {})
    with pytest.raises(ExecuteTimeoutError, match="ignored the interrupt, and the kernel could not be restarted"):
        kernel.execute("1", timeout=0.2)


def test_an_interrupt_never_hits_the_code_of_others(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = lambda *_: None
    jupyter.state = "busy"
    with pytest.raises(ExecuteTimeoutError, match="it has not begun"):
        kernel.execute("1", timeout=0.1)
    assert not any(item.endswith(("/interrupt", "/restart")) for item in jupyter.asked)


def slow(_: Output) -> None:
    threading.Event().wait(0.1)


def test_code_that_has_ended_is_not_interrupted_where_its_outputs_are_taken_late(
    jupyter: FakeKernel, kernel: Kernel
) -> None:
    jupyter.on_code = prints(*"abc")
    assert kernel.execute("1", timeout=0.05, on_output=slow).text == "abc"
    assert f"POST /api/kernels/{jupyter.id}/interrupt" not in jupyter.asked


def test_an_idle_kernel_is_not_restarted_where_its_outputs_are_taken_late(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, code: str) -> None:
        says_nothing(channel, request, code)
        jupyter.on_interrupt = functools.partial(on_interrupt, channel, request)

    def on_interrupt(channel: Channel, request: str) -> None:
        jupyter.state = "idle"
        prints(*"abcdefghij")(channel, request, "")

    jupyter.on_code = on_code
    with pytest.raises(ExecuteTimeoutError, match="it was interrupted") as caught:
        kernel.execute("1", timeout=0.1, on_output=slow)
    assert caught.value.result is not None
    assert caught.value.result.text == "abcdefghij"
    assert f"POST /api/kernels/{jupyter.id}/restart" not in jupyter.asked


def test_the_next_code_of_others_does_not_lose_its_process(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, code: str) -> None:
        says_nothing(channel, request, code)
        jupyter.on_interrupt = lambda: prints(*"abcdefghij")(channel, request, "")  # and then theirs begins

    jupyter.on_code = on_code
    with pytest.raises(ExecuteTimeoutError, match="it was interrupted"):
        kernel.execute("1", timeout=0.1, on_output=slow)
    assert f"POST /api/kernels/{jupyter.id}/restart" not in jupyter.asked


def test_in_a_paused_session_the_limit_interrupts_nothing(jupyter: FakeKernel, kernel: Kernel) -> None:
    engine: Any = kernel._server.place.engine
    paused = container(state="paused")
    engine.known = {paused.id: paused}
    jupyter.on_code = says_nothing
    with pytest.raises(ExecuteTimeoutError, match="the session is paused, so nothing was interrupted"):
        kernel.execute("1", timeout=0.1)
    assert f"POST /api/kernels/{jupyter.id}/interrupt" not in jupyter.asked


def test_an_interrupt_that_fails_is_told(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = says_nothing
    jupyter.answers[f"POST /api/kernels/{jupyter.id}/interrupt"] = (500, {"message": "why"})
    with pytest.raises(ExecuteTimeoutError, match=r"could not be interrupted: .* failed \(status 500: why\)"):
        kernel.execute("1", timeout=0.1)


def test_a_cancel_interrupts_the_code(jupyter: FakeKernel, kernel: Kernel) -> None:
    interrupted, event = threading.Event(), threading.Event()
    jupyter.on_interrupt = interrupted.set

    def on_code(channel: Channel, request: str, code: str) -> None:
        says_nothing(channel, request, code)
        event.set()

    jupyter.on_code = on_nth(on_code, prints("next"))
    with pytest.raises(ValueError, match="cancelled"):
        run_act(lambda: kernel.execute("1"), cancel=Cancel(event, lambda _: ValueError("cancelled")))
    assert interrupted.is_set()
    assert kernel.execute("1").text == "next"


def test_a_cancel_does_not_hit_the_code_of_others(jupyter: FakeKernel, kernel: Kernel) -> None:
    event = threading.Event()
    jupyter.state = "busy"
    jupyter.on_code = lambda *_: event.set()
    with pytest.raises(ValueError, match="cancelled"):
        run_act(lambda: kernel.execute("1"), cancel=Cancel(event, lambda _: ValueError("cancelled")))
    assert f"POST /api/kernels/{jupyter.id}/interrupt" not in jupyter.asked


# The death of a kernel


def test_a_kernel_that_died_between_two_calls_is_told_once(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = prints("x")
    kernel.execute("1")
    jupyter.process = "new process"
    jupyter.channels[0].say("status", session="server", execution_state="restarting")
    with pytest.raises(KernelDiedError, match="the kernel died since its last use"):
        kernel.execute("2")
    assert len(jupyter.requests) == 1
    assert kernel.execute("3").text == "x"


def ends_when_asked(channel: Channel, request: str, code: str) -> None:
    """Is silent until it is asked whether it lives."""

    def inform(again: Channel, question: str) -> None:
        FakeKernel.inform(again, question)
        prints("by the new one")(again, request, "")

    says_nothing(channel, request, code)
    channel.kernel.on_info = inform


def starts_anew(channel: Channel) -> None:
    channel.kernel.process = "new process"
    channel.say("status", execution_state="starting")


def test_a_kernel_that_was_restarted_between_two_calls_has_not_died(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = on_nth(prints("x"), ends_when_asked)
    kernel.execute("1")
    starts_anew(jupyter.channels[0])
    assert kernel.execute("2").text == "by the new one"
    assert len(jupyter.channels) == 2


def test_code_that_the_next_process_executes_has_not_died(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, code: str) -> None:
        starts_anew(channel)
        ends_when_asked(channel, request, code)

    jupyter.on_code = on_code
    assert kernel.execute("1").text == "by the new one"


def test_code_that_was_lost_with_its_process_is_not_sent_again(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = lambda channel, *_: starts_anew(channel)
    with pytest.raises(KernelDiedError):
        kernel.execute("1")
    assert len(jupyter.requests) == 1


@pytest.mark.parametrize(
    "dies",
    [
        lambda channel: channel.say("status", session="server", execution_state="restarting"),
        lambda channel: channel.say("status", session="server", execution_state="dead"),
        lambda channel: channel.say("status", session="new process", execution_state="starting"),
        lambda channel: setattr(channel.kernel, "state", ""),
        lambda channel: setattr(channel.kernel, "state", "dead"),
        lambda channel: channel.kernel.__dict__.update(process="new process", state="idle"),
        lambda channel: channel.kernel.__dict__.update(process="new process", state="busy"),
    ],
    ids=["restarting", "dead", "starting", "gone", "dead in the list", "another idles", "another is busy"],
)
def test_a_dead_kernel_is_told(jupyter: FakeKernel, kernel: Kernel, dies: Callable[[Channel], None]) -> None:
    def on_code(channel: Channel, request: str, code: str) -> None:
        channel.say("stream", request, text="so far")
        says_nothing(channel, request, code)
        dies(channel)

    jupyter.on_code = on_code
    with pytest.raises(KernelDiedError, match="the kernel died") as caught:
        kernel.execute("1")
    assert (caught.value.kernel_id, caught.value.for_memory) == (jupyter.id, False)
    assert caught.value.result is not None
    assert caught.value.result.text == "so far"


@pytest.mark.parametrize(
    ("counts", "told"), [(["3", "3"], False), (["3", "4"], True), (["3", "x"], None), (["x", "4"], None)]
)
def test_a_kernel_that_was_killed_for_memory_is_told(counts: list[str], told: bool | None) -> None:  # noqa: FBT001
    jupyter = FakeKernel(lambda channel, *_: channel.say("status", execution_state="restarting"))
    place = {"gateway": None}
    with jupyter.serve() as url, Kernel(place_of(url, **place), name=None, path=None, kernel_id=None) as kernel:
        jupyter.oom_kills = counts
        with pytest.raises(KernelDiedError) as caught:
            kernel.execute("1")
    assert caught.value.for_memory is told


@pytest.mark.parametrize(
    ("gateway", "told"),
    [
        (None, "`Launcher.logs`"),
        (Gateway(name="ours", url="http://g:8888", container_id="c"), "`docker logs ours`"),
        (Gateway(name="http://g:8888", url="http://g:8888"), "that of the gateway http://g:8888"),
    ],
)
@pytest.mark.parametrize("starts", [True, False])
def test_a_dead_kernels_log_is_where_it_ran(gateway: Gateway | None, told: str, *, starts: bool) -> None:
    jupyter = FakeKernel(lambda channel, *_: channel.say("status", execution_state="restarting"))
    if not starts:
        jupyter.on_info = lambda channel, _: channel.say("status", session="server", execution_state="dead")
    with (
        jupyter.serve() as url,
        pytest.raises(KernelDiedError) as caught,
        Kernel(place_of(url, gateway=gateway), name=None, path=None, kernel_id=None) as kernel,
    ):
        kernel.execute("1")
    assert caught.value.hint.endswith(f": {told}")


def test_the_next_process_is_waited_for_whatever_the_server_says_of_the_last(
    jupyter: FakeKernel, kernel: Kernel
) -> None:
    def on_code(channel: Channel, request: str, code: str) -> None:
        says_nothing(channel, request, code)
        jupyter.on_info = starts_late
        channel.say("status", session="server", execution_state="restarting")

    def starts_late(channel: Channel, request: str) -> None:
        asked.append(request)
        if len(asked) == 6:
            jupyter.process = "new process"
            channel.say("status", execution_state="starting")
            FakeKernel.inform(channel, request)

    asked: list[str] = []
    jupyter.on_code = on_nth(on_code, prints("next"))
    with pytest.raises(KernelDiedError):
        kernel.execute("1")
    assert kernel.execute("2").text == "next"
    assert len(asked) == 6


def test_the_kept_kernel_is_started_anew_where_it_is_gone(jupyter: FakeKernel) -> None:
    jupyter.on_code = on_nth(prints("first"), lambda *_: setattr(jupyter, "state", ""), prints("next"))
    with jupyter.serve() as url:
        kept = KeptKernel(lambda: place_of(url))
        assert run(kept) == "first"
        with pytest.raises(KernelDiedError):
            run(kept)

        def start() -> None:
            jupyter.state = "idle"

        assert jupyter.asked.count("POST /api/kernels") == 1
        jupyter.on_start = start
        assert run(kept) == "next"
        assert jupyter.asked.count("POST /api/kernels") == 2
        kept.close()
        kept.close()
        assert jupyter.asked.count(f"DELETE /api/kernels/{jupyter.id}") == 2


def run(kept: KeptKernel) -> str:
    return kept.execute("1", timeout=None, check=True, on_output=None).text


# A connection that is lost


def test_a_lost_connection_goes_on_where_it_was(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, _: str) -> None:
        channel.say("stream", request, text="a")
        jupyter.on_info = lambda again, __: None
        threading.Thread(target=resume, args=(channel, request), daemon=True).start()

    def resume(channel: Channel, request: str) -> None:
        channel.drop()
        while len(jupyter.channels) < 2:
            threading.Event().wait(0.01)
        jupyter.channels[1].say("stream", request, text="b")
        jupyter.channels[1].end(request)

    jupyter.on_code = on_code
    found = kernel.execute("1")
    assert (found.text, found.truncated) == ("ab", False)
    first, second = jupyter.channels
    assert first.session == second.session
    assert (first.seen, second.seen) == ("0", "3")  # the answer to our question has two messages


def test_a_server_that_cannot_tell_whether_all_came_is_not_believed(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, _: str) -> None:
        jupyter.resumes = False
        channel.say("stream", request, text="a")
        channel.drop()
        jupyter.on_info = lambda again, __: again.end(request)

    jupyter.on_code = on_code
    found = kernel.execute("1")
    assert (found.text, found.truncated) == ("a", True)


def test_an_end_that_was_lost_is_told(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, _: str) -> None:
        channel.say("status", request, execution_state="busy")
        channel.drop()

    jupyter.on_code = on_nth(on_code, prints("next"))
    with pytest.raises(WorkError, match="the connection was lost, and with it the end"):
        kernel.execute("1")
    assert kernel.execute("2").text == "next"


def test_code_that_never_arrived_is_sent_again(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = on_nth(lambda channel, *_: channel.drop(), prints("once"))
    assert kernel.execute("1").text == "once"
    assert len(jupyter.requests) == 2


def test_code_that_never_arrives_is_sent_twice_at_most(jupyter: FakeKernel, kernel: Kernel) -> None:
    def on_code(channel: Channel, request: str, _: str) -> None:
        if len(jupyter.requests) > 3:
            channel.end(request)

    jupyter.on_code = on_code
    with pytest.raises(WorkError, match="the server did not hand the code on"):
        kernel.execute("1")
    assert len(jupyter.requests) == 2


def test_an_idle_that_was_lost_is_not_waited_for(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = lambda channel, request, _: channel.say("execute_reply", request, status="ok")
    found = kernel.execute("1")
    assert (found.status, found.truncated) == ("ok", True)


def test_outputs_that_come_late_are_waited_for(jupyter: FakeKernel, kernel: Kernel) -> None:
    """A server with a gateway hands on the reply at once, and 50 MB of outputs when it has read them."""

    def on_code(channel: Channel, request: str, _: str) -> None:
        channel.say("execute_reply", request, status="ok")
        jupyter.on_info = functools.partial(inform_late, request)

    def inform_late(code: str, channel: Channel, request: str) -> None:
        channel.say("kernel_info_reply", request, status="ok")
        channel.say("stream", code, text="late")
        channel.say("status", code, execution_state="idle")
        channel.say("status", request, execution_state="idle")

    jupyter.on_code = on_code
    found = kernel.execute("1")
    assert (found.text, found.truncated) == ("late", False)


def test_a_connection_that_ended_between_two_calls_is_made_anew(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.on_code = prints("x")
    kernel.execute("1")
    jupyter.channels[0].drop()
    assert kernel.execute("2").text == "x"
    assert [len(jupyter.requests), len(jupyter.channels)] == [2, 2]
    assert jupyter.channels[0].session != jupyter.channels[1].session


def test_the_silence_between_two_calls_is_no_loss(jupyter: FakeKernel, kernel: Kernel) -> None:
    jupyter.state = "busy"
    jupyter.on_code = lambda _, request, __: setattr(jupyter, "on_info", lambda again, ___: again.end(request))
    kernel._connected().channels._socket.heard -= 100
    kernel.execute("1")
    assert len(jupyter.channels) == 1


def test_a_server_that_says_nothing_any_more_is_lost(
    jupyter: FakeKernel, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(channels, "_PING_SECONDS", 0.0)  # a ping before each wait
    jupyter.pongs = False
    jupyter.on_code = says_nothing
    jupyter.refuses = 500
    with pytest.raises(ServerTimeoutError, match="the server did not answer"):
        kernel.execute("1")
    assert "3" in jupyter.pings


def test_the_server_learns_what_has_arrived(
    jupyter: FakeKernel, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_ACKNOWLEDGE", 1000)
    jupyter.on_code = prints("x" * 5000, "y", "z" * 5000)
    kernel.execute("1")
    jupyter.on_code = prints("next")
    kernel.execute("2")  # the server has read the ping by then
    assert jupyter.pings[:2] == ["3", "5"]


@pytest.mark.parametrize(
    ("length", "opcode"), [(2**40, 1), (2**63 - 1, 2), (5, 11)], ids=["1 TiB", "8 EiB", "an unknown opcode"]
)
def test_a_frame_of_any_kind_ends_in_an_error_or_is_gone_on_from(
    jupyter: FakeKernel, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, length: int, opcode: int
) -> None:
    monkeypatch.setattr(channels, "_LIMIT", 2**16)

    def on_code(channel: Channel, *_: object) -> None:
        channel.send(b"x" * 2**17, opcode, length=length)

    jupyter.on_code = on_nth(on_code, prints("again"))
    assert kernel.execute("1").text == "again"


# The session ends, pauses, refuses


@pytest.mark.parametrize(
    ("info", "error"),
    [
        (None, SessionNotFoundError),
        (container(state="exited"), ServerNotRunningError),
        (container(state="unreachable"), EngineUnavailableError),
        (container(), ServerTimeoutError),
    ],
)
def test_a_server_that_is_gone_is_told(
    jupyter: FakeKernel, kernel: Kernel, info: Any, error: type[LauncherError]
) -> None:
    def on_code(channel: Channel, *_: object) -> None:
        jupyter.refuses = 503
        kernel._server.place.engine.known = {} if info is None else {info.id: info}  # type: ignore[attr-defined]
        channel.drop()

    jupyter.on_code = on_code
    with pytest.raises(error):
        kernel.execute("1")


def test_a_paused_session_is_waited_for(jupyter: FakeKernel, kernel: Kernel) -> None:
    engine: Any = kernel._server.place.engine

    def on_code(channel: Channel, request: str, code: str) -> None:
        says_nothing(channel, request, code)
        paused = container(state="paused")
        engine.known = {paused.id: paused}
        jupyter.refuses = 503
        channel.drop()
        threading.Timer(1.5, resume, (request,)).start()

    def resume(request: str) -> None:
        jupyter.refuses = None
        jupyter.on_info = lambda channel, __: channel.end(request)

    jupyter.on_code = on_code
    assert kernel.execute("1").status == "ok"
    jupyter.on_info = FakeKernel.inform
    jupyter.on_code = on_code
    with pytest.raises(ExecuteTimeoutError, match="the server does not answer, so nothing was interrupted"):
        kernel.execute("1", timeout=0.2)


@pytest.mark.parametrize(("status", "error"), [(403, ServerError), (404, WorkError), (500, ServerTimeoutError)])
def test_a_refused_connection_is_told_and_the_kernel_ended(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[LauncherError]
) -> None:
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 1.0)
    jupyter = FakeKernel()
    jupyter.refuses = status
    with jupyter.serve() as url, pytest.raises(error) as caught:
        Kernel(place_of(url), name=None, path=None, kernel_id=None).__enter__()
    assert f"DELETE /api/kernels/{jupyter.id}" in jupyter.asked
    assert [text for text in shown(caught.value) if TOKEN in text] == []


@pytest.mark.parametrize("kind", SOME)
def test_a_hostile_server_gives_an_error_in_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "_START_SECONDS", 0.5)
    with hostile_server(KINDS[kind]) as url:
        with pytest.raises((ServerError, WorkError)):
            Kernel(place_of(url), name=None, path=None, kernel_id=None).__enter__()
        with pytest.raises((ServerError, WorkError)):
            list_kernels(place_of(url))


# Which kernel


def test_a_kernel_has_a_known_spec_and_is_ended(jupyter: FakeKernel) -> None:
    with jupyter.serve() as url:
        with Kernel(place_of(url), name="ir", path=None, kernel_id=None) as kernel:
            assert kernel.id == jupyter.id
        assert jupyter.bodies == [{"name": "ir", "path": ""}]
        assert jupyter.asked[-1] == f"DELETE /api/kernels/{jupyter.id}"
        with pytest.raises(WorkError, match="there is no kernel spec 'nope'; those of the server: 'ir', 'python3'"):
            Kernel(place_of(url), name="nope", path=None, kernel_id=None).__enter__()
    with pytest.raises(WorkError, match="is not connected"):
        kernel.execute("1")
    with pytest.raises(WorkError, match="is not connected"):
        _ = kernel.id


def test_a_notebooks_kernel_is_one_of_its_own(jupyter: FakeKernel) -> None:
    """It is started before it becomes the notebook's, so no two callers can be given the same."""
    with jupyter.serve() as url:
        with Kernel(place_of(url), name=None, path="steps/a.ipynb", kernel_id=None):
            pass
        assert jupyter.bodies == [
            {"name": "python3", "path": "steps/a.ipynb"},
            {"path": "steps/a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"id": jupyter.id}},
        ]
        assert jupyter.asked[-1] == "DELETE /api/sessions/s-1"
        jupyter.answers["POST /api/sessions"] = (201, {"id": "s-2", "kernel": {"id": "another"}})
        with Kernel(place_of(url), name=None, path="steps/a.ipynb", kernel_id=None) as kernel:
            assert kernel.id == jupyter.id
        assert jupyter.asked[-1] == f"DELETE /api/kernels/{jupyter.id}"
        jupyter.answers["POST /api/sessions"] = (500, {"message": "no room"})
        with pytest.raises(WorkError, match="no room"):
            Kernel(place_of(url), name=None, path="steps/a.ipynb", kernel_id=None).__enter__()
        assert jupyter.asked[-1] == f"DELETE /api/kernels/{jupyter.id}"


@pytest.mark.parametrize("default", [[], {}, None, "none"])
def test_a_default_kernel_spec_that_is_none_is_left_out(jupyter: FakeKernel, default: object) -> None:
    jupyter.answers["GET /api/kernelspecs"] = (200, {"default": default, "kernelspecs": {"ir": {}}})
    with jupyter.serve() as url, Kernel(place_of(url), name=None, path=None, kernel_id=None):
        assert jupyter.bodies == [{"name": "ir", "path": ""}]


def test_names_of_kernel_specs_reach_no_terminal_as_they_are(jupyter: FakeKernel) -> None:
    specs: dict[str, object] = {"\x1b[2J": {}, "\ud800": {}, "x" * 100_000: {}}
    jupyter.answers["GET /api/kernelspecs"] = (200, {"default": [], "kernelspecs": specs})
    with jupyter.serve() as url, pytest.raises(WorkError, match="there is no kernel spec") as caught:
        Kernel(place_of(url), name="\ud800y" * 100_000, path=None, kernel_id=None).__enter__()
    assert str(caught.value).encode().decode().isprintable()
    assert len(str(caught.value)) < 2000


def test_a_kernel_that_runs_is_not_ended(jupyter: FakeKernel) -> None:
    with jupyter.serve() as url:
        with Kernel(place_of(url), name=None, path=None, kernel_id=jupyter.id) as kernel:
            kernel.execute("1")
        assert not any(item.startswith("DELETE") for item in jupyter.asked)
        with pytest.raises(WorkError, match=f"the session has no kernel x; it has: {jupyter.id}"):
            Kernel(place_of(url), name=None, path=None, kernel_id="x").__enter__()
        assert [item.id for item in list_kernels(place_of(url))] == [jupyter.id]


def test_a_kernel_that_is_busy_is_connected_to_all_the_same(jupyter: FakeKernel) -> None:
    jupyter.state = "busy"
    jupyter.on_info = lambda *_: None
    jupyter.on_code = prints("at last")
    with jupyter.serve() as url, Kernel(place_of(url), name=None, path=None, kernel_id=jupyter.id) as kernel:
        assert kernel.execute("1").text == "at last"


def test_a_kernel_that_does_not_start_is_told_and_ended(jupyter: FakeKernel) -> None:
    jupyter.on_info = lambda channel, _: channel.say("status", session="server", execution_state="dead")
    with jupyter.serve() as url, pytest.raises(KernelDiedError, match="died while it started"):
        Kernel(place_of(url), name=None, path=None, kernel_id=None).__enter__()
    assert jupyter.asked[-1] == f"DELETE /api/kernels/{jupyter.id}"


@pytest.mark.parametrize("closes", [True, False])
def test_a_kernel_that_dies_while_it_is_connected_to_is_told(monkeypatch: pytest.MonkeyPatch, *, closes: bool) -> None:
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 20.0)
    left = threading.Event()

    class Dies(FakeKernel):
        def _upgrade(self, *given: Any) -> None:
            self.state = ""
            if closes:
                super()._upgrade(*given)
            left.wait(10)  # the handshake waits for the kernel

    jupyter = Dies()
    jupyter.on_info = lambda channel, _: channel.drop()
    with jupyter.serve() as url, pytest.raises(KernelDiedError, match="died while it started"):
        Kernel(place_of(url), name=None, path=None, kernel_id=None).__enter__()
    left.set()
    assert jupyter.asked[-1] == f"DELETE /api/kernels/{jupyter.id}"


def test_interrupt_and_restart_reach_the_server(jupyter: FakeKernel, kernel: Kernel) -> None:
    kernel.interrupt()
    kernel.restart()
    asked = [item for item in jupyter.asked if item.startswith("POST")]
    assert asked[-2:] == [f"POST /api/kernels/{jupyter.id}/{word}" for word in ("interrupt", "restart")]


@pytest.mark.parametrize("given", ["../x", "", 5, "a/b"])
def test_what_is_no_id_is_refused(given: object) -> None:
    with pytest.raises(OptionError, match="no kernel id"):
        check_kernel_id(given)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"pip install 'jupyter-launcher\[execute\]'"):
        Kernel(place_of("http://127.0.0.1:1/"), name=None, path=None, kernel_id=None)


# Of the session


class Work(SessionWork):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def _place(self) -> Any:
        return place_of(self.url)


def test_a_request_is_sent_with_the_token_and_comes_back_as_it_is(jupyter: FakeKernel) -> None:
    jupyter.answers["PUT /api/contents/a%20b"] = (418, {"x": 1})
    with jupyter.serve() as url:
        work = Work(url)
        assert work.headers == {"Authorization": f"token {TOKEN}"}
        answer = work.request("put", "api/contents/a b", params={"q": "ä&"}, json={"a": None})
        assert (answer.status, answer.json(), answer.body) == (418, {"x": 1}, b'{"x": 1}')
        assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "G T"}, "method is"),
        ({"path": "/api"}, "path is"),
        ({"path": "a/../../b"}, "path is"),
        ({"path": ""}, "path is"),
        ({"path": "a\ud800"}, "path is"),
        ({"params": {"a": "\ud800"}}, "params is"),
        ({"params": "abc"}, "params is"),
        ({"json": {1, 2}}, "json cannot be written"),
        ({"json": float("nan")}, "json cannot be written"),
        ({"timeout": 0}, "timeout is"),
        ({"timeout": 1e30}, "timeout is"),
        ({"timeout": 10**400}, "timeout is"),
    ],
)
def test_a_request_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Work("http://127.0.0.1:1/").request(**{"method": "GET", "path": "api", **given})


def test_a_request_without_an_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerTimeoutError, match="GET api: the server did not answer"):
        Work("http://127.0.0.1:1/").request("GET", "api")
    monkeypatch.setattr(server_module, "_REQUEST_LIMIT", 1000)
    with hostile_server(KINDS["an endless body"]) as url, pytest.raises(ServerError, match="longer than 1000 bytes"):
        Work(url).request("GET", "api")


def test_an_answer_that_is_no_json_is_told(jupyter: FakeKernel) -> None:
    with hostile_server(KINDS["deep JSON"]) as url:
        answer = Work(url).request("GET", "api")
    assert len(answer.body) == 200_000
    with pytest.raises(ServerError, match="is no JSON"):
        answer.json()


def test_id_goes_with_nothing_else() -> None:
    with pytest.raises(OptionError, match="id names a kernel that runs"):
        Work("http://127.0.0.1:1/").kernel(name="python3", id="x")
    with pytest.raises(OptionError, match="no name of a kernel spec"):
        Work("http://127.0.0.1:1/").kernel(name=["python3"])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"path is '/a\.ipynb'"):
        Work("http://127.0.0.1:1/").kernel(path="/a.ipynb")


def test_nothing_is_asked_before_it_is_needed() -> None:
    work = Work("http://127.0.0.1:1/")
    work.close_kernel()
    work.kernel("python3")
    assert json.dumps(work.headers)


def test_the_memory_of_a_gateway_is_looked_at_where_it_is_ours() -> None:
    from jupyter_launcher.spec.labels import gateway_labels, gateway_name
    from jupyter_launcher.work.server import KernelServer
    from tests.unit.fakes import printed

    ours = container(id="g" * 64, name=gateway_name("unit", "0123456789ab"), labels=gateway_labels("unit", "", ""))
    engine = FakeEngine(ours, answers=[printed("low 0\noom_kill 4\n")])
    gateway = Gateway(name="g", url="http://g:8888", container_id=ours.id)

    def count(**more: Any) -> int | None:
        return KernelServer(place_of("http://127.0.0.1:1/", engine=engine, **more)).oom_kills()

    assert count(gateway=gateway) == 4
    engine._answers = [printed("low 0\noom_kill 4\noom_kill 2\n")]  # with those in containers of their own
    assert count(gateway=gateway) == 6
    engine._answers = [printed("low 0\n", 1)]
    assert count(gateway=gateway) is None
    assert count(gateway=Gateway(name="g", url="http://g:8888")) is None
    engine.known[ours.id] = container(id=ours.id)
    assert count(gateway=gateway) is None
    assert count(gateway=None) is None


@pytest.mark.parametrize("end", ["ended", "removed"])
def test_the_end_of_a_gateway_ends_what_waits_for_its_kernels(end: str) -> None:
    """Its server only tells that it does not reach the gateway, as it does while a gateway is just away."""
    from jupyter_launcher import Gateway
    from jupyter_launcher.spec.labels import gateway_labels, gateway_name
    from tests.unit.fakes import printed

    ours = container(id="f" * 64, name=gateway_name("unit", "0123456789ab"), labels=gateway_labels("unit", "", ""))
    engine = FakeEngine(container(), ours, answers=[printed("", 1)])
    gateway = Gateway(name=ours.name, url="http://g:8888", container_id=ours.id)

    def on_code(channel: Channel, request: str, code: str) -> None:
        fake.answers["GET /api/kernels"] = 503, {"message": "ConnectionError"}
        if end == "ended":
            engine.end(ours.id, 137)
        else:
            del engine.known[ours.id]

    fake = FakeKernel(on_code)
    place = {"gateway": gateway, "engine": engine}
    with fake.serve() as url, Kernel(place_of(url, **place), name=None, path=None, kernel_id=None) as kernel:
        with pytest.raises(KernelDiedError, match=f"its gateway {ours.name} has ended") as caught:
            kernel.execute("1", timeout=60)
        assert "start it again" in caught.value.message

"""The server's process: started, looked at and signalled by exec."""

from __future__ import annotations

import functools
import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import (
    EngineUnavailableError,
    ExecError,
    Gateway,
    PipelineDirError,
    Secret,
    ServerInfo,
    ServerInfoError,
    ServerNotRunningError,
    ServerStartError,
    ServerTimeoutError,
    Volume,
)
from jupyter_launcher.server.failures import describe_failure
from jupyter_launcher.server.process import (
    StartedServer,
    read_server_info,
    renew_lease,
    start_server,
    terminate_server,
    was_server_started,
)
from jupyter_launcher.spec.plan import SessionPlan, plan
from jupyter_launcher.spec.server import RUN_DIR, read_script
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import (
    INFO,
    SERVER_INFO,
    TOKEN,
    Answer,
    FakeEngine,
    container,
    not_run,
    printed,
    refusal,
    session_spec,
)
from tests.unit.strategies import FEW, error_of, json_values, replaced


def planned(**options: Any) -> SessionPlan:
    return plan(session_spec(**options), network="bridge", start_id="start-1")


def start(engine: FakeEngine, seconds: float = 5.0, **options: Any) -> StartedServer:
    return start_server(engine, "c", planned(**options), Deadline(seconds))


def engine_with(*answers: Any, **changes: Any) -> FakeEngine:
    return FakeEngine(container(**changes), answers=answers)


def test_the_server_is_started_by_one_exec() -> None:
    engine = engine_with(printed(INFO, None))
    assert start(engine).info.to_dict()["token"] == SERVER_INFO["token"]
    assert engine.workdirs == ["/"]  # the script itself enters the pipeline directory
    assert engine.stays == [True]
    ((*script, name, run_dir, seconds),) = [argv[:6] for argv in engine.execs]
    assert script == ["sh", "-c", read_script("start.sh")]
    assert (name, run_dir, seconds) == ("start", RUN_DIR, "5")


def test_all_that_was_planned_is_handed_to_the_script() -> None:
    engine = engine_with(printed(INFO, None))
    start(engine, lease=7, pipeline_dir_id="66:1234")
    made = planned(lease=7, pipeline_dir_id="66:1234")
    assert engine.execs[0][6:] == (
        "7",
        "/pipeline-dir",
        "66:1234",
        "writable",
        made.launch_script,
        "tuned",
        made.server_config,
        read_script("watch_lease.sh"),
        *made.command,
    )
    assert made.server_config


def test_what_is_not_wanted_is_empty_for_the_script() -> None:
    engine = engine_with(printed(INFO))
    start(engine, tune=False, pipeline_read_only=True)
    made = planned(tune=False)
    assert engine.execs[0][6:13] == ("0", "/pipeline-dir", "", "", made.launch_script, "", made.server_config)


def test_the_script_gets_at_least_a_second() -> None:
    engine = engine_with(printed(INFO, None))
    start(engine, 0.1)
    assert engine.execs[0][5] == "1"


def test_what_works_but_not_as_asked_comes_as_warnings() -> None:
    server = start(engine_with(printed(INFO, None, "the server is not tuned\n\n second\n")))
    assert server.warnings == ("the server is not tuned", " second")


def test_output_that_was_lost_is_asked_for_again() -> None:
    engine = engine_with(printed(""), printed(""), printed(INFO))
    assert start(engine).info.token == SERVER_INFO["token"]
    assert len(engine.execs) == 3


def test_an_exec_of_which_nobody_knows_whether_it_ran_is_looked_for() -> None:
    engine = engine_with(not_run("its output was lost", started=None, exit_code=0), printed(INFO))
    assert start(engine) == StartedServer(info=start(engine_with(printed(INFO))).info, warnings=())
    assert engine.execs[1] == ("sh", "-c", read_script("read_server_info.sh"), "look", RUN_DIR)
    assert engine.stays == [True, False]


def test_output_that_was_lost_of_a_server_that_is_not_there() -> None:
    engine = engine_with(not_run("its output was lost", started=None), printed("", 44))
    with pytest.raises(ServerTimeoutError, match="its output was lost"):
        start(engine)


def test_half_written_server_info_is_asked_for_again() -> None:
    engine = engine_with(printed(INFO[:50]), printed("", 44), printed(INFO))
    assert read_server_info(engine, "c", Deadline(5)).pid == SERVER_INFO["pid"]
    assert len(engine.execs) == 3


def test_no_server_info_and_no_server() -> None:
    with pytest.raises(ServerNotRunningError, match=r"no server_info of ours .*, and no server's process"):
        read_server_info(engine_with(printed("", 44)), "c", Deadline(0.05))


def test_a_server_without_server_info_of_ours() -> None:
    with pytest.raises(ServerInfoError, match=r"no server_info of ours .*process runs"):
        read_server_info(engine_with(printed("", 45)), "c", Deadline(0.05))


def test_a_server_info_with_another_token_is_not_ours() -> None:
    other = f"{TOKEN}\n{json.dumps({**SERVER_INFO, 'token': 'f' * 64, 'url': TOKEN})}\n"
    with pytest.raises(ServerInfoError, match="no server_info of ours"):
        read_server_info(engine_with(printed(other)), "c", Deadline(0.0))
    with pytest.raises(ServerInfoError, match="our token"):
        start(engine_with(printed(other, None)))


def test_server_info_is_asked_for_twice_at_least() -> None:
    engine = engine_with(printed("", 44), printed(INFO))
    assert read_server_info(engine, "c", Deadline(0.0)).token == SERVER_INFO["token"]


def test_server_info_that_cannot_be_parsed_until_the_deadline() -> None:
    with pytest.raises(ServerInfoError):
        read_server_info(engine_with(printed('{"token": "s3cret"}')), "c", Deadline(0.05))


@pytest.mark.parametrize("state", ["exited", "created", "dead"])
def test_server_info_of_a_container_that_ended(state: str) -> None:
    engine = engine_with(not_run("not running"), state=state, exit_code=3)
    with pytest.raises(ServerNotRunningError, match=f"container c is {state}") as caught:
        read_server_info(engine, "c", Deadline(5))
    assert caught.value.exit_code == 3


def test_server_info_of_a_container_that_is_gone() -> None:
    with pytest.raises(ServerNotRunningError, match="is gone") as caught:
        read_server_info(FakeEngine(answers=[not_run("no such container")]), "c", Deadline(5))
    assert caught.value.exit_code is None


def test_server_info_of_a_container_in_which_nothing_can_be_run() -> None:
    with pytest.raises(ExecError, match="is paused"):
        read_server_info(engine_with(not_run("container is paused"), state="paused"), "c", Deadline(5))


def test_a_look_whose_output_was_lost_is_repeated() -> None:
    engine = engine_with(not_run("lost", started=None), printed(INFO))
    assert read_server_info(engine, "c", Deadline(5)).pid == SERVER_INFO["pid"]


def test_looks_whose_output_is_lost_until_the_deadline() -> None:
    with pytest.raises(ExecError, match="lost"):
        read_server_info(engine_with(not_run("lost", started=None)), "c", Deadline(0.0))


def test_a_start_script_that_fails_says_why() -> None:
    engine = engine_with(printed("", 70, "mkdir: no space left"), state="exited", exit_code=70)
    with pytest.raises(ServerStartError, match="no space left") as caught:
        start(engine)
    assert caught.value.exit_code == 70


def test_a_container_removed_during_the_start() -> None:
    with pytest.raises(ServerStartError, match="removed by somebody else"):
        start(FakeEngine(answers=[not_run("gone")]))


def test_a_stalled_exec_is_a_timeout() -> None:
    with pytest.raises(ServerTimeoutError):
        start(engine_with(not_run("stalled", started=True)), 0.0)


def test_an_image_in_which_nothing_can_be_run() -> None:
    engine = engine_with(not_run("sh: not found", exit_code=127), state="exited", exit_code=127)
    with pytest.raises(ServerStartError, match="sh: not found"):
        start(engine)


def test_server_info_that_makes_no_sense_is_an_error() -> None:
    with pytest.raises(ServerInfoError, match="lacks a usable"):
        start(engine_with(printed(f'{TOKEN}\n{{"token": "{TOKEN}"}}', None)))


def test_a_server_with_another_token_is_an_error_at_once() -> None:
    engine = engine_with(printed("other-token\n", None))
    with pytest.raises(ServerInfoError, match="does not have our token") as caught:
        start(engine)
    assert caught.value.log_tail == "the log"
    assert len(engine.execs) == 1


def locals_of(error: BaseException | None) -> Iterator[str]:
    """What tools show of a traceback with its local variables, along the whole chain."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "/jupyter_launcher/" in frame.f_code.co_filename:
                yield from (f"{frame.f_code.co_name}.{name}={value!r}" for name, value in frame.f_locals.items())
        error = error.__cause__ or error.__context__


UNUSABLE = [
    INFO[:-2],
    INFO[1:],
    f"{TOKEN}\n" + "[" * 100_000 + f'"{TOKEN}"',
    f"{TOKEN}\n{json.dumps([SERVER_INFO])}",
    f"{TOKEN}\n{json.dumps({**SERVER_INFO, 'pid': 'x'})}",
    f"{TOKEN}\n{json.dumps({**SERVER_INFO, 'port': float('nan')})}",
    f"{TOKEN}\n{json.dumps({**SERVER_INFO, 'token': TOKEN[1:] + 'f'})}",
    INFO.replace("94619", "9" * 5000),
]


@pytest.mark.parametrize("text", UNUSABLE)
@pytest.mark.parametrize("call", [start, lambda engine: read_server_info(engine, "c", Deadline(0.0))])
def test_the_token_is_in_no_local_of_a_shown_traceback(text: str, call: Callable[[FakeEngine], object]) -> None:
    with pytest.raises(ServerInfoError) as caught:
        call(engine_with(printed(text, None if call is start else 0)))
    shown = list(locals_of(caught.value))
    assert any(".container=" in line for line in shown), "no frame of ours was seen"
    assert [line for line in shown if TOKEN in line] == []
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@FEW
@given(value=json_values())
def test_whatever_is_printed_is_a_server_info_or_a_typed_error(value: Any) -> None:
    for document in replaced(SERVER_INFO, value):
        text = f"{TOKEN}\n{json.dumps(document)}"
        error = error_of(ServerInfoError, functools.partial(start, engine_with(printed(text, None))))
        assert error is None or TOKEN not in str(error)


@given(text=st.text())
def test_any_text_is_a_server_info_or_a_typed_error(text: str) -> None:
    assert error_of(ServerInfoError, lambda: ServerInfo.from_json(text)) is not None
    assert error_of(ServerInfoError, lambda: ServerInfo.from_output(text)) is not None
    assert error_of(ServerInfoError, lambda: ServerInfo.from_output(f"{TOKEN}\n{text}")) is not None


def test_a_directory_that_was_exchanged_is_an_error_of_the_directory() -> None:
    engine = engine_with(printed("", 71, "the launcher looked at directory 1:2, and directory 3:4 is mounted"))
    with pytest.raises(PipelineDirError, match="directory 3:4 is mounted") as caught:
        start(engine)
    assert caught.value.path == "/pipelines/one"
    assert "start again" in caught.value.hint


@pytest.mark.parametrize(("exit_code", "may_be_read_only"), [(72, False), (73, True)])
def test_a_directory_in_which_the_server_cannot_work_is_an_error_of_the_directory(
    exit_code: int,
    may_be_read_only: bool,  # noqa: FBT001 - pytest's
) -> None:
    with pytest.raises(PipelineDirError, match="/pipelines/one cannot be used: user 7:8 cannot") as caught:
        start(engine_with(printed("", exit_code, "user 7:8 cannot")))
    assert caught.value.path == "/pipelines/one"
    assert "another user=" in caught.value.hint
    assert ("pipeline_read_only=True" in caught.value.hint) == may_be_read_only


def test_an_argument_list_that_is_too_long_is_the_cause() -> None:
    refused = not_run("did not run: exec /usr/bin/sh: argument list too long", exit_code=255)
    with pytest.raises(ServerStartError, match="argument list too long") as caught:
        start(engine_with(refused))
    assert (caught.value.exit_code, caught.value.log_tail) == (255, "the log")
    assert "lab_args" in caught.value.hint


def test_a_server_whose_command_could_not_be_run_says_what_to_look_at() -> None:
    engine = engine_with(printed("\n", None), state="exited", exit_code=126)
    with pytest.raises(ServerStartError, match="exit code 126") as caught:
        start(engine)
    assert "PATH" in caught.value.hint
    assert caught.value.log_tail == "the log"


def test_a_server_that_left_no_server_info() -> None:
    with pytest.raises(ServerTimeoutError, match="it left no server_info"):
        start(engine_with(printed("\n"), printed("", 44)))


def test_whether_a_server_was_started_is_seen_by_its_pid() -> None:
    engine = engine_with(printed("", 44), printed(""))
    assert was_server_started(engine, "c", Deadline(5))
    assert engine.execs[0][2] == read_script("was_started.sh")
    assert engine.execs[0][4:] == (RUN_DIR,)


def test_no_server_was_started_until_the_deadline() -> None:
    assert not was_server_started(engine_with(printed("", 44)), "c", Deadline(0.0))


@pytest.mark.parametrize("started", [False, None])
def test_whether_a_server_was_started_may_be_unknown(started: bool | None) -> None:  # noqa: FBT001 - pytest's
    with pytest.raises(ExecError):
        was_server_started(engine_with(not_run(started=started)), "c", Deadline(0.0))


def test_a_container_that_takes_no_exec_yet_is_asked_again() -> None:
    assert was_server_started(engine_with(not_run(), printed("")), "c", Deadline(5))


def test_the_last_look_decides() -> None:
    deadline = Deadline(60)
    answers: list[Answer] = [not_run(), printed("", 44)]

    def run(*_: object) -> Answer:
        if len(answers) == 1:
            deadline.seconds = 0.0
        return answers.pop(0)

    assert not was_server_started(FakeEngine(container(), run=run), "c", deadline)
    assert answers == []


def test_no_server_was_started_in_a_container_that_ended() -> None:
    assert not was_server_started(engine_with(not_run(), state="exited"), "c", Deadline(5))
    assert not was_server_started(FakeEngine(answers=[not_run()]), "c", Deadline(5))


def test_a_paused_container_is_not_asked_again() -> None:
    engine = engine_with(not_run("is paused"), state="paused")
    with pytest.raises(ExecError, match="is paused"):
        was_server_started(engine, "c", Deadline(5))
    assert len(engine.execs) == 1


def test_a_look_is_capped() -> None:
    engine = engine_with(printed(INFO))
    start(engine)
    read_server_info(engine, "c", Deadline(5))
    assert engine.limits == [2**18, 2**18]


def test_a_lease_is_moved() -> None:
    engine = engine_with(printed(""))
    renew_lease(engine, "c", 60)
    assert engine.execs == [("sh", "-c", read_script("renew_lease.sh"), "renew", RUN_DIR, "60")]


def test_a_lease_that_did_not_move_although_the_session_runs() -> None:
    with pytest.raises(ExecError, match=r"was not renewed: .*No space left") as caught:
        renew_lease(engine_with(printed("", 1, "No space left on device")), "c", 60)
    error = caught.value
    assert (error.started, error.exit_code, error.output) == (True, 1, "No space left on device")
    assert "renew it again soon" in error.hint


def test_a_lease_that_nobody_watches() -> None:
    with pytest.raises(ExecError, match=r"was not renewed: .*nobody watches") as caught:
        renew_lease(engine_with(printed("", 4, "nobody watches the lease")), "c", 60)
    assert "does not end by itself" in caught.value.hint


@pytest.mark.parametrize("known", [(), (container(state="exited", exit_code=0),)])
def test_a_lease_of_a_session_that_ended(known: tuple[Any, ...]) -> None:
    with pytest.raises(ServerNotRunningError):
        renew_lease(FakeEngine(*known, answers=[not_run()]), "c", 60)


def test_a_lease_of_a_session_that_is_ending() -> None:
    with pytest.raises(ServerNotRunningError, match="is ending") as caught:
        renew_lease(engine_with(printed("", 3)), "c", 60)
    assert caught.value.exit_code is None


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize(
    "failure", [not_run(), not_run(started=None), not_run(started=True), not_run(exit_code=3), not_run(exit_code=126)]
)
def test_a_lease_about_which_nobody_knows_anything(failure: ExecError, state: str) -> None:
    with pytest.raises(ExecError, match="was not renewed"):
        renew_lease(engine_with(failure, state=state), "c", 60)


def test_a_lease_while_the_engine_does_not_answer() -> None:
    engine = engine_with(not_run())
    engine.fail("inspect", EngineUnavailableError("gone", hint="look"))
    with pytest.raises(EngineUnavailableError):
        renew_lease(engine, "c", 60)
    engine.fail("exec", EngineUnavailableError("gone", hint="look"))
    with pytest.raises(EngineUnavailableError):
        renew_lease(engine, "c", 60)


def test_sigterm_is_sent_by_a_script() -> None:
    engine = engine_with(printed(""))
    terminate_server(engine, "c", Deadline(5))
    assert engine.execs == [("sh", "-c", read_script("terminate.sh"), "terminate", RUN_DIR)]


def test_sigterm_that_was_not_sent() -> None:
    with pytest.raises(ExecError, match="no such process"):
        terminate_server(engine_with(printed("", 1, "no such process")), "c", Deadline(5))


def test_a_failure_of_a_server_that_lives_is_a_timeout_with_the_log() -> None:
    error = describe_failure(FakeEngine(container(oom_killed=True)), "c", "it gave HTTP 500", Deadline(0.0))
    assert isinstance(error, ServerTimeoutError)
    assert "it gave HTTP 500" in error.message
    assert (error.exit_code, error.oom_killed, error.log_tail) == (None, True, "the log")
    assert error.seconds >= 0


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"oom_killed": True}, "out of memory: raise memory="),
        ({"error": "no such device"}, "no such device"),
        (
            {"exit_code": 127},
            "see that sh and jupyter are on the image's PATH, and that lab_args and the environment are not too long",
        ),
        ({}, "see lab_args and the image"),
    ],
)
def test_a_failure_of_a_server_that_ended_says_how(changes: dict[str, Any], hint: str) -> None:
    ended = {"state": "exited", "exit_code": 137, **changes}
    error = describe_failure(FakeEngine(container(**ended)), "c", "seen", Deadline(5))
    assert isinstance(error, ServerStartError)
    assert (error.exit_code, error.oom_killed, error.hint) == (ended["exit_code"], "oom_killed" in changes, hint)


def test_what_cannot_be_asked_hides_no_failure() -> None:
    engine = FakeEngine(container(state="exited", exit_code=3))
    engine.fail("wait", refusal(500))
    engine.fail("logs", refusal(501, "its logging driver cannot be read"))
    error = describe_failure(engine, "c", "seen", Deadline(5))
    assert isinstance(error, ServerStartError)
    assert (error.exit_code, error.log_tail) == (3, "(no log: its logging driver cannot be read)")


def test_the_containers_end_is_waited_for() -> None:
    engine = FakeEngine(container())
    engine.on_wait = lambda found: engine.end(found, 1)
    assert isinstance(describe_failure(engine, "c", "seen", Deadline(5)), ServerStartError)


@pytest.mark.parametrize("code", [1, 2, 3, 124, 126, 127, 137])
def test_a_look_that_was_killed_or_not_run_is_no_answer(code: int) -> None:
    with pytest.raises(ExecError, match=f"exit code {code}"):
        was_server_started(engine_with(printed("", code)), "c", Deadline(0.0))
    with pytest.raises(ExecError, match=f"exit code {code}"):
        read_server_info(engine_with(printed(INFO, code)), "c", Deadline(0.0))


def test_only_the_look_for_server_info_tells_that_a_server_lives() -> None:
    with pytest.raises(ExecError, match="exit code 45"):
        was_server_started(engine_with(printed("", 45)), "c", Deadline(0.0))


def test_a_container_that_was_killed_during_the_start_is_not_said_to_lack_something() -> None:
    killed = ExecError("the shell was killed", hint="h", started=True, exit_code=137)
    engine = engine_with(killed, state="exited", exit_code=137, oom_killed=True)
    with pytest.raises(ServerStartError, match="ended with exit code 137") as caught:
        start(engine)
    assert caught.value.oom_killed
    assert "raise memory=" in caught.value.hint


def test_a_server_that_could_not_be_prepared_says_what_is_missing() -> None:
    missing = ExecError("mkfifo: not found", hint="h", started=True, exit_code=70)
    with pytest.raises(ServerStartError, match="mkfifo: not found") as caught:
        start(engine_with(missing))
    assert "mkfifo" in caught.value.hint


def test_an_exec_that_the_engine_refuses_is_no_time_out() -> None:
    refused = ExecError("did not run: no such folder", hint="see the engine", started=False)
    with pytest.raises(ServerStartError, match="no such folder") as caught:
        start(engine_with(refused))
    assert caught.value.hint == "see the engine"


def test_what_prints_the_token_is_a_secret() -> None:
    engine = engine_with(printed(INFO))
    start(engine)
    read_server_info(engine, "c", Deadline(5))
    assert engine.secrets == [True, True]
    renew_lease(engine, "c", 60)
    terminate_server(engine, "c", Deadline(5))
    assert engine.secrets[2:] == [False, False]


def test_secrets_enter_by_the_execs_own_environment() -> None:
    engine = FakeEngine(container(), answers=[printed(INFO, None)])
    ours = Gateway(name="gw", url="http://10.0.0.1:8888", token="t0ken")
    given = session_spec(secrets={"db": "s3cret", "key": "more"})
    start_server(engine, "c", plan(given, ours, network="net", start_id="start-1"), Deadline(5))
    (argv,) = engine.execs
    assert argv[:2] == ("sh", "-c")
    assert argv[2] == read_script("take_secrets.sh")
    assert argv[3:6] == ("take", RUN_DIR, "gateway.token secrets/db secrets/key")
    assert argv[6:8] == ("sh", "-c")
    assert argv[8] == read_script("start.sh")
    assert engine.environments == [{"_jl_secret_1": "t0ken", "_jl_secret_2": "s3cret", "_jl_secret_3": "more"}]
    assert not any(secret in text for text in argv for secret in ("t0ken", "s3cret"))


def test_a_token_of_the_callers_enters_as_secrets_do() -> None:
    engine = engine_with(printed(INFO, None))
    start(engine, token=Secret("t0ken" * 8))
    (argv,) = engine.execs
    assert argv[3:6] == ("take", RUN_DIR, "given.token")
    assert engine.environments == [{"_jl_secret_1": "t0ken" * 8}]
    assert not any("t0ken" in text for text in argv)


def test_the_script_is_told_of_a_home() -> None:
    engine = engine_with(printed(INFO, None))
    start(engine, home="/srv/alice", secrets={"db": "s3cret"})
    assert engine.environments == [{"_jl_secret_1": "s3cret", "_jl_home": "/home/jupyter-launcher"}]


def test_a_home_in_which_the_server_cannot_write_is_an_error_of_its_own() -> None:
    with pytest.raises(PipelineDirError, match="home volume:alice cannot be used: user 7:8 cannot") as caught:
        start(engine_with(printed("", 75, "user 7:8 cannot")), home=Volume("alice"))
    assert (caught.value.path, caught.value.hint) == (
        "volume:alice",
        "change its owner or its mode, or give another home=",
    )


def test_without_secrets_the_server_is_started_directly() -> None:
    engine = FakeEngine(container(), answers=[printed(INFO, None)])
    start(engine)
    assert engine.execs[0][2:4] == (read_script("start.sh"), "start")
    assert engine.environments == [{}]


# The image's ENTRYPOINT.

ENTRYPOINT = ("/entry.sh", "--quiet")


def start_entered(engine: FakeEngine, seconds: float = 5.0) -> StartedServer:
    return start_server(engine, "c", planned(), Deadline(seconds), entrypoint=ENTRYPOINT)


def test_after_the_images_entrypoint_the_server_is_started_in_its_environment() -> None:
    engine = engine_with(printed(INFO, None, "entered\n`docker stop` does not\n"))
    server = start_entered(engine)
    without = engine_with(printed(INFO, None))
    start(without)
    _, _, script, name, run_dir, seconds, *rest = without.execs[0]
    assert engine.execs[0] == (
        *("sh", "-c", read_script("await_entrypoint.sh"), "await", run_dir, seconds),
        *(script, *rest),
    )
    assert name == "start"
    assert server.warnings == ("`docker stop` does not",)


KILLED = ExecError("failed with exit code 137: ", hint="h", started=True, exit_code=137)
ENTERED = ExecError("failed with exit code 137: entered", hint="h", started=True, exit_code=137, output="entered")
REFUSED = not_run("the engine refused to exec: the container is not running")


@pytest.mark.parametrize("error", [KILLED, REFUSED])
def test_an_entrypoint_that_ends_is_named(error: ExecError) -> None:
    with pytest.raises(ServerStartError) as caught:
        start_entered(engine_with(error, state="exited", exit_code=3))
    expected = "the image's ENTRYPOINT ['/entry.sh', '--quiet'] ended with exit code 3, without running its command"
    assert caught.value.message == expected
    assert "entrypoint=False" in caught.value.hint
    assert (caught.value.exit_code, caught.value.log_tail) == (3, "the log")


def test_an_entrypoint_that_has_run_its_command_is_not_blamed() -> None:
    with pytest.raises(ServerStartError) as caught:
        start_entered(engine_with(ENTERED, state="exited", exit_code=137))
    assert caught.value.message == (
        "the server in container some-container ended with exit code 137 before it was ready"
    )


def test_an_entrypoint_that_was_killed_for_memory_is_not_blamed() -> None:
    with pytest.raises(ServerStartError, match="the server in container") as caught:
        start_entered(engine_with(KILLED, state="exited", exit_code=137, oom_killed=True))
    assert "raise memory=" in caught.value.hint


@pytest.mark.parametrize("exit_code", [74, None])
def test_an_entrypoint_that_never_runs_its_command_is_named(exit_code: int | None) -> None:
    late = ExecError("no answer", hint="h", started=True, exit_code=exit_code)
    with pytest.raises(ServerTimeoutError, match=r"ENTRYPOINT \['/entry.sh', '--quiet'\] did not run") as caught:
        start_entered(engine_with(late), 0.0)
    assert "entrypoint=False" in caught.value.hint


def test_a_long_entrypoint_is_cut() -> None:
    with pytest.raises(ServerStartError) as caught:
        start_server(
            engine_with(KILLED, state="exited"), "c", planned(), Deadline(5), entrypoint=("sh", "-c", "x" * 10**5)
        )
    assert len(caught.value.message) < 500


def test_what_a_failed_script_says_is_without_the_entrypoints_mark() -> None:
    output = "entered\nthe launcher looked at directory 1:2, and directory 3:4 is mounted"
    error = ExecError("failed", hint="h", started=True, exit_code=71, output=output)
    with pytest.raises(PipelineDirError) as caught:
        start_entered(engine_with(error))
    assert "entered" not in caught.value.message
    missing = ExecError("failed", hint="h", started=True, exit_code=70, output="entered\nmkdir: no space left")
    with pytest.raises(ServerStartError, match=r"could not be prepared: mkdir: no space left;"):
        start_entered(engine_with(missing))


# Why a server did not start.


def test_why_a_server_has_ended_is_told() -> None:
    engine = engine_with(printed("why: no `jupyter` is on the PATH (/bin)\n", None), state="exited", exit_code=127)
    with pytest.raises(ServerStartError, match=r"exit code 127 before it was ready: no `jupyter` is on") as caught:
        start(engine)
    assert "JupyterLab 3 or newer" in caught.value.hint


def test_a_server_that_is_too_old_is_an_error_at_once() -> None:
    engine = engine_with(printed("old-server\n", None))
    with pytest.raises(ServerStartError, match="JupyterLab 2 or Notebook 6") as caught:
        start(engine)
    assert "needs JupyterLab 3 or newer" in caught.value.hint
    assert len(engine.execs) == 1


@pytest.mark.parametrize("error", [REFUSED, not_run("cannot exec in a stopped container", exit_code=126)])
def test_an_image_without_a_shell_is_told(error: ExecError) -> None:
    with pytest.raises(ServerStartError, match="before it was ready: the image has no `sh` on its PATH"):
        start(engine_with(error, state="exited", exit_code=127))


def test_the_engines_words_about_a_command_that_came_too_late_are_not_the_cause() -> None:
    with pytest.raises(ServerStartError) as caught:
        start(engine_with(REFUSED, state="exited", exit_code=1))
    assert caught.value.message == "the server in container some-container ended with exit code 1 before it was ready"

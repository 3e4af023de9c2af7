"""The marks, the cap and the framing of what commands print."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import ReadTimeoutError

from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.engine import streams
from jupyter_launcher.engine.logs import decode_log
from jupyter_launcher.engine.streams import END, MARK, Output
from jupyter_launcher.waiting import Deadline
from tests.unit.sdk import answer_on_a_socket, framed, http_response
from tests.unit.strategies import error_of

LIMIT = 100


def output(*frames: tuple[int, bytes], limit: int = LIMIT) -> Output:
    found = Output()
    for stream, piece in frames:
        found.add(stream, piece, limit)
    return found


def test_the_marked_command_prints_the_mark_and_becomes_the_command() -> None:
    argv = streams.mark(["sh", "-c", 'printf "%s|" "$0" "$@"; exit 3', "name", "a b", "$x"])
    run = subprocess.run(argv, capture_output=True, check=False)
    assert (run.stdout, run.returncode) == (MARK + b"name|a b|$x|", 3)


def test_a_command_that_is_not_there_prints_the_mark_alone() -> None:
    run = subprocess.run(streams.mark(["/no/such/command"]), capture_output=True, check=False)
    assert (run.stdout, run.returncode) == (MARK, 127)


SCRIPT = f'# {"x" * 300}\nprintf "%s|" "$0" "$@"; tr "\\0" "\\n" </proc/self/environ | grep -c _jl_; exit 3\n'
LONG = ["sh", "-c", SCRIPT, "name", "a b", "$x", "'\"" * 200, *map(str, range(9)), "\n" * 300, "", "ä" * 200]


def test_long_words_of_a_command_stand_in_no_event_and_arrive() -> None:
    argv, words = streams.shorten(LONG)
    assert max(map(len, argv)) <= 400
    assert sorted(words.values()) == sorted(word for word in LONG if len(word.encode()) > 256)
    run = subprocess.run(streams.mark(argv, 60), capture_output=True, check=False, env={**os.environ, **words})
    assert run.stdout == MARK + "".join(f"{word}|" for word in LONG[3:]).encode() + b"0\n"
    assert run.returncode == 3


@pytest.mark.parametrize("argv", [[], ["true"], ["sh", "-c", "x" * 256], ["sh", "-c", "x" * 2**17]])
def test_other_commands_are_left_as_they_are(argv: list[str]) -> None:
    assert streams.shorten(argv) == (argv, {})


def marked(argv: list[str], seconds: int, **options: Any) -> tuple[bytes, int]:
    run = subprocess.run(streams.mark(argv, seconds), capture_output=True, check=False, **options)
    return run.stdout, run.returncode


def test_a_command_with_a_limit_is_as_it_would_be_without_one() -> None:
    argv = ["sh", "-c", 'printf "%s|" "$0" "$@"; exit 3', "name", "a b", "$x"]
    assert marked(argv, 60) == (MARK + b"name|a b|$x|", 3)
    assert marked(["/no/such/command"], 60) == (MARK, 127)


def test_a_command_is_killed_with_its_children_when_its_limit_is_over() -> None:
    argv = ["sh", "-c", "trap '' TERM; sh -c 'echo $$; exec sleep 60'"]
    printed, code = marked(argv, 1)  # it ends, so no child holds the pipe any more
    assert printed.startswith(MARK)
    assert code in (-signal.SIGKILL, 128 + signal.SIGKILL)


def test_where_the_image_has_no_timeout_the_command_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    assert marked(["sh", "-c", "echo out"], 1, env={"PATH": str(tmp_path)}) == (MARK + b"out\n", 0)


def test_the_mark_is_no_part_of_the_output() -> None:
    found = output((1, MARK + b"out"), (2, b"err"), (1, MARK))
    assert (bytes(found.stdout), bytes(found.stderr), found.started) == (b"out" + MARK, b"err", True)
    assert found.fault(0, LIMIT) is None
    assert found.fault(3, LIMIT, check=False) is None
    assert found.fault(3, LIMIT) == (f"failed with exit code 3: out{MARK.decode()}\nerr", True, "")


def test_the_mark_may_come_after_something_on_stderr() -> None:
    assert output((2, b"warning"), (1, b""), (1, MARK)).started


@pytest.mark.parametrize("frame", [(2, MARK), (1, b"x" + MARK), (1, b"x")])
def test_what_is_no_mark(frame: tuple[int, bytes]) -> None:
    assert not output(frame).started


def test_the_end_is_seen_wherever_a_frame_ends() -> None:
    found = output((1, MARK + b"out"), (1, END))
    assert (found.ended, bytes(found.stdout)) == (True, b"out")


def test_what_the_runtime_prints_never_ends_the_output() -> None:
    assert not output((1, b"OCI runtime exec failed" + END)).ended


@pytest.mark.parametrize("code", [126, 127, 128, 137])
def test_without_the_mark_it_did_not_run(code: int) -> None:
    fault = output((1, b"OCI runtime exec failed: no such file")).fault(code, LIMIT)
    assert fault == ("did not run: OCI runtime exec failed: no such file", False, "")


def test_without_the_mark_and_with_exit_code_0_nobody_knows() -> None:
    assert Output().fault(0, LIMIT) == ("may have run: its output was lost", None, "")
    assert Output().fault(None, LIMIT) == ("may have run: its output was lost", None, "")


def test_output_that_was_closed_by_a_command_that_continues() -> None:
    assert output((1, MARK + b"out")).fault(None, LIMIT) == ("closed its output and continues", True, "")


def test_the_cap_counts_both_streams() -> None:
    found = output((1, MARK + b"o" * 60), (2, b"e" * 41))
    assert (len(found.stdout), len(found.stderr), found.truncated) == (60, 40, True)
    assert found.fault(None, LIMIT) == ("printed more than 100 bytes", True, "")
    assert not output((1, MARK + b"o" * 60), (2, b"e" * 40)).truncated


def test_the_text_is_cut_to_its_end() -> None:
    text = output((1, MARK + b"o" * 600), (2, b"last words"), limit=10000).text()
    assert text.endswith("last words")
    assert len(text) == 500


def test_frames_are_read_until_the_end() -> None:
    response = http_response(framed((1, MARK + b"a"), (2, b"b"), (1, b"c" + END), (1, b"never read")))
    found = Output()
    streams.read_output(response, found, Deadline(60), LIMIT)
    assert (bytes(found.stdout), bytes(found.stderr), found.ended) == (b"ac", b"b", True)
    assert response.raw.closed


def test_reading_ends_at_the_cap() -> None:
    found = Output()
    streams.read_output(http_response(framed((1, MARK + b"a" * 9), (1, b"never read"))), found, Deadline(60), 5)
    assert (bytes(found.stdout), found.truncated) == (b"aaaaa", True)


def test_the_deadline_is_looked_at_before_each_frame() -> None:
    found = Output()
    response = http_response(framed((1, MARK + b"a"), (1, b"b")))
    with pytest.raises(TimeoutError):
        streams.read_output(response, found, Deadline(0.0), LIMIT)
    assert (bytes(found.stdout), response.raw.closed) == (b"", True)


@pytest.mark.parametrize("sent", [b"", framed((1, MARK + b"a")), framed((1, MARK + b"a"))[:5]])
def test_a_stream_that_says_nothing_more_ends_at_the_deadline(sent: bytes) -> None:
    deadline = Deadline(0.1)
    with answer_on_a_socket(sent) as (response, _), pytest.raises(ReadTimeoutError):
        streams.read_output(response, Output(), deadline, LIMIT)
    assert deadline.expired()


def test_a_stream_that_drips_ends_at_the_deadline() -> None:
    with answer_on_a_socket(framed((1, MARK))) as (response, engine):
        stopped = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not stopped.wait(0.005):
                    engine.sendall(framed((1, b"")))

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises((TimeoutError, ReadTimeoutError)):
                streams.read_output(response, Output(), Deadline(0.1), LIMIT)
        finally:
            stopped.set()
            thread.join()


def test_a_cancel_ends_a_read_that_blocks() -> None:
    event, found, soon = threading.Event(), Output(), Deadline(10)
    with answer_on_a_socket(framed((1, MARK + b"a"))) as (response, _):

        def read() -> None:
            event.set()
            streams.read_output(response, found, Deadline(60), LIMIT)

        with pytest.raises(KeyError):
            run_act(read, cancel=Cancel(event, KeyError))
    assert not soon.expired()


def test_a_cancel_may_meet_a_connection_that_has_ended() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    streams._shut_down(ours)


def test_a_refusal_is_closed_and_an_error() -> None:
    response, closed = http_response(b"no", 500), threading.Event()
    response.close = closed.set  # type: ignore[method-assign]
    with pytest.raises(APIError), streams.open_stream(response):
        pytest.fail("it was opened")
    assert closed.is_set()


def test_an_answer_without_a_socket_has_no_time_out_of_its_own() -> None:
    streams.limit_read(http_response(), Deadline(60))
    with pytest.raises(TimeoutError):
        streams.limit_read(http_response(), Deadline(0.0))


def test_a_head_that_is_cut_off_ends_the_frames() -> None:
    assert list(streams.read_frames(http_response(framed((1, b"a")) + b"\1\0\0"))) == [(1, b"a")]


def test_a_character_that_two_frames_share_is_put_together() -> None:
    text = "é".encode()
    assert "".join(decode_log([(1, text[:1]), (1, text[1:]), (2, b"\xff")])) == "é\N{REPLACEMENT CHARACTER}"


def test_a_character_that_is_cut_off_at_the_end_is_shown_as_one() -> None:
    assert list(decode_log([(1, b"a\xc3")])) == ["a", "\N{REPLACEMENT CHARACTER}"]


def test_of_a_secret_only_stderr_is_told() -> None:
    found = output((1, MARK + b"s3cret"), (2, b"told"))
    assert (found.text(secret=True), found.text()) == ("told", "s3cret\ntold")
    runtime = output((1, b"OCI runtime exec failed"))
    assert runtime.fault(126, LIMIT, secret=True) == ("did not run: OCI runtime exec failed", False, "")
    assert found.fault(3, LIMIT, secret=True) == ("failed with exit code 3: told", True, "")


def test_an_answer_is_no_error() -> None:
    streams.raise_for_status(http_response(status=204))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"message": "no such container"}', "no such container"),
        (b"<html>Forbidden</html>", "<html>Forbidden</html>"),
        (b"[1]", "[1]"),
        (b'{"other": 1}', '{"other": 1}'),
        (b"x" * 600, "x" * 500),
    ],
)
def test_an_error_says_what_the_engine_or_a_proxy_said(body: bytes, told: str) -> None:
    with pytest.raises(APIError) as caught:
        streams.raise_for_status(http_response(body, 403))
    assert (caught.value.explanation, caught.value.status_code) == (told, 403)


FRAMES = st.lists(
    st.tuples(st.integers(0, 255) | st.sampled_from([1, 2]), st.binary(max_size=30) | st.sampled_from([MARK, END, b""]))
)


@given(FRAMES, st.integers(0, 60), st.none() | st.integers(0, 255))
def test_any_frames_give_an_output_within_the_cap_and_a_verdict(
    frames: list[tuple[int, bytes]], limit: int, code: int | None
) -> None:
    found = Output()
    for stream, piece in frames:
        found.add(stream, piece, limit)
        assert len(found.stdout) + len(found.stderr) <= limit
        if found.ended or found.truncated:
            break
    assert not found.ended or found.started
    assert len(found.text()) <= 500
    fault = found.fault(code, limit)
    if fault is None:
        assert found.started
        assert not found.truncated
    else:
        assert fault[1] is not True or found.started


@given(FRAMES)
def test_frames_are_read_as_they_were_written(frames: list[tuple[int, bytes]]) -> None:
    assert list(streams.read_frames(http_response(framed(*frames)))) == frames


@given(st.binary())
def test_any_bytes_are_frames_until_they_end(body: bytes) -> None:
    assert "".join(decode_log(streams.read_frames(http_response(body)))) is not None


@given(st.binary() | FRAMES.map(lambda frames: framed(*frames)), st.integers(0, 60), st.integers(1, 5))
def test_any_bytes_are_an_output_or_an_error_of_the_transport(body: bytes, limit: int, breaks_at: int) -> None:
    found = Output()
    response = http_response()
    response.raw = Breaking(body, breaks_at)
    error = error_of(OSError, lambda: streams.read_output(response, found, Deadline(60), limit))
    assert error is None or not (found.ended or found.truncated)
    assert len(found.stdout) + len(found.stderr) <= limit
    assert response.raw.closed


class Breaking(io.BytesIO):
    """A body whose transport breaks at one of its reads."""

    def __init__(self, body: bytes, breaks_at: int) -> None:
        super().__init__(body)
        self._left = breaks_at

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ConnectionResetError
        return super().read(size)

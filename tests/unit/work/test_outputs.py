"""What messages add up to."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given

from jupyter_launcher.work import outputs as outputs_module
from jupyter_launcher.work.messages import Message, build_request, parse_message
from jupyter_launcher.work.outputs import Displays, Outputs
from tests.unit.strategies import json_values

KERNEL = "k"
OK = {"status": "ok", "execution_count": 3}
CUT = "IOPub data rate exceeded.\nThe Jupyter server will temporarily stop sending output\n"


def message(kind: str, session: str = KERNEL, **content: Any) -> Message:
    return Message(kind, "p", session, content)


def stream(text: object, name: str = "stdout", session: str = KERNEL) -> Message:
    return message("stream", session, name=name, text=text)


def display(plain: str, display_id: str | None = None, kind: str = "display_data") -> Message:
    return message(kind, data={"text/plain": plain}, metadata={}, transient={"display_id": display_id})


def collect(*messages: Message, displays: Displays | None = None) -> Outputs:
    found = Outputs(displays=displays)
    for item in messages:
        found.add(item, KERNEL)
    return found


def texts(*messages: Message) -> str:
    return collect(*messages).result(OK).text


def test_a_stream_is_one_output_until_another_comes() -> None:
    found = collect(stream("a"), stream("b\n"), stream("e", "stderr"), stream("c")).result(OK)
    assert [(item["name"], item["text"]) for item in found.outputs] == [
        ("stdout", "ab\n"),
        ("stderr", "e"),
        ("stdout", "c"),
    ]
    assert (found.text, found.status, found.execution_count, found.error) == ("ab\nc", "ok", 3, None)


def test_the_text_of_a_display_has_lines_of_its_own() -> None:
    result = message("execute_result", data={"text/plain": "4"}, metadata={}, execution_count=3)
    assert texts(result) == "4"
    assert texts(stream("x\n"), display("3"), result) == "x\n3\n4"
    assert texts(stream("x"), display("3"), stream("y\n"), stream("e", "stderr")) == "x\n3\ny\n"
    assert texts(message("display_data", data={"image/png": "x"}, metadata={}), result) == "4"


def test_outputs_have_the_shape_of_nbformat() -> None:
    import nbformat

    error = message("error", ename="E", evalue="v", traceback=["\x1b[31mE\x1b[0m"])
    result = message("execute_result", data={"text/plain": "4"}, metadata={}, execution_count=3)
    found = collect(stream("x"), display("3"), result, error).result(OK)
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.from_dict(dict(item)) for item in found.outputs])
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))


def test_what_is_cleared_is_gone_at_once_or_with_the_next_output() -> None:
    assert texts(stream("a"), message("clear_output", wait=False), stream("b")) == "b"
    waiting = collect(stream("a"), message("clear_output", wait=True))
    assert waiting.result(OK).text == "a"
    waiting.add(display("b"), KERNEL)
    assert waiting.result(OK).text == "b"


def test_a_display_is_updated_where_it_stands_in_another_cell_too() -> None:
    displays: Displays = {}
    first = collect(display("1", "d"), stream("x"), display("1", "d"), displays=displays)
    second = collect(display("2", "d", "update_display_data"), displays=displays)
    assert [item["data"]["text/plain"] for item in first.result(OK).outputs if "data" in item] == ["2", "2"]
    assert second.result(OK).outputs == ()
    assert collect(display("2", "d", "update_display_data")).result(OK).outputs == ()


def test_an_error_is_told_without_colours_and_from_the_output_where_the_reply_has_no_traceback() -> None:
    error = message("error", ename="E", evalue="v", traceback=["\x1b[0;31mline\x1b[0m", "\x1b]8;;x\x07end"])
    failure = collect(error).result({"status": "error", "ename": "E", "evalue": "v"}).error
    assert failure is not None
    assert (failure.ename, failure.evalue, failure.traceback) == ("E", "v", "line\nend")
    failure = collect().result({"status": "error", "ename": "E", "evalue": "v", "traceback": ["a"]}).error
    assert failure is not None
    assert failure.traceback == "a"
    assert collect().result({"status": "aborted"}).status == "aborted"
    assert collect().result({"status": "abort"}).status == "aborted"
    assert (collect().result({}).status, collect().result({}).error) == ("error", None)
    assert collect().result({"status": "strange"}).error is not None


def test_only_a_server_cuts_outputs() -> None:
    assert collect(stream(CUT, "stderr", session="server")).result(OK).truncated
    assert not collect(stream(CUT, "stderr")).result(OK).truncated
    assert not collect(stream("other", "stderr", session="server")).result(OK).truncated


def test_outputs_of_any_size_come_to_the_listener_and_up_to_a_limit_to_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs_module, "_MOST_BYTES", 10)
    heard: list[Any] = []
    found = Outputs(heard.append)
    for text in ("12345", "67890", "x", "y"):
        found.add(stream(text), KERNEL)
    assert "".join(item["text"] for item in heard) == "1234567890xy"
    assert (found.result(OK).text, found.result(OK).truncated) == ("1234567890", True)


def frame(size: int, display_id: str | None = None, kind: str = "display_data", data: Any = None) -> Message:
    content = {"data": data or {"image/png": "x"}, "metadata": {}, "transient": {"display_id": display_id}}
    return Message(kind, "p", KERNEL, content, size)


def test_what_was_cleared_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs_module, "_MOST_BYTES", 10)
    displays: Displays = {}
    found = Outputs(displays=displays)
    for number in range(5):
        found.add(message("clear_output", wait=number % 2 == 0), KERNEL)
        found.add(frame(8, f"d{number}"), KERNEL)
    assert (len(found.result(OK).outputs), found.result(OK).truncated) == (1, False)
    assert [name for name, items in displays.items() if items] == ["d4"], "what is gone is kept nowhere"


def test_what_counts_of_a_display_is_its_message_whatever_shape_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    header = {"msg_id": "m", "msg_type": "display_data", "session": KERNEL}
    content = {"data": {"application/json": [["x"] * 50]}}
    text = json.dumps({"header": header, "parent_header": {"msg_id": "p"}, "content": content}).encode()
    large = parse_message(text)
    assert large is not None
    monkeypatch.setattr(outputs_module, "_MOST_BYTES", 2 * len(text))
    found = collect(large, large, large).result(OK)
    assert (len(found.outputs), found.truncated) == (2, True)


def test_an_update_counts_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs_module, "_MOST_BYTES", 10)
    displays: Displays = {}
    first = collect(frame(1, "a"), frame(1, "b"), displays=displays)
    second, new = Outputs(displays=displays), {"text/plain": "new"}
    for _ in range(5):  # each takes the place of the one before
        second.add(frame(8, "a", "update_display_data", new), KERNEL)
    assert not second.result(OK).truncated
    second.add(frame(8, "b", "update_display_data", new), KERNEL)
    assert second.result(OK).truncated
    assert [item["data"] for item in first.result(OK).outputs] == [new, {"image/png": "x"}]


@given(json_values())
def test_whatever_a_kernel_sends_is_a_message_or_none(value: object) -> None:
    header = {"msg_id": "m", "msg_type": "stream", "session": "s"}
    for kind in ("stream", "display_data", "execute_result", "error", "clear_output", "update_display_data", "x"):
        for content in ({"text": value, "data": value, "traceback": value, "transient": value, "wait": value}, value):
            document = {"header": {**header, "msg_type": kind}, "parent_header": {}, "content": content}
            found = parse_message(json.dumps(document).encode())
            if found is not None:
                assert isinstance(collect(found).result(OK).text, str)
    assert parse_message(json.dumps({"header": value, "parent_header": value, "content": {}}).encode()) is None
    assert parse_message(json.dumps(value).encode()) is None


@pytest.mark.parametrize("data", [b"", b"{", b"\0", b"\0\0\0\1", b"\0\0\0\2\xff\xff\xff\xff\0\0\0\0", b"[" * 99_999])
def test_what_is_no_message_is_none(data: bytes) -> None:
    assert parse_message(data) is None


@pytest.mark.parametrize("buffers", [[], [b"x", b"yy"]])
def test_a_binary_message_is_read_without_its_buffers(buffers: list[bytes]) -> None:
    header = {"msg_id": "m", "msg_type": "display_data", "session": "s"}
    text = json.dumps({"header": header, "parent_header": {"msg_id": "p"}, "content": {"a": 1}}).encode()
    parts = [text, *buffers]
    begin = 4 * (len(parts) + 1)
    offsets = [begin + sum(map(len, parts[:index])) for index in range(len(parts))]
    data = struct.pack(f"!{len(parts) + 1}I", len(parts), *offsets) + b"".join(parts)
    assert parse_message(data) == Message("display_data", "p", "s", {"a": 1})


def test_a_request_has_what_kernels_read() -> None:
    request, text = build_request("execute_request", {"code": "é"}, "s", "control")
    found = json.loads(text)
    assert found["header"]["msg_id"] == request
    assert (found["header"]["session"], found["channel"], found["content"]) == ("s", "control", {"code": "é"})
    assert build_request("x", {}, "s")[0] != request

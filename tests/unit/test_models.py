"""The values that callers give and get."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from jupyter_launcher import (
    BuildOptions,
    OptionError,
    Phase,
    Secret,
    ServerInfo,
    ServerInfoError,
    SessionState,
    Timeouts,
    Timings,
    models,
)
from jupyter_launcher.models.options import is_text, show_value
from tests.unit.fakes import SERVER_INFO, TOKEN
from tests.unit.strategies import FEW, error_of, json_values, replaced

VALUES = [getattr(models, name) for name in models.__all__]


@pytest.mark.parametrize("kind", [kind for kind in VALUES if not issubclass(kind, Enum)])
def test_values_are_frozen_and_have_no_dict(kind: Any) -> None:
    assert dataclasses.is_dataclass(kind)
    assert vars(kind)["__dataclass_params__"].frozen
    assert "__slots__" in vars(kind)


def test_server_info_has_the_nine_fields() -> None:
    info = ServerInfo.from_json(json.dumps(SERVER_INFO))
    assert info.to_dict() == {
        "base_url": "/",
        "hostname": "localhost",
        "notebook_dir": "/pipeline-dir",
        "password": False,
        "pid": 94619,
        "port": 8888,
        "secure": False,
        "token": "0123456789abcdef" * 4,
        "url": "http://localhost:8888/",
    }


def test_server_info_of_an_older_server() -> None:
    raw = dict(SERVER_INFO)
    raw["notebook_dir"] = raw.pop("root_dir")
    assert ServerInfo.from_json(json.dumps(raw)).notebook_dir == "/pipeline-dir"


def test_the_token_is_in_no_repr() -> None:
    assert "0123456789abcdef" not in repr(ServerInfo.from_json(json.dumps(SERVER_INFO)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        json.dumps(SERVER_INFO)[:-20],
        "[]",
        "null",
        "[" * 100_000,
        json.dumps({**SERVER_INFO, "token": None}),
        json.dumps({**SERVER_INFO, "token": ""}),
        json.dumps({**SERVER_INFO, "token": f"{TOKEN}\n"}),
        json.dumps({**SERVER_INFO, "token": TOKEN[:31]}),
        json.dumps({**SERVER_INFO, "token": TOKEN * 3}),
        json.dumps({**SERVER_INFO, "token": f"{TOKEN[:40]}<script>alert(1)</s>"}),
        json.dumps({**SERVER_INFO, "port": "8888"}),
        json.dumps({**SERVER_INFO, "pid": True}),
        json.dumps({name: value for name, value in SERVER_INFO.items() if name != "url"}),
    ],
)
def test_server_info_that_is_none(text: str) -> None:
    with pytest.raises(ServerInfoError) as caught:
        ServerInfo.from_json(text)
    assert "0123456789abcdef" not in repr(caught.value)
    assert caught.value.__cause__ is None


OTHER = json.dumps({**SERVER_INFO, "token": "f" * 64, "url": f'"{TOKEN}"'})


@pytest.mark.parametrize("before", ["", f"{OTHER}\n{TOKEN}\n", f'{{"{TOKEN}"\n{TOKEN}\n'])
def test_our_server_info_is_the_one_whose_field_has_our_token(before: str) -> None:
    text = json.dumps(SERVER_INFO, indent=2)
    assert ServerInfo.from_output(f"{TOKEN}\n{before}{text}\n").url == SERVER_INFO["url"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "begins with no token"),
        (json.dumps(SERVER_INFO), "begins with no token"),
        (f"token\n{json.dumps({**SERVER_INFO, 'token': 'token'})}", "begins with no token"),
        (f"{TOKEN}\n", "is not JSON"),
        (f"{TOKEN}\n{OTHER}\n", "no server_info has our token"),
        (f"{TOKEN}\n{json.dumps({**SERVER_INFO, 'token': TOKEN * 3})}\n", "32 to 128 URL-safe"),
    ],
)
def test_what_was_printed_has_no_server_info_of_ours(text: str, seen: str) -> None:
    with pytest.raises(ServerInfoError, match=seen) as caught:
        ServerInfo.from_output(text)
    assert TOKEN not in repr(caught.value) + str(caught.value)


@FEW
@given(json_values())
def test_whatever_a_server_writes_is_parsed_or_a_typed_error_without_the_token(value: Any) -> None:
    for raw in replaced(SERVER_INFO, value):
        text = json.dumps(raw)
        error = error_of(ServerInfoError, lambda text=text: ServerInfo.from_json(text))  # type: ignore[misc]
        if error is not None:
            assert TOKEN not in str(error) + repr(error)
            assert error.__cause__ is None
            continue
        info = ServerInfo.from_json(text)
        kinds = {"password": bool, "pid": int, "port": int, "secure": bool}
        assert all(type(item) is kinds.get(name, str) for name, item in info.to_dict().items())


@given(json_values())
def test_any_text_is_parsed_or_a_typed_error(value: Any) -> None:
    for text in (str(value), json.dumps(value)):
        error = error_of(ServerInfoError, lambda text=text: ServerInfo.from_json(text))  # type: ignore[misc]
        assert error is not None  # nothing so small is a server's


def test_build_options_hide_what_may_hold_credentials() -> None:
    options = BuildOptions(
        index_url="https://me:secret@index", https_proxy="http://me:secret@proxy", ca_certificates=(Path("a"),)
    )
    assert "secret" not in repr(options)
    assert options.to_build_args() == {
        "PIP_INDEX_URL": "https://me:secret@index",
        "HTTPS_PROXY": "http://me:secret@proxy",
    }


def test_builds_go_by_hashes_unless_told_otherwise() -> None:
    assert BuildOptions(require_hashes=True).to_build_args() == {}
    assert BuildOptions(require_hashes=False).to_build_args() == {"REQUIRE_HASHES": "0"}


@pytest.mark.parametrize("value", [0, None, "no", []])
def test_hashes_are_required_or_not(value: Any) -> None:
    with pytest.raises(OptionError, match="require_hashes is ") as caught:
        BuildOptions(require_hashes=value)
    assert caught.value.option == "require_hashes"


def test_requirements_are_a_path_or_lines() -> None:
    assert BuildOptions().requirements is None
    assert [BuildOptions(requirements=given).requirements for given in ("r.txt", Path("r.txt"))] == [Path("r.txt")] * 2
    assert BuildOptions(requirements=["pandas", "polars>=1"]).requirements == ("pandas", "polars>=1")


@pytest.mark.parametrize("value", ["", [], [""], ["pandas", 7], 7, b"x", "a\0b", [None]])
def test_requirements_that_are_none(value: Any) -> None:
    with pytest.raises(OptionError, match="requirements is") as caught:
        BuildOptions(requirements=value)
    assert caught.value.option == "requirements"


def test_a_secret_is_in_no_repr() -> None:
    assert repr(Secret(TOKEN)) == "Secret()"
    assert Secret(TOKEN) == Secret(TOKEN) != Secret("")
    with pytest.raises(OptionError, match="a Secret is a value of type bytes"):
        Secret(TOKEN.encode())  # type: ignore[arg-type] # what a caller may give


def test_certificates_are_paths() -> None:
    given: Any = ["a", Path("b")]
    assert BuildOptions(ca_certificates=given).ca_certificates == (Path("a"), Path("b"))


@pytest.mark.parametrize("value", ["a.crt", b"a.crt", Path("a.crt"), 5, None, [5], ["a\0"], ["\udcff"], [b"a"]])
def test_certificates_that_are_no_paths(value: Any) -> None:
    with pytest.raises(OptionError, match="ca_certificates is ") as caught:
        BuildOptions(ca_certificates=value)
    assert caught.value.option == "ca_certificates"


@pytest.mark.parametrize("name", ["base_image", "index_url", "http_proxy", "https_proxy", "no_proxy"])
@pytest.mark.parametrize("value", [5, True, b"s3cret", ["s3cret"], "s3cret\0", "s3cret\udcff"])
def test_build_options_that_are_no_texts(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} is no text") as caught:
        BuildOptions(**{name: value})
    assert caught.value.option == name
    assert "s3cret" not in str(caught.value)


def test_a_proxy_may_be_none_at_all() -> None:
    assert BuildOptions(http_proxy="").to_build_args() == {"HTTP_PROXY": ""}


class Hidden:
    def __repr__(self) -> str:
        raise RuntimeError


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "'a'"),
        ("x" * 300, f"'{'x' * 199}..."),
        (10**5000, "a value of type int"),
        (deep(), "a value of type list"),
        (Hidden(), "a value of type Hidden"),
    ],
    ids=["text", "long", "large", "deep", "hidden"],
)
def test_values_in_messages(value: object, shown: str) -> None:
    assert show_value(value) == shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", True), ("", True), ("\u00e9\n", True), ("\0", False), ("\udcff", False), (b"a", False)],
)
def test_texts(value: object, expected: bool) -> None:  # noqa: FBT001 - pytest's
    assert is_text(value) == expected


@pytest.mark.parametrize("name", ["engine", "image", "start", "gateway", "shutdown", "terminate"])
@pytest.mark.parametrize(
    "value",
    [0, -1, float("nan"), float("inf"), 10**400, pytest.param(10**5000, id="huge"), 1e10, "10", "\ud800", True, None],
)
def test_timeouts_that_cannot_be(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"timeouts.{name}") as caught:
        Timeouts(**{name: value})
    assert caught.value.option == "timeouts"


def test_timeouts_may_be_whole_numbers() -> None:
    assert Timeouts(start=1).start == 1


def test_timings_are_those_of_the_phases() -> None:
    timings = Timings.from_phases({Phase.SERVER: 1.5, Phase.READY: 0.5, Phase.STOP: 9.0})
    assert timings == Timings(server=1.5, ready=0.5)
    assert timings.total == 2.0


def test_states_are_what_the_command_prints() -> None:
    assert [state.value for state in SessionState] == [
        "created",
        "starting",
        "ready",
        "unresponsive",
        "unprobed",
        "paused",
        "exited",
        "unreachable",
        "gone",
        "unreadable",
    ]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("running", None),
        ("restarting", None),
        ("paused", SessionState.PAUSED),
        ("created", SessionState.CREATED),
        ("exited", SessionState.EXITED),
        ("dead", SessionState.EXITED),
        ("removing", SessionState.EXITED),
        ("a word of tomorrow", None),
        ("", None),
        ("unknown", None),
        ("stopping", None),
    ],
)
def test_the_state_of_a_session_by_the_engines_word_for_its_container(word: str, state: SessionState | None) -> None:
    assert SessionState.of_container(word) is state

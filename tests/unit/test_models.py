from __future__ import annotations

import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import BuildOptions, LauncherError, ServerInfo, ServerInfoError, errors

SERVER_INFO: dict[str, Any] = {
    "base_url": "/",
    "hostname": "localhost",
    "password": False,
    "pid": 94619,
    "port": 8888,
    "root_dir": "/pipeline-dir",
    "secure": False,
    "sock": "",
    "token": "0123456789abcdef",
    "url": "http://localhost:8888/",
    "version": "2.21.1",
}


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
        "token": "0123456789abcdef",
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
        json.dumps({**SERVER_INFO, "token": None}),
        json.dumps({**SERVER_INFO, "port": "8888"}),
        json.dumps({name: value for name, value in SERVER_INFO.items() if name != "url"}),
    ],
)
def test_server_info_that_is_none(text: str) -> None:
    with pytest.raises(ServerInfoError) as caught:
        ServerInfo.from_json(text)
    assert "0123456789abcdef" not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", [getattr(errors, name) for name in errors.__all__])
def test_every_error_is_of_the_one_root_and_survives_pickle(kind: type[LauncherError]) -> None:
    assert issubclass(kind, LauncherError)
    fields = [name for name in inspect.signature(kind).parameters if name != "message"]
    error = kind("what, what was seen, what next", **dict.fromkeys(fields, "value"))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy)) == (kind, "what, what was seen, what next")
    assert [getattr(copy, name) for name in fields] == ["value"] * len(fields)


def test_the_hierarchy_is_drawn_as_it_is() -> None:
    assert errors.__doc__ is not None
    for name in errors.__all__:
        assert f" {name}" in errors.__doc__


def test_build_options_hide_what_may_hold_credentials() -> None:
    options = BuildOptions(
        index_url="https://me:secret@index", https_proxy="http://me:secret@proxy", ca_certificates=(Path("a"),)
    )
    assert "secret" not in repr(options)
    assert options.to_build_args() == {
        "PIP_INDEX_URL": "https://me:secret@index",
        "HTTPS_PROXY": "http://me:secret@proxy",
    }

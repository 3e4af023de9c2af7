"""The one other origin that may embed a session."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import OptionError
from jupyter_launcher.spec.embedding import check_origin, embedding_arguments, needs_third_party_cookies
from tests.unit.fakes import session_spec
from tests.unit.strategies import error_of


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        (None, None),
        ("https://ide.example", "https://ide.example"),
        ("HTTPS://Ide.Example:8443", "https://ide.example:8443"),
        ("https://ide.example:443", "https://ide.example"),
        ("http://ide.example:80", "http://ide.example"),
        ("http://ide.example:443", "http://ide.example:443"),
        ("http://127.0.0.1:03000", "http://127.0.0.1:3000"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://xn--id-cja.example", "https://xn--id-cja.example"),
    ],
)
def test_origins_are_spelled_as_browsers_do(given: str | None, origin: str | None) -> None:
    made = session_spec(allow_origin=given)
    assert (made.allow_origin, made.to_options().get("allow_origin")) == (origin, origin)


@pytest.mark.parametrize(
    ("origin", "needed"),
    [
        ("https://ide.example", True),
        ("http://localhost:3000", True),
        ("http://a.localhost", True),
        ("http://127.0.0.2:3000", True),
        ("http://ide.example", False),
        ("http://10.0.0.1", False),
    ],
)
def test_where_cookies_in_a_frame_of_another_site_are_possible(origin: str, needed: bool) -> None:  # noqa: FBT001 - pytest's
    assert needs_third_party_cookies(origin) == needed


def arguments(origin: str, base_url: str) -> dict[str, Any]:
    pairs = (argument.removeprefix("--").partition("=")[::2] for argument in embedding_arguments(origin, base_url))
    return {name: ast.literal_eval(value) if value.startswith("{") else value for name, value in pairs}


def test_the_arguments_allow_one_origin_and_switch_nothing_off() -> None:
    cookies = {"samesite": "None", "secure": True, "partitioned": True}
    assert arguments("https://ide.example", "/x/") == {
        "ServerApp.allow_origin": "https://ide.example",
        "ServerApp.tornado_settings": {
            "headers": {"Content-Security-Policy": "frame-ancestors 'self' https://ide.example"},
            "xsrf_cookie_kwargs": {"path": "/x/", **cookies},
        },
        "IdentityProvider.cookie_options": cookies,
    }


@given(st.text() | st.from_regex(r"https?://[a-z0-9.:/@-]{0,20}"))
def test_whatever_text_is_given_is_one_origin_or_refused(text: str) -> None:
    error = error_of(OptionError, lambda: check_origin(text, "allow_origin"))
    if error is not None:
        assert error.option == "allow_origin"
        return
    origin = check_origin(text, "allow_origin")
    assert origin is not None
    assert check_origin(origin, "allow_origin") == origin
    assert not set(origin) & set(" ;,*'\"\n\\")

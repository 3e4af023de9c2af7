"""The browser gets a one-time address instead of the token."""

from __future__ import annotations

import http.client
import threading
import webbrowser
from urllib.parse import urlsplit

import pytest

from jupyter_launcher.cli import browser
from jupyter_launcher.cli.browser import open_once

LAB = "http://127.0.0.1:8888/lab?token=s3cret"


def ask(url: str) -> tuple[int, str | None]:
    """The status and where it leads to."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("GET", parts.path)
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.headers["Location"]


class Browser:
    """Asks for the page as a browser in another process would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, there: bool = True, asks: bool = True) -> None:
        self.opened: list[str] = []
        self.answers: list[tuple[int, str | None]] = []
        self._there, self._asks = there, asks
        monkeypatch.setattr(webbrowser, "open", self.open)

    def open(self, url: str) -> bool:
        self.opened.append(url)
        if self._asks:
            self.answers = [ask(url.rpartition("/")[0] + "/guess"), ask(url), ask(url)]
        return self._there


def test_the_address_leads_to_the_session_once_and_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Browser(monkeypatch)
    assert open_once(LAB)
    assert "s3cret" not in found.opened[0]
    assert found.answers == [(404, None), (302, LAB), (404, None)]
    assert not any(thread.name == "open-once" for thread in threading.enumerate())


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    Browser(monkeypatch, there=False, asks=False)
    assert not open_once(LAB)


def test_a_browser_that_does_not_ask_for_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    Browser(monkeypatch, asks=False)
    assert not open_once(LAB, seconds=0.01)


def test_another_user_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "_is_this_user", lambda _: False)
    found = Browser(monkeypatch)
    assert not open_once(LAB, seconds=0.01)
    assert {status for status, _ in found.answers} == {404}


def test_where_nobody_tells_whose_a_connection_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", missing)
    assert browser._is_this_user(1)


def test_a_port_that_nobody_has_is_not_this_users() -> None:
    assert not browser._is_this_user(1)

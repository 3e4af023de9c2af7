"""A session inside an orchestrator's page, and behind its reverse proxy."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from jupyter_launcher import SessionConflictError
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.browser.chromium import open_lab, open_notebook, run_all, save
from tests.browser.conftest import Embedding, Proxy


@pytest.mark.parametrize(
    ("host", "site"), [("127.0.0.1", "the same site, another origin"), ("localhost", "another site")]
)
def test_in_a_frame_of_the_allowed_origin(
    pipeline: Path, jupyter_server_factory: ServerFactory, page: Page, embedding: Embedding, host: str, site: str
) -> None:
    origin = embedding.origin(host)
    session = jupyter_server_factory(allow_origin=origin)
    embedding.source = session.lab_url
    lab = page.frame_locator("iframe")
    open_lab(page, origin, lab)
    panel = open_notebook(lab, page, "report.ipynb")
    run_all(lab)
    expect(panel, site).to_contain_text("in all, computed on host")
    assert save(lab, page).status == 200
    assert "computed on host" in (pipeline / "report.ipynb").read_text()
    # The token is in the address no more: from here on it is the cookies that let the user in.
    page.frames[1].evaluate("location.reload()")
    expect(lab.locator(".jp-NotebookPanel")).to_contain_text("in all, computed on host")
    assert "/login" not in page.frames[1].url


@pytest.mark.parametrize("allowed", [None, "http://127.0.0.1:{port}", "http://localhost:1", "https://localhost:{port}"])
def test_a_frame_of_another_origin_is_refused(
    jupyter_server_factory: ServerFactory, page: Page, embedding: Embedding, allowed: str | None
) -> None:
    origin = allowed and allowed.format(port=embedding.server_port)
    session = jupyter_server_factory(allow_origin=origin)
    embedding.source = session.lab_url
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text) as told:
        page.goto(embedding.origin("localhost"))
    assert re.search(rf"frame-ancestors 'self'( {re.escape(origin)})?\"" if origin else r"'self'\"", told.value.text)
    expect(page.frame_locator("iframe").locator("#jp-main-dock-panel")).to_have_count(0)
    assert page.frames[1].url == "chrome-error://chromewebdata/"


def test_the_origin_is_one_of_the_options_that_are_compared(jupyter_server_factory: ServerFactory) -> None:
    first = jupyter_server_factory(session_id="framed", allow_origin="https://ide.example")
    again = jupyter_server_factory(session_id="framed", allow_origin="https://IDE.example:443")
    assert again.container_id == first.container_id
    with pytest.raises(SessionConflictError, match="allow_origin"):
        jupyter_server_factory(session_id="framed", allow_origin="https://other.example")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_behind_a_reverse_proxy(
    pipeline: Path, jupyter_server_factory: ServerFactory, page: Page, proxy: Proxy
) -> None:
    port = free_port()
    session = jupyter_server_factory(base_url="/pipelines/one/", allow_origin=f"http://127.0.0.1:{port}")
    proxy(port, session.url)
    outside = f"http://127.0.0.1:{port}/pipelines/one/"
    open_lab(page, f"{outside}lab?token={session.server_info.token}")
    panel = open_notebook(page, page, "report.ipynb")
    run_all(page)
    expect(panel).to_contain_text("in all, computed on host")
    assert save(page, page).status == 200
    assert "computed on host" in (pipeline / "report.ipynb").read_text()
    assert {cookie["path"] for cookie in page.context.cookies()} == {"/pipelines/one/"}


def test_a_websocket_of_another_origin_is_refused(jupyter_server_factory: ServerFactory) -> None:
    session = jupyter_server_factory(allow_origin="http://127.0.0.1:1")
    with requests.Session() as browser:
        assert browser.get(session.lab_url, timeout=10).status_code == 200
        # As a browser sends it from a page of that origin: with the cookies, without the token. requests
        # keeps to the letter of Secure, so they are handed over by hand.
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)
    statuses = {
        origin: requests.get(
            f"{session.url}api/events/subscribe",
            headers={
                "Cookie": cookies,
                "Origin": origin,
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            },
            timeout=10,
            stream=True,
        ).status_code
        for origin in ("http://127.0.0.1:1", "http://127.0.0.1:2", "https://127.0.0.1:1", "http://localhost:1")
    }
    assert statuses == {
        "http://127.0.0.1:1": 101,
        "http://127.0.0.1:2": 403,
        "https://127.0.0.1:1": 403,
        "http://localhost:1": 403,
    }

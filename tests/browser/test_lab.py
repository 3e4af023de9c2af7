"""A session as a person uses it: the page opened, a notebook run and saved, the session stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from jupyter_launcher import RunningGateway
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.browser.chromium import open_lab, open_notebook, run_all, save


def test_a_notebook_from_the_page_to_the_saved_file(
    jupyter_gateway: RunningGateway, client: Any, pipeline: Path, jupyter_server_factory: ServerFactory, page: Page
) -> None:
    host = client.containers.get(jupyter_gateway.name).attrs["Config"]["Hostname"]
    notebook = pipeline / "report.ipynb"
    session = jupyter_server_factory()
    open_lab(page, session.lab_url)
    panel = open_notebook(page, page, notebook.name)
    assert "/login" not in page.url
    assert session.server_info.token not in page.url, "Lab takes it out of the address"
    run_all(page)
    expect(panel).to_contain_text(f"in all, computed on host {host}")
    assert save(page, page).status == 200
    assert f"computed on host {host}" in json.dumps(json.loads(notebook.read_text())["cells"][-1]["outputs"])
    saved, owner = notebook.stat(), pipeline.stat()
    assert (saved.st_uid, saved.st_gid) == (owner.st_uid, owner.st_gid)
    session.stop()
    lost = page.get_by_role("dialog", name="Server Connection Error")
    expect(lost).to_contain_text("could not be established")


def test_a_wrong_token_gives_the_login_page(jupyter_server_factory: ServerFactory, page: Page) -> None:
    session = jupyter_server_factory()
    page.goto(f"{session.url}lab?token={'0' * len(str(session.server_info.token))}")
    expect(page).to_have_url(re.compile(re.escape(f"{session.url}login?next=")))
    expect(page.get_by_label("Password or token")).to_be_visible()
    expect(page.locator("#jp-main-dock-panel")).to_have_count(0)

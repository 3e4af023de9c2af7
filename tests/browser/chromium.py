"""Debian's Chromium, driven by Playwright; and what a user does in a JupyterLab in it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, FrameLocator, Locator, Page, Request, Response, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from jupyter_launcher.waiting import Deadline

__all__ = ["MISSING", "SECONDS", "launched", "open_lab", "open_notebook", "run_all", "save"]

MISSING = "" if shutil.which("chromium") else "needs chromium; `make tools` installs it"
SECONDS = 60
"""Patience: a cold JupyterLab loads some megabytes of script on a busy machine."""

# Playwright would switch the partitioning of storage off. Its users have that, and a page in a frame of
# another site has cookies and storage by it alone. Of two such arguments Chromium takes the last.
_LIKE_ITS_USERS = "--disable-features=MediaRouter,OptimizationHints"

_NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
_LOADS = 10


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        # Its own sandbox does not work as root.
        arguments = ["--no-sandbox", _LIKE_ITS_USERS]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def open_lab(page: Page, url: str, frame: FrameLocator | None = None) -> None:
    """Open the JupyterLab at ``url``, or in a frame of the page there, and wait until it can be used.

    Chromium gives up what it loads when an address of this machine comes or goes, as with each container that starts
    beside; as its users do, the page is then loaded again.
    """
    lost: list[str] = []

    def note(request: Request) -> None:
        if request.failure == _NETWORK_CHANGED:
            lost.append(request.url)

    lab = frame or page
    # JupyterLab gives its theme's stylesheet 1.5 s. On a busy machine it then shows a dialog, above all else.
    failed = lab.get_by_role("dialog", name="Error Loading Theme")
    settled = failed.or_(lab.locator("body[data-jp-theme-name]")).first
    page.on("requestfailed", note)
    for _ in range(_LOADS):
        lost.clear()
        try:
            page.goto(url)
        except PlaywrightError as error:
            if _NETWORK_CHANGED in str(error):
                continue
            raise
        deadline = Deadline(SECONDS)
        while not (lost or settled.count() or deadline.expired()):
            page.wait_for_timeout(100)
        if not lost:
            break
    page.remove_listener("requestfailed", note)
    expect(settled).to_be_attached()
    if failed.is_visible():
        failed.get_by_role("button", name="OK").click()


def open_notebook(lab: Page | FrameLocator, page: Page, name: str) -> Locator:
    """Open a notebook from the file browser, and wait until its kernel is there; gives its panel."""
    # Without a kernel, running the cells would ask for one; and before it has one, a notebook shows it as idle.
    with page.expect_response(_kernel_started):
        lab.locator(".jp-DirListing-item", has_text=name).dblclick()
    expect(lab.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    return lab.locator(".jp-NotebookPanel")


def run_all(lab: Page | FrameLocator) -> None:
    """Run all cells, by the menu."""
    lab.get_by_role("menuitem", name="Run", exact=True).click()
    lab.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def save(lab: Page | FrameLocator, page: Page) -> Response:
    """Save the notebook, by the menu; gives the server's answer."""
    with page.expect_response(_saved) as answer:
        lab.get_by_role("menuitem", name="File", exact=True).click()
        lab.get_by_role("menuitem", name=re.compile("^Save Notebook(?! As)")).click()
    return answer.value


def _saved(response: Response) -> bool:
    return response.request.method == "PUT" and "/api/contents/" in response.url


def _kernel_started(response: Response) -> bool:
    return response.request.method == "POST" and "/api/sessions" in response.url and response.status == 201

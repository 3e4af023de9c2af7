"""A real browser in front of real containers."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from tests.browser.chromium import MISSING, SECONDS, launched
from tests.containers import client, jupyter_gateway_dir, jupyter_pipeline_dir, namespace, nothing_left, owned

__all__ = ["client", "jupyter_gateway_dir", "jupyter_pipeline_dir", "namespace", "nothing_left"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "pipeline"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if MISSING:
        pytest.skip(MISSING)
    expect.set_options(timeout=SECONDS * 1000)
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that shares nothing with another test's."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(SECONDS * 1000)
        yield context.new_page()


@pytest.fixture
def pipeline(jupyter_pipeline_dir: Path) -> Path:
    """The example pipeline, in the hands of the directory's owner."""
    for item in EXAMPLE.iterdir():
        owned(Path(shutil.copy(item, jupyter_pipeline_dir)))
    return jupyter_pipeline_dir


class Embedding(http.server.ThreadingHTTPServer):
    """An orchestrator's page on loopback, whose origin depends on the name that it is asked by."""

    daemon_threads = True
    source = ""

    def origin(self, host: str) -> str:
        """The page's origin, opened as ``host``."""
        return f"http://{host}:{self.server_port}"


class _FramePage(http.server.BaseHTTPRequestHandler):
    server: Embedding

    def do_GET(self) -> None:
        body = f'<iframe src="{self.server.source}" width="1240" height="760"></iframe>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not of interest."""


@pytest.fixture
def embedding() -> Iterator[Embedding]:
    with Embedding(("127.0.0.1", 0), _FramePage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# Host is not passed on, so that the server hears another name than the browser asks.
_NGINX_CONFIG = """\
daemon off; pid {folder}/pid; error_log stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
  server {{
    listen 127.0.0.1:{port};
    location = / {{ return 204; }}
    location {path} {{
      proxy_pass {target};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""
Proxy = Callable[[int, str], None]


@pytest.fixture
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Puts an nginx on a port of loopback, in front of a session's URL and its path."""
    if NGINX is None:
        pytest.skip("needs nginx; `make tools` installs it")
    running: list[subprocess.Popen[bytes]] = []

    def run(port: int, url: str) -> None:
        folder = tmp_path_factory.mktemp("nginx")
        target = urlsplit(url)
        text = _NGINX_CONFIG.format(
            folder=folder, port=port, path=target.path, target=f"{target.scheme}://{target.netloc}"
        )
        (folder / "nginx.conf").write_text(text)
        running.append(subprocess.Popen([str(NGINX), "-p", folder, "-c", folder / "nginx.conf"]))
        for attempt in attempts(Deadline(SECONDS), (NotYetError, requests.ConnectionError)):
            with attempt:
                assert running[-1].poll() is None, "nginx ended; what it said is above"
                requests.get(f"http://127.0.0.1:{port}/", timeout=SECONDS)

    yield run
    for process in running:
        process.terminate()
        process.wait(SECONDS)

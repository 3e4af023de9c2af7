"""Opens JupyterLab in the browser without the token in the browser's argv, which everyone on the host can read."""

from __future__ import annotations

import os
import secrets
import threading
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

__all__ = ["open_once"]


def open_once(lab_url: str, *, seconds: float = 30.0) -> bool:
    """Open ``lab_url``; False when there is no browser, or it did not ask for the page within ``seconds``.

    The browser gets a one-time address of this process, which redirects to ``lab_url`` for this user only.
    """
    path = f"/{secrets.token_hex(16)}"
    redirected = threading.Event()

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != path or redirected.is_set() or not _is_this_user(self.client_address[1]):
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", lab_url)
            self.end_headers()
            redirected.set()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="open-once", daemon=True)
        thread.start()
        try:
            # A browser in the terminal stays in the foreground until its user quits it.
            return webbrowser.open(f"http://127.0.0.1:{server.server_port}{path}") and redirected.wait(seconds)
        finally:
            server.shutdown()
            thread.join()


def _is_this_user(port: int) -> bool:
    """Whether the connection from this port of the loopback belongs to this user; True where /proc does not tell."""
    try:
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    ends = {fields[1]: fields[7] for fields in map(str.split, lines)}
    return ends.get(f"0100007F:{port:04X}") == str(os.getuid())

"""The REST API of a Jupyter server or a gateway. Only this module sends requests to them."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import ExecError
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline

__all__ = ["CONTENTS", "ExecApi", "JupyterApi", "NoAnswerError", "Response"]

CONTENTS = "api/contents?content=0"
"""A request that only our server answers: it needs the token, and the gateway takes no part in it."""

_REQUEST_SECONDS = 5.0
_WORKERS = 16


class NoAnswerError(Exception):
    """No HTTP answer came; the text says what came instead. Raised inside this package, never seen outside."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: ``status`` and the JSON body, None where the body was no JSON."""

    status: int
    body: Any


class JupyterApi:
    """The REST API of a Jupyter server, or of a gateway."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/") + "/"
        self._headers = {"Authorization": f"token {token}"} if token else {}

    def request(
        self, method: str, path: str, *, timeout: float = _REQUEST_SECONDS, authenticated: bool = True
    ) -> Response:
        """Ask for ``path`` below the server's URL.

        Raises:
            NoAnswerError: no answer came.
        """
        try:
            with requests.Session() as session:
                # A proxy of the environment is for the outside, and .netrc would replace our token.
                session.trust_env = False
                answer = session.request(
                    method,
                    self.url + path,
                    headers=self._headers if authenticated else {},
                    timeout=max(timeout, 0.001),
                    allow_redirects=False,
                )
        except (requests.RequestException, ValueError) as error:  # a ValueError: no address that can be asked
            raise NoAnswerError(type(error).__name__) from None  # its request holds the token
        return Response(answer.status_code, _parse(answer.content))

    def kernels(self, *, timeout: float = _REQUEST_SECONDS) -> tuple[str, ...] | None:
        """Ids of the kernels that the server holds; None when it cannot tell."""
        try:
            answer = self.request("GET", "api/kernels", timeout=timeout)
        except NoAnswerError:
            return None
        if answer.status != 200 or not isinstance(answer.body, list):
            return None
        ids = [kernel.get("id") if isinstance(kernel, dict) else None for kernel in answer.body]
        known = tuple(kernel for kernel in ids if isinstance(kernel, str) and kernel)
        return known if len(known) == len(ids) else None  # one that cannot be read may be any kernel

    def delete_kernels(self, kernels: Iterable[str], *, timeout: float) -> None:
        """Shut kernels down, all at the same time. A later look shows which are left."""
        ids = tuple(kernels)
        if not ids:
            return
        with ThreadPoolExecutor(max_workers=min(len(ids), _WORKERS)) as pool:
            list(pool.map(lambda kernel: self._delete(kernel, timeout), ids))

    def _delete(self, kernel: str, timeout: float) -> None:
        with contextlib.suppress(NoAnswerError):
            self.request("DELETE", f"api/kernels/{kernel}", timeout=timeout)

    def shutdown(self, *, timeout: float) -> bool:
        """Ask the server to end, its kernels first; True when it said that it would."""
        try:
            return self.request("POST", "api/shutdown", timeout=timeout).status == 200
        except NoAnswerError:
            return False

    def is_alive(self, *, timeout: float) -> bool:
        """True if the server answers ``GET api`` with 200. No token is sent. Plain http only."""
        # Not with requests: `list` asks a hundred servers, and that would take twice as long here.
        try:
            parts = urlsplit(self.url)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
            with contextlib.closing(connection):
                connection.request("GET", f"{parts.path}api")
                return connection.getresponse().status == 200
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def takes_token(self, *, timeout: float = _REQUEST_SECONDS) -> bool:
        """Whether the server answers a request with our token."""
        try:
            return self.request("GET", CONTENTS, timeout=timeout).status == 200
        except NoAnswerError:
            return False


class ExecApi(JupyterApi):
    """The REST API of a gateway, asked from inside its own container: for one that this process does not reach."""

    def __init__(self, engine: Engine, container: str, url: str) -> None:
        super().__init__(url)
        self._engine = engine
        self._container = container

    def request(
        self,
        method: str,
        path: str,
        *,
        timeout: float = _REQUEST_SECONDS,
        authenticated: bool = True,  # noqa: ARG002 - the gateway's own token is taken
    ) -> Response:
        """As ``JupyterApi.request``.

        Raises:
            NoAnswerError: no answer came.
        """
        command = ("python3", "-c", read_script("request.py"), method, self.url + path, str(timeout))
        try:
            result = self._engine.exec(self._container, command, Deadline(timeout + 1.0))
        except ExecError as error:
            raise NoAnswerError(error.message) from None
        status, _, body = result.stdout.partition("\n")
        if not status.isdecimal():
            raise NoAnswerError(result.stdout[:200])
        return Response(int(status), _parse(body))


def _parse(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None

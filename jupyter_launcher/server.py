"""The Jupyter server inside a container: start it, read its server_info, wait for it, end it.

Only this module imports ``requests`` and ``tenacity``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import tenacity

from jupyter_launcher import origin
from jupyter_launcher.container import RUN_DIR, script
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.errors import (
    EngineError,
    ExecError,
    GatewayUnreachableError,
    ServerError,
    ServerInfoError,
    ServerNotRunningError,
    ServerStartError,
    ServerTimeoutError,
)
from jupyter_launcher.models import Gateway, ServerInfo, StopMethod, Timeouts
from jupyter_launcher.spec import PIPELINE_TARGET, SERVER_PORT, SessionSpec

__all__ = [
    "ApiFromInside",
    "JupyterApi",
    "NotYetError",
    "argv",
    "attempts",
    "check_kernelspecs",
    "end_kernels",
    "end_server",
    "exec_start",
    "read_server_info",
    "renew_lease",
    "server_is_coming",
    "wait_for_kernelspecs",
    "wait_until_ready",
]

_log = logging.getLogger(__name__)

_LOG_LINES = 40
_POLL = 0.02
_SLOW_POLL = 0.2
_ALIVE_EVERY = 0.5
_REQUEST = 5.0
# In a gateway's container. Its token is in its environment, and so in no argv.
_ASK = """
import os, sys, urllib.error, urllib.request as r
token = os.environ.get("EG_AUTH_TOKEN") or os.environ.get("KG_AUTH_TOKEN")
ask = r.Request(sys.argv[2], method=sys.argv[1], headers={"Authorization": f"token {token}"} if token else {})
try:
    answer = r.build_opener(r.ProxyHandler({})).open(ask, timeout=float(sys.argv[3]))
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode(), sep="\\n")
"""
# What proves our server: it wants a token, and the gateway has no part in it.
_CONTENTS = "api/contents?content=0"


def argv(spec: SessionSpec, gateway: Gateway | None) -> tuple[str, ...]:
    """The server's command: the hard-coded settings, the gateway's URL, then the caller's own."""
    return (
        "jupyter",
        "lab",
        "--ip=0.0.0.0",
        f"--port={SERVER_PORT}",
        f"--notebook-dir={PIPELINE_TARGET}",
        *([f"--gateway-url={gateway.url}"] if gateway else []),
        # A busy port would silently become the next one, which nobody publishes.
        "--port-retries=0",
        "--no-browser",
        # Jupyter refuses to run as root without it; it has no effect for others.
        "--allow-root",
        *([f"--ServerApp.base_url={spec.base_url}"] if spec.base_url != "/" else []),
        *(origin.server_arguments(spec.allow_origin, spec.base_url) if spec.allow_origin else ()),
        *spec.lab_args,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: ``status`` and the JSON body, None where the body was no JSON."""

    status: int
    body: Any


class JupyterApi:
    """The REST API of a Jupyter server, or of a gateway."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/") + "/"
        self._headers = {"Authorization": f"token {token}"} if token else {}

    def request(self, method: str, path: str, *, timeout: float = _REQUEST, authenticated: bool = True) -> Answer:
        """Ask for ``path`` below the server's URL.

        Raises:
            requests.RequestException: no answer.
        """
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
        try:
            body = answer.json()
        except ValueError:
            body = None
        return Answer(answer.status_code, body)

    def kernels(self, *, timeout: float = _REQUEST) -> tuple[str, ...] | None:
        """Ids of the kernels that the server holds; None when it can't tell."""
        try:
            answer = self.request("GET", "api/kernels", timeout=timeout)
        except requests.RequestException:
            return None
        if answer.status != 200 or not isinstance(answer.body, list):
            return None
        return tuple(str(kernel["id"]) for kernel in answer.body)

    def delete_kernels(self, kernels: Iterable[str], *, timeout: float) -> None:
        """Shut kernels down, all at the same time. What fails is left to a later look."""
        ids = tuple(kernels)
        if not ids:
            return
        with ThreadPoolExecutor(max_workers=min(len(ids), 16)) as pool:
            list(pool.map(lambda kernel: self._delete(kernel, timeout), ids))

    def _delete(self, kernel: str, timeout: float) -> None:
        try:
            self.request("DELETE", f"api/kernels/{kernel}", timeout=timeout)
        except requests.RequestException:
            return

    def shutdown(self, *, timeout: float) -> bool:
        """Ask the server to end, its kernels first; True when it said it would."""
        try:
            return self.request("POST", "api/shutdown", timeout=timeout).status == 200
        except requests.RequestException:
            return False

    def is_alive(self, *, timeout: float) -> bool:
        """Whether a server answers, whoever asks; at a plain http URL."""
        # Not with requests: `list` asks a hundred servers, and that would take twice as long here.
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        with contextlib.closing(connection):
            try:
                connection.request("GET", f"{parts.path}api")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def answers(self, *, timeout: float = _REQUEST) -> bool:
        """Whether the server answers and takes our token."""
        try:
            return self.request("GET", _CONTENTS, timeout=timeout).status == 200
        except requests.RequestException:
            return False


class ApiFromInside(JupyterApi):
    """The REST API of a gateway, asked by its own container: for one whose address is not reached from here."""

    def __init__(self, engine: Engine, container: str, url: str) -> None:
        super().__init__(url)
        self._engine = engine
        self._container = container

    def request(self, method: str, path: str, *, timeout: float = _REQUEST, authenticated: bool = True) -> Answer:  # noqa: ARG002 - the gateway's own token is taken
        """As ``JupyterApi.request``.

        Raises:
            requests.RequestException: no answer.
        """
        line = ("python3", "-c", _ASK, method, self.url + path, str(timeout))
        try:
            result = self._engine.exec(self._container, line, Deadline(timeout + 1.0))
        except ExecError as error:
            raise requests.ConnectionError(str(error)) from error
        status, _, body = result.stdout.partition("\n")
        if not status.isdigit():
            raise requests.ConnectionError(result.stderr)
        return Answer(int(status), json.loads(body) if body.strip() else None)


def exec_start(
    engine: Engine,
    container: str,
    command: tuple[str, ...],
    deadline: Deadline,
    *,
    lease: int | None = None,
    tune: bool = True,
    config: str = "",
) -> ServerInfo:
    """Start the server and read its server_info, in one exec. A lease begins when that is there.

    ``tune``: spare the server's Python what its start does without.
    ``config``: the text of a configuration file of ours, read beside those of the image.

    Raises:
        ServerStartError: it ended.
        ServerTimeoutError: it lives, but there is no server_info after the deadline.
    """
    seconds = str(max(1, math.ceil(deadline.remaining())))
    first = script("sitecustomize.py") if tune else ""
    line = ("sh", "-c", script("start.sh"), "start", RUN_DIR, seconds, str(lease or 0), first, config, *command)
    try:
        # The script ends by itself when its time is over, so the time out here is a second later.
        result = engine.exec(container, line, Deadline(deadline.remaining() + 1.0))
        if result.stdout.strip():
            return ServerInfo.from_json(result.stdout)
        # Output can be lost on the way when the engine is busy, so ask before giving up.
        info = None if result.stderr.strip() else _ask_server_info(engine, container, Deadline(0.0))
    except ExecError as error:
        raise _failure(engine, container, str(error), deadline) from error
    if info is None:
        raise _failure(engine, container, result.stderr.strip() or "it left no server_info", deadline)
    return info


def server_is_coming(engine: Engine, container: str, deadline: Deadline) -> bool:
    """Whether a server was started in a running container, waiting for it until the deadline."""
    look = ("sh", "-c", '[ -e "$1/server.pid" ]', "look", RUN_DIR)
    for attempt in attempts(deadline, NotYetError, pause=_SLOW_POLL):
        with attempt:
            try:
                if engine.exec(container, look, Deadline(_REQUEST)).exit_code != 0:
                    raise NotYetError
            except ExecError:
                return False
            return True
    return False


def renew_lease(engine: Engine, container: str, seconds: int) -> None:
    """Move the end of a session's lease to ``seconds`` from now.

    Raises:
        ServerNotRunningError: the session ended.
    """
    script = 'read -r up _ </proc/uptime && echo $((${up%.*} + $2)) >"$1/lease.new" && mv "$1/lease.new" "$1/lease"'
    try:
        engine.exec(container, ("sh", "-c", script, "renew", RUN_DIR, str(seconds)), Deadline(_REQUEST))
    except ExecError as error:
        msg = f"the lease of container {container[:12]} can't be renewed: {error}; start the session again"
        raise ServerNotRunningError(msg) from error


def read_server_info(engine: Engine, container: str, deadline: Deadline) -> ServerInfo:
    """The running server's server_info, read through exec.

    Raises:
        ServerNotRunningError: the container does not run.
        ServerInfoError: there is none, or it can't be parsed, until the deadline.
    """
    try:
        info = _ask_server_info(engine, container, deadline)
    except ExecError as error:
        info_missing = engine.inspect(container)
        code = info_missing.exit_code if info_missing and not info_missing.running else None
        msg = f"no server_info from container {container[:12]}: {error}"
        raise ServerNotRunningError(msg, exit_code=code) from error
    if info is None:
        msg = f"container {container[:12]} has no server_info after {deadline.seconds:g} s: no server runs in it"
        raise ServerInfoError(msg)
    return info


def _ask_server_info(engine: Engine, container: str, deadline: Deadline) -> ServerInfo | None:
    # Twice asked at the least: empty output with exit code 0 may be output that was lost.
    look = ("sh", "-c", 'cat "$1"/jupyter/jpserver-*.json', "look", RUN_DIR)
    for attempt in attempts(deadline, (NotYetError, ServerInfoError), at_least=2):
        with attempt:
            text = engine.exec(container, look, Deadline(max(deadline.remaining(), _REQUEST))).stdout
            if not text.strip():
                raise NotYetError
            return ServerInfo.from_json(text)
    return None


class NotYetError(Exception):
    """What is waited for is not there yet: raised inside an attempt, never seen outside."""


def attempts(
    deadline: Deadline,
    errors: type[Exception] | tuple[type[Exception], ...],
    *,
    at_least: int = 1,
    pause: float = _POLL,
) -> Iterable[tenacity.AttemptManager]:
    """Attempts until one raises none of ``errors``, or the deadline passed; then they just end."""

    def over(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= at_least and deadline.expired()

    retrying = tenacity.Retrying(
        stop=over, wait=tenacity.wait_fixed(pause), retry=tenacity.retry_if_exception_type(errors)
    )
    try:
        yield from retrying
    except tenacity.RetryError:
        return


def wait_until_ready(api: JupyterApi, engine: Engine, container: str, deadline: Deadline) -> None:
    """Wait for an answer with our token, and see that one without a token is refused.

    Raises:
        ServerStartError: the server or its container died; noticed within a second.
        ServerTimeoutError: no right answer in time; the message says what was seen last.
        ServerError: it serves its contents to callers without a token.
    """
    seen = "nothing"
    looked = Deadline(_ALIVE_EVERY)
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            if looked.expired():
                looked = Deadline(_ALIVE_EVERY)
                info = engine.inspect(container)
                if info is None or not info.running:
                    raise _failure(engine, container, f"it ended; it last gave {seen}", deadline)
            try:
                # At least a second: a last request cut short would hide what was seen before.
                patience = min(_REQUEST, deadline.remaining() + 1)
                answer = api.request("GET", _CONTENTS, timeout=patience)
                is_open = api.request("GET", _CONTENTS, timeout=patience, authenticated=False).status == 200
            except requests.RequestException as error:
                seen = type(error).__name__
                raise NotYetError from error
            if is_open:
                msg = (
                    f"the server at {api.url} answers without a token; take what switches authentication off out of "
                    "lab_args"
                )
                raise ServerError(msg)
            if answer.status == 200:
                return
            seen = f"HTTP {answer.status}"
            raise NotYetError
    raise _failure(engine, container, f"it gave {seen} at {api.url}", deadline)


def check_kernelspecs(api: JupyterApi, gateway: Gateway, engine: Engine, container: str, seconds: float) -> None:
    """See that the server gets kernel specs from the gateway.

    Raises:
        GatewayUnreachableError: with the status that the server gave, and its log.
    """
    status: int | None = None
    try:
        answer = api.request("GET", "api/kernelspecs", timeout=seconds)
        status, body = answer.status, answer.body
        seen = f"HTTP {status}: {_reason(body)}"
        if status == 200 and isinstance(body, dict) and body.get("kernelspecs"):
            return
    except requests.RequestException as error:
        seen = f"{type(error).__name__} after {seconds:g} s"
    msg = (
        f"the server does not get kernel specs from the gateway {gateway.name} at {gateway.url} ({seen}); see that "
        "a kernel gateway listens there, on all addresses and that port, and what its log says"
    )
    raise GatewayUnreachableError(
        msg, gateway=gateway.name, gateway_url=gateway.url, status=status, log_tail=engine.logs(container, _LOG_LINES)
    )


def wait_for_kernelspecs(api: JupyterApi, deadline: Deadline) -> bool:
    """Whether a gateway gives kernel specs before the deadline."""
    for attempt in attempts(deadline, (NotYetError, requests.RequestException)):
        with attempt:
            if api.request("GET", "api/kernelspecs", timeout=max(0.1, deadline.remaining())).status != 200:
                raise NotYetError
            return True
    return False


def _reason(body: Any) -> str:
    if isinstance(body, dict) and "kernelspecs" in body:
        return "no kernel specs at all"
    return str(body.get("message", "")) if isinstance(body, dict) else json.dumps(body)[:200]


def _failure(engine: Engine, container: str, seen: str, deadline: Deadline) -> ServerError:
    """The error for a server that is not ready: dead with exit code and log, or late."""
    # The container follows its server soon; give it a moment to tell the exit code.
    engine.wait(container, Deadline(0.0 if deadline.expired() else min(2.0, deadline.remaining())))
    info = engine.inspect(container)
    try:
        log = engine.logs(container, _LOG_LINES)
    except EngineError as error:
        if error.status != 404:
            raise
        info = None
    if info is None:
        msg = f"container {container[:12]} was removed by somebody else while its server started"
        return ServerStartError(msg)
    if info.running:
        msg = (
            f"the server in container {info.name} was not ready after {deadline.elapsed():.1f} s: {seen}; "
            f"raise timeouts.start if it only needs longer. Its log ends:\n{log}"
        )
        return ServerTimeoutError(msg, oom_killed=info.oom_killed, log_tail=log, seconds=deadline.elapsed())
    memory = " (out of memory: raise memory=)" if info.oom_killed else ""
    msg = (
        f"the server in container {info.name} ended with exit code {info.exit_code}{memory} before it was ready: "
        f"{seen}; {info.error or 'see lab_args and the image'}. Its log ends:\n{log}"
    )
    return ServerStartError(msg, exit_code=info.exit_code, oom_killed=info.oom_killed, log_tail=log)


def end_kernels(gateway: JupyterApi, kernels: tuple[str, ...], deadline: Deadline) -> tuple[str, ...]:
    """See that kernels are gone on the gateway, deleting what is left; gives those that are gone.

    Only these kernels are touched: others may use the gateway too. Where the gateway does not
    tell (it is down, or must not list), none is said to be gone.
    """
    gone: tuple[str, ...] = ()
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            alive = gateway.kernels(timeout=max(0.1, deadline.remaining()))
            if alive is None:
                return ()
            gone = tuple(kernel for kernel in kernels if kernel not in alive)
            if len(gone) < len(kernels):
                gateway.delete_kernels(set(kernels) & set(alive), timeout=max(0.1, deadline.remaining()))
                raise NotYetError
    return gone


def end_server(engine: Engine, container: str, api: JupyterApi, timeouts: Timeouts) -> StopMethod:
    """End the server step by step: its API, SIGTERM, and SIGKILL to all of the container.

    After each step it is the container's end that counts: it comes when the server's process is
    really gone. Gives the step that did it.
    """
    deadline = Deadline(timeouts.shutdown)
    if api.shutdown(timeout=deadline.remaining()) and _ended(engine, container, deadline):
        return StopMethod.API
    _log.info("server in %s did not end by its API after %.1f s; SIGTERM", container[:12], deadline.elapsed())
    deadline = Deadline(timeouts.terminate)
    try:
        engine.exec(container, ("sh", "-c", 'kill -TERM "$(cat "$1/server.pid")"', "term", RUN_DIR), deadline)
        if _ended(engine, container, deadline):
            return StopMethod.SIGTERM
    except ExecError as error:
        _log.info("no SIGTERM to the server in %s: %s", container[:12], error)
    _log.info("server in %s did not end by SIGTERM after %.1f s; SIGKILL", container[:12], deadline.elapsed())
    engine.remove(container)
    return StopMethod.KILLED


def _ended(engine: Engine, container: str, deadline: Deadline) -> bool:
    return engine.wait(container, deadline) is not None

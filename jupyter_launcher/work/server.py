"""What a session's server does for its kernels when asked: start, list, interrupt, restart, end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from jupyter_launcher.errors import (
    LauncherError,
    ServerError,
    ServerNotRunningError,
    ServerTimeoutError,
    SessionNotFoundError,
    WorkError,
)
from jupyter_launcher.models import ApiResponse, KernelInfo
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.server.activity import parse_kernels, parse_oom_kills
from jupyter_launcher.server.api import CONTENTS, JupyterApi, NoAnswerError, Response, parse_kernel_ids
from jupyter_launcher.server.failures import refuse_unreachable
from jupyter_launcher.spec.checks import RUN_DIR, refuse_option
from jupyter_launcher.spec.labels import is_gateway
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from jupyter_launcher.work.place import Place

__all__ = ["KernelServer", "StartedKernel", "check_seconds", "request"]

_SECONDS = 30.0
_LOOK_SECONDS = 5.0
_START_SECONDS = 120.0
"""A server waits a minute for a kernel that is slow to answer."""

_REQUEST_LIMIT = 2**28
_METHOD = re.compile("[A-Za-z]{1,20}")
_PAUSE = 0.2
_SHOWN = 200
_MOST_SHOWN = 20
_CONTAINER_ID = 64
"""Digits; the id of a swarm's service, which its nodes run again, has less."""
_LONGEST = 10**9
_OOM_KILLS = (
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    f"{RUN_DIR}/oom-kills",  # a gateway's count of its kernels in containers
)


@dataclass(frozen=True, slots=True)
class StartedKernel:
    """A kernel that was started here, and the path by which the server ends it and what belongs to it."""

    id: str
    path: str


class KernelServer:
    """A session's server, as its kernels' manager."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.api = JupyterApi(place.url, place.token)

    @property
    def session_id(self) -> str:
        """Of the session."""
        return self.place.session_id

    @property
    def patience(self) -> float:
        """How much longer a look at the killed processes may be relied on: on a gateway, it is an exec."""
        return 1 if self.place.gateway is None else 12

    @property
    def log_place(self) -> str:
        """Of kernels: what they print as they end is told where they run."""
        gateway = self.place.gateway
        if gateway is None:
            return "`Launcher.logs`"
        return f"`docker logs {gateway.name}`" if gateway.container_id else f"that of the gateway {gateway.name}"

    def start(self, name: str | None, path: str | None) -> StartedKernel:
        """Start a kernel: of a kernel spec, None: the default; with a path, as that notebook's where it has none.

        Raises:
            WorkError: there is no such kernel spec, or the kernel does not start.
        """
        document = {"name": self._find_spec(name), "path": path or ""}
        started = _parse_started(self._post("api/kernels", document, (200, 201), _START_SECONDS), None)
        if path is None:
            return started
        try:
            return self._show(started, path)
        except BaseException:
            with contextlib.suppress(LauncherError):
                self.end(started)
            raise

    def _show(self, started: StartedKernel, path: str) -> StartedKernel:
        """Let JupyterLab show a kernel as a notebook's; where it has another one for that, both stay as they are."""
        kernel = {"id": started.id}
        document = {"path": path, "name": path.rpartition("/")[2], "type": "notebook", "kernel": kernel}
        session = self._post("api/sessions", document, (200, 201), _START_SECONDS)
        shown = _parse_started(session.get("kernel"), session.get("id"))
        return shown if shown.id == started.id else started

    def kernels(self) -> tuple[KernelInfo, ...]:
        """All that the server holds."""
        answer = self._request("GET", "api/kernels", _SECONDS)
        try:
            return parse_kernels(answer)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            msg = f"the server's list of kernels cannot be read (status {answer.status}, {type(error).__name__})"
            raise ServerError(msg, hint="see its log; where kernels run on a gateway, that is asked too") from None

    def state(self, kernel: str, seconds: float = _LOOK_SECONDS) -> str | None:
        """What a kernel does, in the server's word; empty: there is no such kernel; None: nobody can tell."""
        # The list, since a server with a gateway asks the gateway for that, and not for one kernel.
        try:
            answer = self.api.request("GET", "api/kernels", Deadline(min(seconds, _LOOK_SECONDS)))
        except NoAnswerError:
            return "" if self.has_lost_gateway() else None
        if answer.status != 200 or not isinstance(answer.body, list):
            return "" if self.has_lost_gateway() else None
        for item in answer.body:
            if isinstance(item, dict) and item.get("id") == kernel:
                state = item.get("execution_state")
                return state if isinstance(state, str) and state else None
        return ""

    def interrupt(self, kernel: str, seconds: float = _SECONDS) -> None:
        """Interrupt what a kernel executes."""
        self._post(f"api/kernels/{quote(kernel, safe='')}/interrupt", None, (200, 204), seconds)

    def restart(self, kernel: str) -> None:
        """Start a kernel's process anew."""
        self._post(f"api/kernels/{quote(kernel, safe='')}/restart", None, (200, 204), _START_SECONDS)

    def end(self, started: StartedKernel) -> None:
        """End a kernel that was started here; nothing happens where it is gone."""
        for attempt in attempts(Deadline(_SECONDS), NotYetError, pause=_PAUSE):
            with attempt:
                answer = self._request("DELETE", started.path, _SECONDS)
                if answer.status >= 500:  # jupyter_server cannot end a kernel that died, until it has started it anew
                    raise NotYetError
        if answer.status not in (200, 204, 404, 410):
            self._refuse(f"the kernel {started.id} was not ended", answer)

    def oom_kills(self) -> int | None:
        """How many processes were killed for memory where the kernels are; None: nobody can tell.

        Of a gateway of ours, all kernels on it count.
        """
        if self.place.gateway is None:
            with contextlib.suppress(NoAnswerError):
                return parse_oom_kills(self.api.request("GET", CONTENTS, Deadline(_LOOK_SECONDS)))
            return None
        with contextlib.suppress(LauncherError):
            engine, container = self.place.engine, self.place.gateway.container_id
            info = None if container is None else engine.inspect(container)
            if info is not None and is_gateway(info.labels, info.name):
                command = ("sh", "-c", 'cat -- "$@" 2>/dev/null', "read", *_OOM_KILLS)
                found = engine.exec(info.id, command, Deadline(_LOOK_SECONDS), check=False)
                counts = re.findall(r"^oom_kill ([0-9]{1,9})$", found.stdout, re.MULTILINE)
                return sum(map(int, counts)) if counts else None
        return None

    def has_lost_gateway(self) -> bool:
        """Whether the gateway has ended for good, and with it all of its kernels; False: nobody can tell, too."""
        gateway = self.place.gateway
        if gateway is None or gateway.container_id is None or len(gateway.container_id) != _CONTAINER_ID:
            return False
        try:
            info = self.place.engine.inspect(gateway.container_id)
        except LauncherError:
            return False
        return info is None or (is_gateway(info.labels, info.name) and info.state in ("exited", "dead", "removing"))

    def describe_lost_gateway(self) -> str:
        """The end of a sentence about a kernel whose gateway has ended; else empty."""
        gateway = self.place.gateway
        if gateway is None or not self.has_lost_gateway():
            return ""
        return f": its gateway {gateway.name} has ended, so stop the session, and start it again"

    def check_running(self) -> bool:
        """Look at the container of a server that does not answer; False: it is paused, so it cannot.

        Raises:
            SessionNotFoundError, ServerNotRunningError: the session has ended.
            EngineUnavailableError: its node of a swarm is away, so nobody can tell.
        """
        try:
            found = self.place.engine.inspect(self.place.container)
        except LauncherError:
            return True  # nobody can tell
        if found is None:
            msg = f"the container of session {self.place.session_id} is gone"
            raise SessionNotFoundError(msg, hint="start the session again", session_id=self.place.session_id)
        if found.state == "paused":
            return False
        refuse_unreachable(found, self.place.session_id)
        if found.state != "running":
            msg = f"session {self.place.session_id} has ended: its container is {found.state}"
            raise ServerNotRunningError(msg, hint="start the session again")
        return True

    def fail(self, what: str, error: NoAnswerError | str, seconds: float) -> NoReturn:
        """Raise what it means that the server did not answer."""
        self.check_running()
        msg = f"{what}: the server did not answer ({error})"
        hint = "`Session.status()` shows whether the server lives"
        raise ServerTimeoutError(msg, hint=hint, seconds=seconds)

    def _find_spec(self, name: str | None) -> str:
        """A kernel spec's name that the server, or its gateway, knows."""
        answer = self._request("GET", "api/kernelspecs", _START_SECONDS)
        body = answer.body if isinstance(answer.body, dict) else {}
        specs = body.get("kernelspecs")
        if answer.status != 200 or not isinstance(specs, dict):
            self._refuse("the server does not tell which kernels it has", answer)
        default = body.get("default")
        is_known = isinstance(default, str) and default in specs
        wanted = name or (default if is_known else next(iter(specs), None))
        if not isinstance(wanted, str) or wanted not in specs:
            known = ", ".join(map(show_value, sorted(specs)[:_MOST_SHOWN])) or "none"
            msg = f"there is no kernel spec {show_value(name)}" if name else "there is no kernel spec"
            raise WorkError(msg, hint=f"those of the server: {known}", session_id=self.place.session_id)
        return wanted

    def _post(
        self, path: str, document: Mapping[str, object] | None, expected: tuple[int, ...], seconds: float
    ) -> Mapping[str, Any]:
        answer = self._request("POST", path, seconds, document)
        if answer.status not in expected:
            self._refuse(f"{path.partition('?')[0]} failed", answer)
        return answer.body if isinstance(answer.body, dict) else {}

    def _request(
        self, method: str, path: str, seconds: float, document: Mapping[str, object] | None = None
    ) -> Response:
        content = None if document is None else dumps(document).encode()
        try:
            if method == "GET":
                return self.api.request(method, path, Deadline(seconds))
            return self.api.send(method, path, Deadline(seconds), content=content)
        except NoAnswerError as error:
            self.fail(f"{method} {path}", error, seconds)

    def _refuse(self, what: str, answer: Response) -> NoReturn:
        said = answer.body.get("message") if isinstance(answer.body, dict) else None
        shown = f": {said[:_SHOWN]}" if isinstance(said, str) and said.isprintable() else ""
        msg = f"{what} (status {answer.status}{shown})"
        hint = "see the server's log: `Launcher.logs`"
        if self.place.gateway is not None and self.has_lost_gateway():
            hint = f"the gateway {self.place.gateway.name} has ended: stop the session, and start it again"
        raise WorkError(msg, hint=hint, session_id=self.place.session_id)


def request(
    place: Place, method: str, path: str, *, json: object, params: Mapping[str, str] | None, timeout: float
) -> ApiResponse:
    """Ask a session's server for its user; see ``Session.request``."""
    target, content = _check_request(method, path, json, params, timeout)
    server = KernelServer(place)
    try:
        answer = server.api.send(method.upper(), target, Deadline(timeout), content=content, limit=_REQUEST_LIMIT)
    except NoAnswerError as error:
        if error.too_long:
            msg = f"{method} {path}: the answer is longer than {_REQUEST_LIMIT} bytes"
            raise ServerError(msg, hint="ask for a part of it") from None
        server.fail(f"{method} {path}", error, timeout)
    return ApiResponse(status=answer.status, body=answer.content, headers=answer.headers)


def _check_request(
    method: object, path: object, document: object, params: Mapping[str, str] | None, timeout: object
) -> tuple[str, bytes | None]:
    """The path with its query, and the body."""
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        refuse_option("method", f"is {show_value(method)}", "give a method of HTTP, such as GET")
    check_seconds(timeout)
    if not is_text(path) or not path or path.startswith("/") or "#" in path or ".." in path.split("/"):
        refuse_option("path", f"is {show_value(path)}", "give one below `Session.url`, such as 'api/contents/steps'")
    if not path.isascii() or not path.isprintable() or " " in path:
        path = quote(path, safe="/?&=%:@+,;~!$'()*")
    query = _write_query(params)
    target = path + ("&" if "?" in path else "?") + query if query else path
    try:
        return target, None if document is None else dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        refuse_option("json", f"cannot be written as JSON: {type(error).__name__}", "give dicts, lists, texts, numbers")


def _write_query(params: object) -> str:
    try:
        if params is None or isinstance(params, Mapping):
            return urlencode(params or {})
    except (TypeError, ValueError):  # half of a character
        pass
    return refuse_option("params", f"is {show_value(params)}", "give a dict of texts")


def check_seconds(timeout: object) -> None:
    """A time that a caller gives."""
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout <= _LONGEST:  # type: ignore[operator] # it is a number
        refuse_option("timeout", f"is {show_value(timeout)}", "give seconds above 0, at most 10^9")


def _parse_started(model: object, session: object) -> StartedKernel:
    kernel = model.get("id") if isinstance(model, dict) else None
    if not isinstance(kernel, str) or parse_kernel_ids([kernel]) is None:
        msg = "the server started a kernel, and its answer has no id of it"
        raise ServerError(msg, hint="see its log")
    if isinstance(session, str) and parse_kernel_ids([session]) is not None:
        return StartedKernel(kernel, f"api/sessions/{session}")
    return StartedKernel(kernel, f"api/kernels/{kernel}")

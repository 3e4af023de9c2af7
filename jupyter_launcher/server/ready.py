"""Waiting until a server, or a gateway, is ready: it answers HTTP as it should."""

from __future__ import annotations

import json
from typing import Any

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import GatewayUnreachableError, ServerError
from jupyter_launcher.models import Gateway
from jupyter_launcher.server.api import CONTENTS, JupyterApi, NoAnswerError
from jupyter_launcher.server.process import describe_failure
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["check_kernelspecs", "has_kernelspecs", "wait_until_ready"]

_REQUEST_SECONDS = 5.0
_ALIVE_EVERY = 0.5


def wait_until_ready(api: JupyterApi, engine: Engine, container: str, deadline: Deadline) -> None:
    """Wait for an answer to our token, and see that a request without a token is refused.

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
                    raise describe_failure(engine, container, f"it ended; it last gave {seen}", deadline)
            try:
                # At least a second: a last request cut short would hide what was seen before.
                patience = min(_REQUEST_SECONDS, deadline.remaining() + 1)
                answer = api.request("GET", CONTENTS, timeout=patience)
                is_open = api.request("GET", CONTENTS, timeout=patience, authenticated=False).status == 200
            except NoAnswerError as error:
                seen = str(error)
                raise NotYetError from error
            if is_open:
                msg = f"the server at {api.url} answers without a token"
                hint = "take what switches authentication off out of lab_args and of the image's configuration"
                raise ServerError(msg, hint=hint)
            if answer.status == 200:
                return
            seen = f"HTTP {answer.status}"
            raise NotYetError
    raise describe_failure(engine, container, f"it gave {seen} at {api.url}", deadline)


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
    except NoAnswerError as error:
        seen = f"{error} after {seconds:g} s"
    msg = f"the server does not get kernel specs from the gateway {gateway.name} at {gateway.url} ({seen})"
    hint = "see that a kernel gateway listens there, on all addresses and that port, and what its log says"
    raise GatewayUnreachableError(
        msg,
        hint=hint,
        gateway=gateway.name,
        gateway_url=gateway.url,
        status=status,
        log_tail=engine.log_tail(container),
    )


def has_kernelspecs(api: JupyterApi, *, timeout: float) -> bool:
    """Whether a gateway answers the request for its kernel specs with 200."""
    try:
        return api.request("GET", "api/kernelspecs", timeout=timeout).status == 200
    except NoAnswerError:
        return False


def _reason(body: Any) -> str:
    if isinstance(body, dict) and "kernelspecs" in body:
        return "no kernel specs at all"
    return str(body.get("message", "")) if isinstance(body, dict) else json.dumps(body)[:200]

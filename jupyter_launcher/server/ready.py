"""Waiting until a server, or a gateway, is ready: it answers HTTP as it should."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import (
    EngineError,
    GatewayUnreachableError,
    ServerError,
    ServerInfoError,
    ServerTimeoutError,
)
from jupyter_launcher.models import Gateway, ServerInfo
from jupyter_launcher.server.api import CONTENTS, JupyterApi, NoAnswerError
from jupyter_launcher.server.exec_api import ExecApi
from jupyter_launcher.server.failures import describe_failure
from jupyter_launcher.spec.checks import PIPELINE_TARGET, SERVER_PORT
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["TOKEN_HINT", "check_kernelspecs", "check_server_info", "find_kernelspecs", "wait_until_ready"]

_REQUEST_SECONDS = 5.0
_LOOK_SECONDS = 10.0  # a connection has 3 of them; a busy machine needs some to start Python
_ALIVE_EVERY = 0.5
_UNREACHED_SECONDS = 5.0
_REASON_LENGTH = 500
TOKEN_HINT = "the gateway wants a token: give environment={'JUPYTER_GATEWAY_AUTH_TOKEN': ...}"  # noqa: S105 - no secret


def check_server_info(info: ServerInfo, base_url: str, engine: Engine, container: str) -> None:
    """See that a server is what was asked for, by what it says of itself.

    Raises:
        ServerInfoError: it is not, so that it could not be reached, serves another directory, or has a password; the
            message names what is otherwise.
    """
    pairs: dict[str, tuple[object, object]] = {
        "base_url": (base_url, info.base_url),
        "secure": (False, info.secure),  # it speaks HTTPS
        "port": (SERVER_PORT, info.port),
        "root_dir": (PIPELINE_TARGET, info.notebook_dir),
        "password": (False, info.password),
    }
    # A base URL that was asked for is in the command, so that a configuration alone never makes "/" of it.
    if info.base_url == "/":
        del pairs["base_url"]
    found = [f"{name} {seen!r} where {asked!r} was asked for" for name, (asked, seen) in pairs.items() if seen != asked]
    if found:
        msg = f"the server in container {container[:12]} has {', and '.join(found)}"
        hint = "take what sets it out of lab_args, of the image's configuration and of mounted folders"
        raise ServerInfoError(msg, hint=hint, log_tail=engine.log_tail(container))


def wait_until_ready(
    api: JupyterApi, engine: Engine, container: str, deadline: Deadline, *, is_new: bool = True
) -> None:
    """Wait for an answer to our token, and see that a request without a token is refused.

    The latter of a new server alone: it does not change.

    The server has said in its container that it is there, so where no connection to it can be made for 5 seconds,
    what is between is at fault, and nothing is waited for.

    Raises:
        ServerStartError: the server or its container died; noticed within a second.
        ServerTimeoutError: no right answer in time, or no connection; the message says what was seen last.
        ServerError: it serves its contents to callers without a token.
    """
    seen = "nothing"
    looked = Deadline(_ALIVE_EVERY)
    reached: bool | None = None
    trial = Deadline(_UNREACHED_SECONDS)
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            if looked.expired():
                looked = Deadline(_ALIVE_EVERY)
                info = engine.inspect(container)
                if info is None or not info.running:
                    raise describe_failure(engine, container, f"it ended; it last gave {seen}", deadline)
                if reached is False and trial.expired():
                    raise _describe_unreached(api, container, seen, trial)
            # At least a second: a last request cut short would hide what was seen before.
            patience = Deadline(min(_REQUEST_SECONDS, deadline.remaining() + 1))
            try:
                answer = api.request("GET", CONTENTS, patience)
                reached = True
                is_open = is_new and api.request("GET", CONTENTS, patience, authenticated=False).status == 200
            except NoAnswerError as error:
                seen = str(error)
                reached = reached or error.connected
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


def _describe_unreached(api: JupyterApi, container: str, seen: str, trial: Deadline) -> ServerTimeoutError:
    seconds = trial.elapsed()
    msg = (
        f"the server runs in container {container[:12]}, but no connection to {api.url} can be made "
        f"({seen} for {seconds:.1f} s)"
    )
    hint = (
        "see `jupyter-launcher doctor`: a firewall, a VPN or the engine's settings may keep published ports from "
        "this process; or give another host_ip"
    )
    return ServerTimeoutError(msg, hint=hint, seconds=seconds)


def check_kernelspecs(
    api: JupyterApi, gateway: Gateway, engine: Engine, container: ContainerInfo, seconds: float
) -> None:
    """See that the server, which runs in ``container``, gets kernel specs from the gateway, within ``seconds``.

    Raises:
        GatewayUnreachableError: with the status that the server gave, and its log; or their network keeps its
            containers apart, which is known after 3 s.
    """
    _check_isolation(gateway, engine, container, seconds)
    deadline = Deadline(seconds)
    status: int | None = None
    try:
        answer = api.request("GET", "api/kernelspecs", deadline)
        status, body = answer.status, answer.body
        seen = f"HTTP {status}: {_reason(body)}"
        if status == 200 and isinstance(body, dict) and body.get("kernelspecs"):
            return
    except NoAnswerError as error:
        seen = f"{error} after {deadline.elapsed():.1f} s"
    if gateway.container_id is not None:
        _refuse_ended(gateway, engine, gateway.container_id)
    msg = f"the server does not get kernel specs from the gateway {gateway.name} at {gateway.url} ({seen})"
    hint = "see that a kernel gateway listens there, on all addresses and that port, and what its log says"
    if gateway.url.startswith("https:"):
        hint += "; where its certificate is of an authority of your own, mount that and name it in SSL_CERT_FILE"
    elif status == 404:
        hint += "; one below a base URL is given as http://NAME:PORT/BASE"
    if status in (401, 403):
        hint = TOKEN_HINT
    raise GatewayUnreachableError(
        msg,
        hint=hint,
        gateway=gateway.name,
        gateway_url=gateway.url,
        status=status,
        log_tail=engine.log_tail(container.id),
    )


def _refuse_ended(gateway: Gateway, engine: Engine, container: str) -> None:
    info = engine.inspect(container)
    if info is not None and info.running:
        return
    seen = "is gone" if info is None else f"is {info.state} (exit code {info.exit_code})"
    msg = f"the gateway's container {gateway.name} {seen}: it ended while the session was starting"
    hint = "see why it ended, run the gateway again, and then start the session"
    log = engine.log_tail(container)
    raise GatewayUnreachableError(msg, hint=hint, gateway=gateway.name, gateway_url=gateway.url, log_tail=log)


def _check_isolation(gateway: Gateway, engine: Engine, container: ContainerInfo, seconds: float) -> None:
    """Where a network keeps its containers apart, see that the gateway is reached all the same, by a rule of the host.

    Raises:
        GatewayUnreachableError: it is not. Without this look, the server would wait for it for long.
    """
    if not gateway.url.startswith("http://"):  # the look speaks plain HTTP
        return
    name = gateway.network or container.network_mode
    network = None
    with contextlib.suppress(EngineError):  # a proxy before the engine may keep it to itself
        network = engine.network(name)
    if network is None or network.allows_icc:
        return
    if gateway.container_id is None and not network.has_ip(urlsplit(gateway.url).hostname or ""):
        return
    api = ExecApi(engine, container.id, gateway.url)  # any answer will do, one without a token too
    try:
        api.request("GET", "api", Deadline(min(_LOOK_SECONDS, seconds)))
    except NoAnswerError as error:
        if error.connected:  # what it then gave, the server will say
            return
        msg = f"the server does not reach the gateway {gateway.name} at {gateway.url} ({error})"
        hint = (
            f"containers of network {name} may not speak to each other (enable_icc is false): run both on a network of "
            "your own (`docker network create NAME`, and network=NAME)"
        )
        raise GatewayUnreachableError(
            msg, hint=hint, gateway=gateway.name, gateway_url=gateway.url, log_tail=engine.log_tail(container.id)
        ) from error


def find_kernelspecs(api: JupyterApi, deadline: Deadline) -> frozenset[str] | None:
    """The names of the kernel specs that a gateway answers with 200; None where it does not.

    None of them where what it answers is no JSON of kernel specs: what that means, a server will say.
    """
    try:
        answer = api.request("GET", "api/kernelspecs", deadline)
    except NoAnswerError:
        return None
    found = answer.body.get("kernelspecs") if isinstance(answer.body, dict) else None
    return (frozenset(found) if isinstance(found, dict) else frozenset()) if answer.status == 200 else None


def _reason(body: Any) -> str:
    """What an answer without kernel specs says of itself, as one short line that every terminal can show."""
    if not isinstance(body, dict):
        return "no JSON" if body is None else f"JSON of type {type(body).__name__}"
    if "kernelspecs" in body:
        return "no kernel specs at all"
    message = body.get("message")
    # jupyter_server leaves the places of two values in its text.
    text = message.replace("[%s] %s. ", "")[:_REASON_LENGTH] if isinstance(message, str) else ""
    return "".join(character if character.isprintable() else " " for character in text)

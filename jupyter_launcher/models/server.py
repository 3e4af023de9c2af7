"""The server and the gateway, as callers see them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from jupyter_launcher.errors import ServerError, ServerInfoError
from jupyter_launcher.models.kernels import KernelSummary

__all__ = ["ApiResponse", "Gateway", "GatewaySummary", "RunningGateway", "ServerInfo"]

_TYPES: dict[str, type] = {"password": bool, "pid": int, "port": int, "secure": bool}
_HINT = "see whether another program writes to the runtime dir, or whether a configuration sets a token"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A kernel gateway as the server will reach it.

    Attributes:
        name: what the caller named: a container's name or id, or a URL.
        url: ``http://<ip>:<port>``, handed to the server as ``--gateway-url``.
        container_id: None where the caller gave a URL.
        network: the network that the server must join to reach it; None: the engine's default.
        token: of a gateway that ``Launcher.run_gateway`` runs; else None. ``Session.gateway`` never has it.
    """

    name: str
    url: str
    container_id: str | None = None
    network: str | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGateway:
    """A gateway that ``run_gateway`` or ``start_gateway`` runs. ``gateway=`` takes it, and ``str()`` of it is its name.

    Attributes:
        name: of its container.
        url: where this process reaches it, as ``http://<address>:<port>/``.
        token: what each request to it needs, as ``Authorization: token <token>``.
        gateway_id: for ``stop_gateway``.
        kernels: the names of ``kernels=``; empty where kernels run beside the gateway.
        joined: ``start_gateway`` found it running.
    """

    name: str
    url: str
    token: str = field(repr=False)
    gateway_id: str = ""
    kernels: tuple[str, ...] = ()
    joined: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySummary:
    """One item of ``Launcher.gateways``.

    Attributes:
        name: of its container, as ``gateway=`` takes it.
        container_id: the full id.
        image: as the engine names it.
        created: seconds since the epoch, by the engine's clock.
        owner: what the launcher that runs it gave as its ``owner``.
        state: the engine's word, such as ``running`` or ``exited``.
        status: the engine's words for people, such as ``Up 2 minutes``.
        exit_code: of one that has ended.
        gateway_id: for ``stop_gateway``.
        isolation: of its kernels in containers; empty where they run beside it.
        kernel_images: the names of ``kernels=`` → their images.
        kernels: those that have a container of their own (``isolation="kernel"``).
        session_id: of the session that it is one unit with; empty: of none.
    """

    name: str
    container_id: str
    image: str
    created: float
    owner: str
    state: str
    status: str
    exit_code: int | None = None
    gateway_id: str = ""
    isolation: str = ""
    kernel_images: Mapping[str, str] = field(default_factory=dict)
    kernels: tuple[KernelSummary, ...] = ()
    session_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The running server, as it describes itself in its ``jpserver-<pid>.json``.

    Addresses are the server's own: reach it at :attr:`Session.url` instead. ``notebook_dir`` is
    what jupyter_server 2 calls ``root_dir``.
    """

    base_url: str
    hostname: str
    notebook_dir: str
    password: bool
    pid: int
    port: int
    secure: bool
    token: str = field(repr=False)
    url: str

    @classmethod
    def from_json(cls, text: str) -> ServerInfo:
        """Parse the file's text; fields that are not known are ignored.

        Raises:
            ServerInfoError: no JSON object, or a field is missing or of another type, or the token is not 32
                to 128 URL-safe characters. The message names fields, and never shows the text, which holds the token.
        """
        parsed = _parse_server_info(text)
        del text  # what a traceback shows of this frame
        return _raise_unless_parsed(parsed)

    @classmethod
    def from_output(cls, text: str) -> ServerInfo:
        """Parse what our scripts print: before each JSON that may be ours comes a line with our token.

        Ours is the first one whose field ``token`` is our token.

        Raises:
            ServerInfoError: none is. The message never shows the text, which holds the token.
        """
        parsed = _find_ours(text)
        del text  # what a traceback shows of this frame
        return _raise_unless_parsed(parsed)

    def to_dict(self) -> dict[str, str | int | bool]:
        """The nine fields as a plain dict, the token included."""
        return asdict(self)


def _raise_unless_parsed(parsed: ServerInfo | tuple[str, str]) -> ServerInfo:
    if isinstance(parsed, ServerInfo):
        return parsed
    msg, hint = parsed
    raise ServerInfoError(msg, hint=hint) from None


def _parse_server_info(text: str) -> ServerInfo | tuple[str, str]:
    """The value, or what is wrong and a hint. Nothing is raised here, where the token is in local variables."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return f"server_info is not JSON ({len(text)} characters)", "ask again, it may be half written"
    if not isinstance(raw, dict):
        return "server_info is JSON, but no object", "see whether another program writes to the runtime dir"
    if "root_dir" in raw:
        raw["notebook_dir"] = raw["root_dir"]
    values: dict[str, Any] = {item.name: raw.get(item.name) for item in fields(ServerInfo)}
    wrong = [name for name, value in values.items() if type(value) is not _TYPES.get(name, str)]
    if wrong:
        return f"server_info lacks a usable {', '.join(wrong)}", "take an image with jupyter_server 1.0 or newer"
    if _TOKEN.fullmatch(values["token"]) is None:
        return "the token in server_info is not 32 to 128 URL-safe characters", _HINT
    return ServerInfo(**values)


def _find_ours(text: str) -> ServerInfo | tuple[str, str]:
    """As :func:`_parse_server_info`, for what our scripts print."""
    token, _, rest = text.partition("\n")
    if _TOKEN.fullmatch(token) is None:
        return "what was printed begins with no token of ours", "ask again, it may have been lost in part"
    wrong = ("no server_info has our token", _HINT)
    # No JSON has such a line in it.
    for candidate in rest.split(f"\n{token}\n"):
        parsed = _parse_server_info(candidate)
        if not isinstance(parsed, ServerInfo):
            wrong = parsed
        elif parsed.token == token:
            return parsed
    return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """What a session's server answered to :meth:`Session.request`.

    Attributes:
        status: of HTTP.
        body: as it came.
        headers: by their names in lower case; of those of one name, the last.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ServerError: it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError, MemoryError) as error:
            msg = f"the answer with status {self.status} and {len(self.body)} bytes is no JSON ({type(error).__name__})"
        raise ServerError(msg, hint="look at its `status` and `body`")

"""The labels of a session's container: written and read here alone.

Labels are the only record of sessions. Everyone who may ask the engine can read them, so they hold no
secrets.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from jupyter_launcher.errors import OptionError, SessionUnreadableError
from jupyter_launcher.models import Gateway
from jupyter_launcher.spec.checks import LABEL_PREFIX, MIN_LEASE, check_base_url, check_name
from jupyter_launcher.spec.options import SessionSpec

__all__ = [
    "SessionLabels",
    "container_name",
    "gateway_filter",
    "gateway_labels",
    "helper_filter",
    "helper_labels",
    "is_gateway",
    "names_gateway",
    "owner_filter",
    "owner_of",
    "process_of",
    "session_filter",
]

T = TypeVar("T")

_SCHEMA = "1"
_NAMESPACE = LABEL_PREFIX + "namespace"
_SESSION_ID = LABEL_PREFIX + "session-id"
_OWNER = LABEL_PREFIX + "owner"
_GATEWAY = LABEL_PREFIX + "gateway"
_PROCESS = LABEL_PREFIX + "process"
_PURPOSE = LABEL_PREFIX + "purpose"
_GATEWAY_OF = LABEL_PREFIX + "gateway-of"
_IDENTITY = re.compile(r"[0-9]+:[0-9]+")


def container_name(namespace: str, session_id: str) -> str:
    """The name of a session's container: unique on the engine, so it is the lock between launchers too."""
    return f"jupyter-server.{namespace}.{session_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLabels:
    """All that ``get`` and ``list`` need to know of a session.

    Attributes:
        namespace: of the launcher.
        session_id: unique in the namespace.
        start_id: tells one start from another: which launcher's container this is.
        owner: what the launcher gave as its ``owner``.
        pipeline_dir: the directory on the engine's host.
        gateway: None where kernels run beside the server. Its network is the container's own, and not in the label.
        base_url: the path below which the server answers.
        host_ip: where the server is published on the engine's host.
        options: what :meth:`SessionSpec.to_options` returned.
        pipeline_dir_id: ``<device>:<inode>`` of the directory that was looked at; None: not known.
        process: a mark of the process that started the session; empty: not known.
    """

    namespace: str
    session_id: str
    start_id: str
    owner: str
    pipeline_dir: Path
    gateway: Gateway | None
    base_url: str
    host_ip: str
    options: Mapping[str, object]
    pipeline_dir_id: str | None = None
    process: str = ""

    @classmethod
    def from_spec(
        cls, spec: SessionSpec, gateway: Gateway | None, start_id: str, owner: str, process: str = ""
    ) -> SessionLabels:
        """The labels of a new session."""
        return cls(
            namespace=spec.namespace,
            session_id=spec.session_id,
            start_id=start_id,
            owner=owner,
            pipeline_dir=spec.pipeline_dir,
            gateway=None if gateway is None else replace(gateway, token=None),
            base_url=spec.base_url,
            host_ip=spec.host_ip,
            options=spec.to_options(),
            pipeline_dir_id=spec.pipeline_dir_id,
            process=process,
        )

    @property
    def name(self) -> str:
        """The name that the session's container has."""
        return container_name(self.namespace, self.session_id)

    @property
    def lease(self) -> int | None:
        """Seconds after which the session ends itself unless somebody renews; None: never."""
        lease = self.options.get("lease")
        return lease if isinstance(lease, int) else None

    def is_of(self, labels: Mapping[str, str], container: str) -> bool:
        """Whether a container with ``labels`` is the one of this start; False where they cannot be read."""
        try:
            return SessionLabels.from_labels(labels, container).start_id == self.start_id
        except SessionUnreadableError:
            return False

    def to_labels(self) -> dict[str, str]:
        """The labels as a dict for the engine."""
        labels = {
            "schema": _SCHEMA,
            "namespace": self.namespace,
            "session-id": self.session_id,
            "attempt": self.start_id,
            "owner": self.owner,
            "pipeline-dir": str(self.pipeline_dir),
            "gateway": "" if self.gateway is None else _gateway_to_text(self.gateway),
            "base-url": self.base_url,
            "host-ip": self.host_ip,
            "options": json.dumps(self.options),
            "pipeline-dir-id": self.pipeline_dir_id or "",
            "process": self.process,
        }
        return {LABEL_PREFIX + name: value for name, value in labels.items()}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str], container: str) -> SessionLabels:
        """Parse the labels of a container; labels that are not known are ignored.

        Args:
            labels: all labels of the container.
            container: its name, for the error.

        Raises:
            SessionUnreadableError: naming the container and the label that is missing or malformed.
        """
        reader = _Reader(labels, container)
        reader.read("schema", _parse_schema, default=None)
        return cls(
            namespace=reader.read("namespace", lambda text: check_name(text, "namespace")),
            session_id=reader.read("session-id", lambda text: check_name(text, "session_id")),
            start_id=reader.read("attempt", _parse_text),
            owner=reader.read("owner", str, default=""),
            pipeline_dir=reader.read("pipeline-dir", _parse_path),
            gateway=reader.read("gateway", _parse_gateway, default=None),
            base_url=reader.read("base-url", _parse_base_url),
            host_ip=reader.read("host-ip", lambda text: str(ipaddress.ip_address(text))),
            options=reader.read("options", _parse_options),
            pipeline_dir_id=reader.read("pipeline-dir-id", _parse_identity, default=None),
            process=reader.read("process", str, default=""),
        )

    @classmethod
    def of_session(cls, labels: Mapping[str, str], container: str) -> SessionLabels:
        """Parse the labels of a container that has the session's name too.

        A container of another name is no session, even if its labels are whole: they may be a copy, such as in
        an image that was committed from a session.

        Raises:
            SessionUnreadableError: as :meth:`from_labels`, or the name is not the session's.
        """
        parsed = cls.from_labels(labels, container)
        if parsed.name == container:
            return parsed
        msg = f"container {container} has the labels of session {parsed.session_id}, but not its name {parsed.name}"
        hint = f"if it is a leftover, remove it with `docker rm -f {container}`"
        raise SessionUnreadableError(
            msg, hint=hint, session_id=parsed.session_id, container_name=container, label=_SESSION_ID
        )

    @staticmethod
    def filters(namespace: str, session_id: str | None = None) -> tuple[str, str]:
        """What the engine's list is asked for: all sessions of a namespace, or those that claim an id."""
        claim = _SESSION_ID if session_id is None else f"{_SESSION_ID}={session_id}"
        return f"{_NAMESPACE}={namespace}", claim

    @staticmethod
    def claimed_id(labels: Mapping[str, str]) -> str:
        """The session id that a container claims, whatever its other labels are; empty where none."""
        return labels.get(_SESSION_ID, "")


class _Reader:
    """Reads one label after another, and names the one that is wrong."""

    def __init__(self, labels: Mapping[str, str], container: str) -> None:
        self._labels = labels
        self._container = container

    def read(self, name: str, parse: Callable[[str], T], **default: T) -> T:
        """Parse one label; where a default is given, an absent or empty label has it."""
        label = LABEL_PREFIX + name
        text = self._labels.get(label, "")
        if not text and default:
            return default["default"]
        try:
            if label not in self._labels:
                msg = "it is missing"
                raise ValueError(msg)
            return parse(text)
        except (ValueError, TypeError, KeyError, RecursionError, OptionError) as error:
            seen = f"{error} is missing" if isinstance(error, KeyError) else getattr(error, "message", str(error))
            msg = f"container {self._container} has a session's labels, but {label} cannot be read: {seen}"
            hint = f"if it is a leftover, remove it with `docker rm -f {self._container}`"
            claimed = SessionLabels.claimed_id(self._labels)
            raise SessionUnreadableError(
                msg, hint=hint, session_id=claimed, container_name=self._container, label=label
            ) from None


def _parse_schema(text: str) -> None:
    if text != _SCHEMA:
        msg = f"schema {text!r} is of another version of jupyter_launcher"
        raise ValueError(msg)


def _parse_text(text: str) -> str:
    if not text:
        msg = "it is empty"
        raise ValueError(msg)
    return text


def _parse_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        msg = f"{text!r} is no absolute path"
        raise ValueError(msg)
    return path


def _parse_identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text):
        msg = f"{text!r} is no device and inode"
        raise ValueError(msg)
    return text


def _parse_base_url(text: str) -> str:
    if check_base_url(text, "it") != text:
        msg = f"{text!r} is no URL path with a slash at both ends"
        raise ValueError(msg)
    return text


def _gateway_to_text(gateway: Gateway) -> str:
    return json.dumps({"name": gateway.name, "url": gateway.url, "id": gateway.container_id})


def _parse_gateway(text: str) -> Gateway:
    known = _parse_object(text)
    name, url, container_id = known["name"], known["url"], known["id"]
    if not (isinstance(name, str) and isinstance(url, str) and isinstance(container_id, (str, type(None)))):
        msg = "its name, url or id is no text"
        raise TypeError(msg)
    return Gateway(name=name, url=url, container_id=container_id)


def _parse_options(text: str) -> dict[str, Any]:
    options = _parse_object(text)
    lease = options.get("lease")
    if lease is not None and (isinstance(lease, bool) or not isinstance(lease, int) or lease < MIN_LEASE):
        msg = f"its lease {lease!r} is no number of seconds"
        raise TypeError(msg)
    return options


def _parse_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        msg = "it is no JSON object"
        raise TypeError(msg)
    return value


def gateway_labels(namespace: str, owner: str, process: str) -> dict[str, str]:
    """The labels of a gateway that the library starts; ``process``: a mark of the process that does."""
    return {_GATEWAY_OF: namespace, _OWNER: owner, _PROCESS: process}


def gateway_filter(namespace: str) -> str:
    """What the engine's list is asked for to find the gateways of ours of a namespace."""
    return f"{_GATEWAY_OF}={namespace}"


def is_gateway(labels: Mapping[str, str]) -> bool:
    """Whether a container is a gateway of ours."""
    return _GATEWAY_OF in labels


def helper_labels(purpose: str, process: str) -> dict[str, str]:
    """The labels of a short-lived container, such as doctor's probe; ``process``: a mark of who runs it."""
    return {_PURPOSE: purpose, _PROCESS: process}


def helper_filter() -> str:
    """What the engine's list is asked for to find all short-lived containers of ours."""
    return _PURPOSE


def session_filter() -> str:
    """What the engine's list is asked for to find the sessions of all namespaces."""
    return _SESSION_ID


def process_of(labels: Mapping[str, str]) -> str:
    """The mark of the process that made a container of ours; empty where it has none."""
    return labels.get(_PROCESS, "")


def names_gateway(labels: Mapping[str, str], words: Iterable[str]) -> bool:
    """Whether a session's labels name a gateway by one of these: its name, its id, or an address in its URL.

    The label is not parsed: a gateway is in use also where nobody can read a session's labels.
    """
    text = labels.get(_GATEWAY, "")
    return any(word in text for word in words)


def owner_filter() -> str:
    """What the engine's list is asked for to find all sessions and gateways with an owner."""
    return _OWNER


def owner_of(labels: Mapping[str, str]) -> str:
    """The owner of a session or a gateway; empty where it has none."""
    return labels.get(_OWNER, "")

"""The labels of the library's containers, and their names: written and read here alone.

Labels are the only record of sessions. Everyone who may ask the engine can read them, so they hold no
secrets.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jupyter_launcher.errors import SessionUnreadableError
from jupyter_launcher.models import Gateway, Volume
from jupyter_launcher.spec.checks import LABEL_PREFIX, PIPELINE_TARGET, check_name
from jupyter_launcher.spec.kernels.labels import GatewayLabels, find_gateway_id, gateway_name
from jupyter_launcher.spec.label_texts import (
    NAMESPACE,
    OWNER,
    PROCESS,
    SCHEMA,
    SESSION_ID,
    LabelReader,
    container_name,
    gateway_to_text,
    helper_name,
    parse_base_url,
    parse_gateway,
    parse_identity,
    parse_options,
    parse_place,
    parse_schema,
    parse_text,
    record_name,
    warm_name,
)
from jupyter_launcher.spec.options import SessionSpec

__all__ = [
    "SessionLabels",
    "ToolLabels",
    "container_name",
    "gateway_filter",
    "gateway_labels",
    "gateway_name",
    "gateway_of",
    "helper_filter",
    "helper_labels",
    "helper_name",
    "is_gateway",
    "owner_filter",
    "owner_of",
    "record_name",
    "session_filter",
    "warm_name",
]

_GATEWAY = LABEL_PREFIX + "gateway"
_PURPOSE = LABEL_PREFIX + "purpose"
_GATEWAY_OF = LABEL_PREFIX + "gateway-of"
_MAY_STAY = LABEL_PREFIX + "may-stay"
_WARM = LABEL_PREFIX + "warm"
_RECORD_OF = LABEL_PREFIX + "record-of"
_ATTEMPT = LABEL_PREFIX + "attempt"
_PIPELINE_DIR = LABEL_PREFIX + "pipeline-dir"
_YES = "yes"
_CLAIM = LABEL_PREFIX + "claim"
_PER_CLAIM = ("pipeline_dir", "labels", "lease")  # options
_ON_RECORD = (SESSION_ID, _PIPELINE_DIR, LABEL_PREFIX + "pipeline-dir-id")
_UNKNOWN_LEASE = 60
_UNIQUE = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLabels:
    """All that ``get`` and ``list`` need to know of a session.

    Labels cannot be changed, so those of a session from a pool are on two containers: its own, which had them before
    anybody asked for the session, and its record, which was created for that and is never started.

    Attributes:
        namespace: of the launcher.
        session_id: unique in the namespace.
        start_id: tells one start from another: which launcher's container this is.
        owner: what the launcher gave as its ``owner``.
        pipeline_dir: the directory on the engine's host, or the volume.
        gateway: None where kernels run beside the server. Its network is the container's own, and not in the label.
        base_url: the path below which the server answers.
        host_ip: where the server is published on the engine's host.
        options: what :meth:`SessionSpec.to_options` returned.
        pipeline_dir_id: ``<device>:<inode>`` of the directory that was looked at; None: not known.
        process: a mark of the process that started the session; empty: not known.
        warm: of a session from a pool: what is unique in the names that its container had, and that its record has.
        has_record: False for a session from a pool whose record somebody has removed: nobody knows its labels, its
            lease and its directory, and ``pipeline_dir`` is where it sees that.
    """

    namespace: str
    session_id: str
    start_id: str
    owner: str
    pipeline_dir: Path | Volume
    gateway: Gateway | None
    base_url: str
    host_ip: str
    options: Mapping[str, object]
    pipeline_dir_id: str | None = None
    process: str = ""
    warm: str = ""
    has_record: bool = True

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
        """Seconds after which the session ends itself unless somebody renews; None: never.

        Where nobody knows whether there is a lease, a number with which it can be renewed.
        """
        lease = self.options.get("lease") if self.has_record else _UNKNOWN_LEASE
        return lease if isinstance(lease, int) else None

    @property
    def record_name(self) -> str:
        """The name of its record; empty for a session that is from no pool."""
        return record_name(self.namespace, self.warm) if self.warm else ""

    def is_of(self, labels: Mapping[str, str], container: str) -> bool:
        """Whether a container with ``labels`` is the one of this start; False where they cannot be read."""
        if self.warm:
            return self.find_record(labels) == self.record_name and labels.get(_ATTEMPT) == self.start_id
        try:
            return SessionLabels.from_labels(labels, container).start_id == self.start_id
        except SessionUnreadableError:
            return False

    def to_labels(self) -> dict[str, str]:
        """The labels as a dict for the engine."""
        labels = {
            "schema": SCHEMA,
            "namespace": self.namespace,
            "session-id": self.session_id,
            "attempt": self.start_id,
            "owner": self.owner,
            "pipeline-dir": str(self.pipeline_dir),
            "gateway": "" if self.gateway is None else gateway_to_text(self.gateway),
            "base-url": self.base_url,
            "host-ip": self.host_ip,
            "options": json.dumps(self.options),
            "pipeline-dir-id": self.pipeline_dir_id or "",
            "process": self.process,
        }
        return {LABEL_PREFIX + name: value for name, value in labels.items()}

    def to_warm_labels(self, image: Mapping[str, str]) -> dict[str, str]:
        """Those of a container of a pool: without what is of one session.

        ``image``: its image's, of which the container has each that is not among its own: an image may be committed
        from a session.
        """
        options = {name: value for name, value in self.options.items() if name not in _PER_CLAIM}
        labels = {**replace(self, options=options).to_labels(), _WARM: self.warm}
        hidden = {name: "" for name in (*_ON_RECORD, _RECORD_OF) if name in image}
        return {name: text for name, text in labels.items() if name not in _ON_RECORD} | hidden

    def to_record_labels(self, container_id: str, claim: str) -> dict[str, str]:
        """Those of the record of a session from a pool.

        Args:
            container_id: the session's.
            claim: unique to this attempt to claim it.
        """
        labels = {**self.to_labels(), _WARM: self.warm, _RECORD_OF: container_id, _CLAIM: claim}
        return {name: text for name, text in labels.items() if name != SESSION_ID}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str], container: str) -> SessionLabels:
        """Parse the labels of a container; labels that are not known are ignored.

        Args:
            labels: all labels of the container.
            container: its name, for the error.

        Raises:
            SessionUnreadableError: naming the container and the label that is missing or malformed.
        """
        reader = LabelReader(labels, container)
        reader.read("schema", parse_schema, default=None)
        return cls(
            namespace=reader.read("namespace", lambda text: check_name(text, "namespace")),
            session_id=reader.read("session-id", lambda text: check_name(text, "session_id")),
            start_id=reader.read("attempt", parse_text),
            owner=reader.read("owner", str, default=""),
            pipeline_dir=reader.read("pipeline-dir", parse_place),
            gateway=reader.read("gateway", parse_gateway, default=None),
            base_url=reader.read("base-url", parse_base_url),
            host_ip=reader.read("host-ip", lambda text: str(ipaddress.ip_address(text))),
            options=reader.read("options", parse_options),
            pipeline_dir_id=reader.read("pipeline-dir-id", parse_identity, default=None),
            process=reader.read("process", str, default=""),
        )

    @classmethod
    def of_session(
        cls, labels: Mapping[str, str], container: str, record: Mapping[str, str] | None = None
    ) -> SessionLabels:
        """Parse the labels of a container that has the session's name too.

        A container of another name is no session, even if its labels are whole: they may be a copy, such as in
        an image that was committed from a session.

        Args:
            labels: all labels of the container.
            container: its name.
            record: all labels of its record; None: it has none, or is from no pool.

        Raises:
            SessionUnreadableError: as :meth:`from_labels`, or the name is not the session's.
        """
        if cls.find_record(labels):
            return cls._of_claimed(labels, container, record)
        parsed = cls.from_labels(labels, container)
        if parsed.name == container:
            return parsed
        msg = f"container {container} has the labels of session {parsed.session_id}, but not its name {parsed.name}"
        hint = f"if it is a leftover, remove it: `docker rm -f {container}`, or its service in a swarm"
        raise SessionUnreadableError(
            msg, hint=hint, session_id=parsed.session_id, container_name=container, label=SESSION_ID
        )

    @classmethod
    def _of_claimed(
        cls, labels: Mapping[str, str], container: str, record: Mapping[str, str] | None = None
    ) -> SessionLabels:
        """From the labels of a container of a pool, and of its record; the session's id is in the name alone."""
        own = record if record and record.get(_ATTEMPT) == labels.get(_ATTEMPT) else None
        known = {_PIPELINE_DIR: PIPELINE_TARGET} if own is None else own
        session_id = container.removeprefix(container_name(labels.get(NAMESPACE, ""), ""))
        parsed = cls.from_labels({**labels, **known, SESSION_ID: session_id}, container)
        return replace(parsed, warm=labels[_WARM], has_record=own is not None)

    @staticmethod
    def is_session(labels: Mapping[str, str], container: str) -> bool:
        """Whether a container claims to be a session; one of a pool that nobody has claimed, and a record, do not."""
        if not SessionLabels.find_record(labels):
            return bool(labels.get(SESSION_ID))
        return container.startswith(container_name(labels.get(NAMESPACE, ""), ""))

    @staticmethod
    def find_record(labels: Mapping[str, str]) -> str:
        """The name of the record of a container that is from a pool; else empty."""
        warm = labels.get(_WARM, "")
        is_ours = _UNIQUE.fullmatch(warm) and not labels.get(SESSION_ID) and not labels.get(_RECORD_OF)
        return record_name(labels.get(NAMESPACE, ""), warm) if is_ours else ""

    @staticmethod
    def filters(namespace: str, session_id: str | None = None) -> tuple[str, ...]:
        """What the engine's list is asked for: all of a namespace, also what is no session, or who claims an id."""
        return (f"{NAMESPACE}={namespace}", *([] if session_id is None else [f"{SESSION_ID}={session_id}"]))

    @staticmethod
    def claimed_id(labels: Mapping[str, str]) -> str:
        """The session id that a container claims, whatever its other labels are; empty where none."""
        return labels.get(SESSION_ID, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLabels:
    """What labels and name say of a container of ours that is no session.

    Attributes:
        kind: ``gateway``; ``helper``: a short-lived container that looks at something; ``warm``: of a pool, and nobody
            has claimed it; ``record``: of who has.
        namespace, owner: of the launcher that runs it; empty for a helper.
        process: a mark of the process that made it; empty: not known.
        may_stay: its maker may have left it behind on purpose.
        gateway: what else there is to say of a gateway; None for the others.
        of: the id of the container of which this is the record; empty for the others.
        claim: unique to the attempt to claim that container; empty for the others.
    """

    kind: str
    namespace: str = ""
    owner: str = ""
    process: str = ""
    may_stay: bool = False
    gateway: GatewayLabels | None = None
    of: str = ""
    claim: str = ""

    @classmethod
    def of_container(cls, labels: Mapping[str, str], container: str) -> ToolLabels | None:
        """From the labels and the name of a container; None where it is none of these.

        A container of another name is none, even if its labels are whole: they may be a copy, such as in an image
        that was committed from a gateway.
        """
        namespace, purpose = labels.get(_GATEWAY_OF, ""), labels.get(_PURPOSE, "")
        process = labels.get(PROCESS, "")
        if namespace and (gateway_id := find_gateway_id(namespace, container)):
            return cls(
                kind="gateway",
                namespace=namespace,
                owner=owner_of(labels),
                process=process,
                may_stay=labels.get(_MAY_STAY) == _YES,
                gateway=GatewayLabels.from_labels(labels, gateway_id),
            )
        unique = container.rpartition(".")[2]
        if not _UNIQUE.fullmatch(unique):
            return None
        namespace, of = labels.get(NAMESPACE, ""), labels.get(_RECORD_OF, "")
        if labels.get(_WARM) == unique and container in (warm_name(namespace, unique), record_name(namespace, unique)):
            known = cls(kind="warm", namespace=namespace, owner=owner_of(labels), process=process)
            return replace(known, kind="record", of=of, claim=labels.get(_CLAIM, "")) if of else known
        return cls(kind="helper", process=process) if purpose and container == helper_name(purpose, unique) else None


def gateway_labels(
    namespace: str, owner: str, process: str, *, may_stay: bool = False, more: GatewayLabels | None = None
) -> dict[str, str]:
    """The labels of a gateway that the library starts; see :class:`ToolLabels`."""
    known = {_GATEWAY_OF: namespace, OWNER: owner, PROCESS: process, _MAY_STAY: _YES if may_stay else ""}
    return known | ({} if more is None else more.to_labels())


def gateway_filter(namespace: str | None = None) -> str:
    """What the engine's list is asked for to find the gateways of ours: of a namespace, or of all."""
    return _GATEWAY_OF if namespace is None else f"{_GATEWAY_OF}={namespace}"


def is_gateway(labels: Mapping[str, str], container: str) -> bool:
    """Whether a container of this name is a gateway of ours."""
    found = ToolLabels.of_container(labels, container)
    return found is not None and found.kind == "gateway"


def helper_labels(purpose: str, process: str) -> dict[str, str]:
    """The labels of a short-lived container, such as doctor's probe; ``process``: a mark of who runs it."""
    return {_PURPOSE: purpose, PROCESS: process}


def helper_filter() -> str:
    """What the engine's list is asked for to find all short-lived containers of ours."""
    return _PURPOSE


def session_filter() -> str:
    """What the engine's list is asked for to find the sessions of all namespaces; it finds what is of a pool too."""
    return _ATTEMPT


def gateway_of(labels: Mapping[str, str]) -> Gateway | None:
    """The gateway that a session names, whatever its other labels are; None: none.

    Where the label cannot be read, its whole text is the gateway's name and URL: the gateway may be in use.
    """
    text = labels.get(_GATEWAY, "")
    try:
        return parse_gateway(text) if text else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return Gateway(name=text, url=text)


def owner_filter() -> str:
    """What the engine's list is asked for to find all sessions and gateways with an owner."""
    return OWNER


def owner_of(labels: Mapping[str, str]) -> str:
    """The owner of a session or a gateway; empty where it has none."""
    return labels.get(OWNER, "")

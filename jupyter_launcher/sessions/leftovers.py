"""What is ours and no session: gateways, short-lived containers, what is of pools. Listed, and removed where left."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from jupyter_launcher.acts import leaves
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.models import GatewaySummary, ReapedSession, SessionState, StopMethod, StopReport
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.spec.container import DEFAULT_NETWORK
from jupyter_launcher.spec.labels import (
    SessionLabels,
    ToolLabels,
    gateway_filter,
    gateway_of,
    helper_filter,
    session_filter,
)

__all__ = ["list_gateways", "reap_leftovers"]

_DAY = 86400.0
# A look ends by itself, and then its process reads what it printed.
_LOOK_SECONDS = 60.0
_NOT_RUNNING = (SessionState.EXITED, SessionState.CREATED)


def list_gateways(context: Context) -> list[GatewaySummary]:
    """The gateways of ours in the namespace, newest first."""
    return [
        GatewaySummary(
            name=item.name,
            container_id=item.id,
            image=item.image,
            created=item.created,
            owner=labels.owner,
            state=item.state,
            status=item.status,
            exit_code=item.exit_code,
        )
        for item, labels in _read_tools(context.engine.containers(gateway_filter(context.namespace)))
        if labels.kind == "gateway"
    ]


def _read_tools(listed: Sequence[ListedContainer]) -> Iterator[tuple[ListedContainer, ToolLabels]]:
    for item in listed:
        labels = ToolLabels.of_container(item.labels, item.name)
        if labels is not None:  # else it is somebody else's, with a copy of our labels
            yield item, labels


def reap_leftovers(
    context: Context, *, min_age: float, keep: Collection[str] | None, owner: str | None, dry_run: bool
) -> list[ReapedSession]:
    """Remove what is ours, is no session, and is needed by nobody any more, as ``Launcher.reap`` says."""
    found = list(_find_leftovers(context, min_age, keep or (), owner))
    return [(leftover if dry_run else _remove(context, item, leftover, keep or ())) for item, leftover in found]


def _find_leftovers(
    context: Context, min_age: float, keep: Collection[str], owner: str | None
) -> Iterator[tuple[ListedContainer, ReapedSession]]:
    now = None
    lists = {
        # First those that may use a gateway.
        ("warm", "record"): SessionLabels.filters(context.namespace),
        ("gateway",): (gateway_filter(context.namespace),),
        ("helper",): (helper_filter(),),
    }
    for kinds, filters in lists.items():
        listed = context.engine.containers(*filters)
        sessions = {item.id for item in listed if SessionLabels.is_session(item.labels, item.name)}
        there = {item.id for item in listed}
        for item, labels in _read_tools(listed):
            if labels.kind not in kinds or owner not in (None, labels.owner) or labels.of in sessions:
                continue
            now = context.engine.now() if now is None else now
            age = now - item.created
            is_lost = labels.kind == "record" and labels.of not in there
            reason = item.state if is_lost else _find_reason(labels, item.state, age)
            if reason and age >= min_age and (labels.kind != "gateway" or not _is_wanted(context, item, keep)):
                yield item, _describe(item, labels.kind, reason)


def _find_reason(labels: ToolLabels, state: str, age: float) -> str:
    """Why nobody needs a container any more; empty where somebody may."""
    dead = is_process_dead(labels.process)
    found = SessionState.of_container(state)
    if found is SessionState.EXITED:
        is_read = labels.kind == "helper" and (dead is False or (dead is None and age < _LOOK_SECONDS))
        return "" if is_read else found.value
    if dead and labels.may_stay:  # that process may have wanted it to stay
        dead = None
    if dead or (dead is None and age >= _DAY):
        return found.value if found is SessionState.CREATED else "orphaned"
    return ""


def _describe(item: ListedContainer, kind: str, reason: str) -> ReapedSession:
    return ReapedSession(session_id="", container_id=item.id, reason=reason, kind=kind, name=item.name)


def _is_in_use(context: Context, record: ContainerInfo) -> bool:
    """Whether the session is there that a record is of."""
    labels = ToolLabels.of_container(record.labels, record.name)
    info = None if labels is None else context.engine.inspect(labels.of)
    return info is not None and SessionLabels.is_session(info.labels, info.name)


def _is_wanted(context: Context, item: ListedContainer, keep: Collection[str]) -> bool:
    """Whether a gateway is to be kept, or a session of whatever namespace may use it."""
    return item.name in keep or any(
        SessionState.of_container(session.state) is not SessionState.EXITED and _may_use(session, item)
        for session in context.engine.containers(session_filter())
    )


def _may_use(session: ListedContainer, item: ListedContainer) -> bool:
    """Whether a session may use a gateway. In doubt it does: a URL may name the gateway by an alias of a network."""
    named = gateway_of(session.labels)
    if named is None or named.container_id is not None:
        return named is not None and named.container_id == item.id
    words = {item.id, item.name, *filter(None, item.networks.values())}
    try:
        parts = urlsplit(named.url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:  # the label cannot be read
        return any(word in named.url for word in words)
    if host in words or any(port in ports for ports in item.ports.values()):
        return True
    shared = {*session.networks} & {*item.networks} - {DEFAULT_NETWORK}  # where the engine resolves no names
    return bool(shared) and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:  # a name, or an address of another kind, which the engine does not list
        return False
    return True


def _remove(context: Context, item: ListedContainer, leftover: ReapedSession, keep: Collection[str]) -> ReapedSession:
    """Remove a container that was judged, after another look: those before it may have taken long."""
    started = time.monotonic()
    try:
        info = context.engine.inspect(item.id)
        if info is None:
            return replace(leftover, error="somebody else removed it meanwhile")
        if reason := _find_objection(context, item, info, leftover, keep):
            return replace(leftover, error=f"{reason} by now; it was left alone")
        with leaves(f"container {item.name}"):
            context.engine.remove(item.id)
    except LauncherError as error:
        return replace(leftover, error=str(error))
    except Exception as error:  # noqa: BLE001 - the others must not wait for it
        return replace(leftover, error=f"{type(error).__name__}: {error}")
    method = StopMethod.KILLED if leftover.reason == "orphaned" else StopMethod.ALREADY_STOPPED
    return replace(leftover, report=StopReport(method=method, seconds=time.monotonic() - started))


def _find_objection(
    context: Context, item: ListedContainer, info: ContainerInfo, leftover: ReapedSession, keep: Collection[str]
) -> str:
    """Why a container that was judged is to be left alone; empty where it is not."""
    if info.name != item.name:
        return f"its container is named {info.name}"
    if leftover.reason != "orphaned" and SessionState.of_container(info.state) not in _NOT_RUNNING:
        return f"its container is {info.state}"
    if leftover.kind == "record" and _is_in_use(context, info):
        return "its session is there"
    return "it is wanted" if leftover.kind == "gateway" and _is_wanted(context, item, keep) else ""

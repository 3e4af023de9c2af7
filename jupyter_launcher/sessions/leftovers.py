"""What is ours and no session: gateways and their parts, helpers, what is of pools. Listed, and removed where left."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from jupyter_launcher.acts import leaves
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.gateway.parts import Part, remove_part, remove_unit, summarise
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.models import GatewaySummary, ReapedSession, SessionState, StopMethod, StopReport
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.kernels.leftovers import (
    Gateways,
    find_lost_networks,
    find_lost_parts,
    has_live_gateway,
    is_bound,
    list_networks,
)
from jupyter_launcher.spec.container import DEFAULT_NETWORK
from jupyter_launcher.spec.kernels.labels import PartLabels
from jupyter_launcher.spec.labels import (
    SessionLabels,
    ToolLabels,
    gateway_filter,
    gateway_of,
    helper_filter,
    owner_filter,
    session_filter,
)

__all__ = ["list_gateways", "reap_leftovers"]

_DAY = 86400.0
# A look ends by itself, and then its process reads what it printed.
_LOOK_SECONDS = 60.0
# From a gateway that is one unit with a session to that session's container: that it answers, and a create.
_UNIT_SECONDS = 600.0
_NOT_RUNNING = (SessionState.EXITED, SessionState.CREATED)


def list_gateways(context: Context) -> list[GatewaySummary]:
    """The gateways of ours in the namespace, newest first: one call to the engine, which finds their kernels too."""
    listed = context.engine.containers(owner_filter())
    kernels = summarise(listed)
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
            gateway_id=gateway.gateway_id,
            isolation=gateway.isolation,
            kernel_images=gateway.images,
            kernels=tuple(kernel for kernel, part in kernels if gateway.start and part.gateway_start == gateway.start),
            session_id=gateway.session_id,
        )
        for item, labels in _read_tools(listed)
        if (gateway := labels.gateway) is not None and labels.namespace == context.namespace
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
    found, networks = _find_leftovers(context, min_age, keep, owner)
    if dry_run:
        return [*(leftover for _, leftover in found), *networks]
    removed = [_remove(context, item, leftover, keep or ()) for item, leftover in found]
    return [*removed, *(_remove_network(context, leftover) for leftover in networks)]


def _find_leftovers(
    context: Context, min_age: float, keep: Collection[str] | None, owner: str | None
) -> tuple[list[tuple[ListedContainer, ReapedSession]], list[ReapedSession]]:
    """Containers that nobody needs any more, in the order in which they are removed, and then networks."""
    networks = list_networks(context)  # each before its gateway is listed: that one is made after it
    listed = context.engine.containers(*SessionLabels.filters(context.namespace))
    # After those that may use a gateway, and after the parts of gateways.
    gateways = context.engine.containers(gateway_filter(context.namespace))
    helpers = context.engine.containers(helper_filter())
    now = context.engine.now() if networks or listed or gateways or helpers else 0.0
    judge = _Judge(context=context, now=now, min_age=min_age, keep=keep, owner=owner)
    # A helper may share the namespaces of a warm server, which Podman does not remove before it.
    found = [
        *judge.find(helpers, ("helper",)),
        *judge.find(listed, ("warm", "record")),
        *judge.find(gateways, ("gateway",)),
    ]
    starts = judge.sort_gateways(gateways, [item for item, _ in found])
    found += find_lost_parts(listed, starts, now=now, min_age=min_age, owner=owner)
    return found, find_lost_networks(networks, starts, context.namespace, now=now, min_age=min_age, owner=owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Who says which containers nobody needs any more."""

    context: Context
    now: float
    min_age: float
    keep: Collection[str] | None
    owner: str | None

    def find(
        self, listed: Sequence[ListedContainer], kinds: Collection[str]
    ) -> list[tuple[ListedContainer, ReapedSession]]:
        """Those of these kinds."""
        sessions = {item.id for item in listed if SessionLabels.is_session(item.labels, item.name)}
        there = {item.id for item in listed}
        found = []
        for item, labels in _read_tools(listed):
            if labels.kind not in kinds or self.owner not in (None, labels.owner) or labels.of in sessions:
                continue
            age = self.now - item.created
            is_lost = labels.kind == "record" and labels.of not in there
            reason = item.state if is_lost else _find_reason(item, labels, age, self.keep)
            if not reason and is_bound(self.context, item, labels):  # then its session is looked for after this
                reason = "orphaned"
            if reason and age >= self.min_age and not self._is_wanted(item, labels):
                session_id = labels.gateway.session_id if labels.gateway else ""
                found.append((item, _describe(item, labels.kind, reason, session_id)))
        return found

    def _is_wanted(self, item: ListedContainer, labels: ToolLabels) -> bool:
        return labels.kind == "gateway" and _is_wanted(self.context, item, labels, self.keep or ())

    def sort_gateways(self, listed: Sequence[ListedContainer], leaving: Sequence[ListedContainer]) -> Gateways:
        """The gateways by their starts: their states, which of them are removed now, and which are kept."""
        known = [
            (item, labels.gateway.start, labels)
            for item, labels in _read_tools(listed)
            if labels.gateway is not None and labels.gateway.start
        ]
        return Gateways(
            states={start: item.state for item, start, _ in known},
            leaving={start for item, start, _ in known if item in leaving},
            kept={start for item, start, labels in known if _is_named(item, labels, self.keep or ())},
        )


def _find_reason(item: ListedContainer, labels: ToolLabels, age: float, keep: Collection[str] | None) -> str:
    """Why nobody needs a container any more; empty where somebody may."""
    dead = is_process_dead(labels.process)
    found = SessionState.of_container(item.state)
    if found is SessionState.EXITED:
        is_read = labels.kind == "helper" and (dead is False or (dead is None and age < _LOOK_SECONDS))
        return "" if is_read else found.value
    if labels.gateway is not None and labels.gateway.stays and found is not SessionState.CREATED:
        return "" if keep is None or _is_named(item, labels, keep) else "orphaned"
    if labels.gateway is not None and labels.gateway.session_start and age >= _UNIT_SECONDS:
        dead = True  # as good as that: the session that needs it is looked for after this
    if dead and labels.may_stay:  # that process may have wanted it to stay
        dead = None
    if dead or (dead is None and age >= _DAY):
        return found.value if found is SessionState.CREATED else "orphaned"
    return ""


def _is_named(item: ListedContainer, labels: ToolLabels, keep: Collection[str]) -> bool:
    """Whether a gateway is to be kept, by its name or its id."""
    return item.name in keep or (labels.gateway is not None and labels.gateway.gateway_id in keep)


def _describe(item: ListedContainer, kind: str, reason: str, session_id: str) -> ReapedSession:
    return ReapedSession(session_id=session_id, container_id=item.id, reason=reason, kind=kind, name=item.name)


def _is_in_use(context: Context, record: ContainerInfo) -> bool:
    """Whether the session is there that a record is of."""
    labels = ToolLabels.of_container(record.labels, record.name)
    info = None if labels is None else context.engine.inspect(labels.of)
    return info is not None and SessionLabels.is_session(info.labels, info.name)


def _is_wanted(context: Context, item: ListedContainer, labels: ToolLabels, keep: Collection[str]) -> bool:
    """Whether a gateway is to be kept, or a session of whatever namespace may use it."""
    return _is_named(item, labels, keep) or any(
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
            kernels = _remove_with_parts(context, item)
    except LauncherError as error:
        return replace(leftover, error=str(error))
    except Exception as error:  # noqa: BLE001 - the others must not wait for it
        return replace(leftover, error=f"{type(error).__name__}: {error}")
    method = StopMethod.KILLED if leftover.reason == "orphaned" else StopMethod.ALREADY_STOPPED
    seconds = time.monotonic() - started
    return replace(leftover, report=StopReport(method=method, kernels=kernels, kernels_gone=kernels, seconds=seconds))


def _remove_with_parts(context: Context, item: ListedContainer) -> tuple[str, ...]:
    """Remove a container; a gateway with all that is of it. The ids of the kernels whose containers were removed."""
    labels = ToolLabels.of_container(item.labels, item.name)
    if labels is not None and labels.gateway is not None and labels.gateway.start:
        return remove_unit(context.engine, labels.gateway.start, item.id)
    part = PartLabels.of_container(item.labels, item.name)
    if part is None:
        context.engine.remove(item.id)
        return ()
    remove_part(context.engine, Part(item=item, labels=part))
    return (part.kernel_id,) if part.kernel_id else ()


def _remove_network(context: Context, leftover: ReapedSession) -> ReapedSession:
    started = time.monotonic()
    try:
        context.engine.remove_network(leftover.container_id)
    except LauncherError as error:
        return replace(leftover, error=str(error))
    seconds = time.monotonic() - started
    return replace(leftover, report=StopReport(method=StopMethod.ALREADY_STOPPED, seconds=seconds))


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
    if leftover.kind == "part" and has_live_gateway(context, item):
        return "its gateway is there"
    labels = ToolLabels.of_container(item.labels, item.name)
    is_wanted = labels is not None and labels.kind == "gateway" and _is_wanted(context, item, labels, keep)
    return "it is wanted" if is_wanted else ""

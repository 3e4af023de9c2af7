"""Gateways of ours and short-lived containers: listing them, and removing what dead processes have left."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace

from jupyter_launcher.acts import leaves
from jupyter_launcher.engine.types import ListedContainer
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.host.address import bracket
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.models import GatewaySummary, ReapedSession, SessionState, StopMethod, StopReport
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.spec.labels import (
    gateway_filter,
    helper_filter,
    names_gateway,
    owner_of,
    process_of,
    session_filter,
)

__all__ = ["list_gateways", "reap_leftovers"]

_DAY = 86400.0
# A look ends by itself, and then its process reads what it printed.
_LOOK_SECONDS = 60.0
_ENDED = (SessionState.EXITED, SessionState.CREATED)


def list_gateways(context: Context) -> list[GatewaySummary]:
    """The gateways of ours in the namespace, newest first."""
    return [
        GatewaySummary(
            name=item.name,
            container_id=item.id,
            image=item.image,
            created=item.created,
            owner=owner_of(item.labels),
            state=item.state,
            status=item.status,
            exit_code=item.exit_code,
        )
        for item in context.engine.containers(gateway_filter(context.namespace))
    ]


def reap_leftovers(
    context: Context, *, min_age: float, keep: Collection[str] | None, owner: str | None, dry_run: bool
) -> list[ReapedSession]:
    """Remove gateways and short-lived containers that nobody needs any more, as ``Launcher.reap`` says."""
    found = list(_find_leftovers(context, min_age, keep or (), owner))
    return [(leftover if dry_run else _remove(context, item, leftover, keep or ())) for item, leftover in found]


def _find_leftovers(
    context: Context, min_age: float, keep: Collection[str], owner: str | None
) -> Iterator[tuple[ListedContainer, ReapedSession]]:
    engine, now = context.engine, None
    kinds = {"gateway": gateway_filter(context.namespace), "helper": helper_filter()}
    for kind, label in kinds.items():
        for item in engine.containers(label):
            if owner not in (None, owner_of(item.labels)):  # a helper has none
                continue
            now = engine.now() if now is None else now
            age = now - item.created
            reason = _find_reason(item, kind, age)
            if reason and age >= min_age and (kind == "helper" or not _is_wanted(context, item, keep)):
                yield item, _describe(item, kind, reason)


def _find_reason(item: ListedContainer, kind: str, age: float) -> str:
    """Why nobody needs a container any more; empty where somebody may."""
    dead = is_process_dead(process_of(item.labels))
    state = SessionState.of_container(item.state)
    if kind == "helper" and (dead is False or (dead is None and age < _LOOK_SECONDS)):
        return ""
    if state in _ENDED:
        return str(state.value)
    return "orphaned" if dead or (dead is None and age >= _DAY) else ""


def _describe(item: ListedContainer, kind: str, reason: str) -> ReapedSession:
    return ReapedSession(session_id="", container_id=item.id, reason=reason, kind=kind, name=item.name)


def _is_wanted(context: Context, item: ListedContainer, keep: Collection[str]) -> bool:
    """Whether a gateway is to be kept, or a running session of whatever namespace names it."""
    if item.name in keep:
        return True
    hosts = (item.name, *(bracket(ip) for ip in item.networks.values() if ip))
    words = (item.id, f'"{item.name}"', f'"{item.name}:', *(f"//{host}:" for host in hosts))
    return any(
        SessionState.of_container(session.state) not in _ENDED and names_gateway(session.labels, words)
        for session in context.engine.containers(session_filter())
    )


def _remove(context: Context, item: ListedContainer, leftover: ReapedSession, keep: Collection[str]) -> ReapedSession:
    """Remove a container that was judged, after another look: those before it may have taken long."""
    started = time.monotonic()
    try:
        info = context.engine.inspect(item.id)
        if info is None:
            return replace(leftover, error="somebody else removed it meanwhile")
        if leftover.reason != "orphaned" and SessionState.of_container(info.state) not in _ENDED:
            return replace(leftover, error=f"its container is {info.state} by now; it was left alone")
        if leftover.kind == "gateway" and _is_wanted(context, item, keep):
            return replace(leftover, error="it is wanted by now; it was left alone")
        with leaves(f"container {item.name}"):
            context.engine.remove(item.id)
    except LauncherError as error:
        return replace(leftover, error=str(error))
    except Exception as error:  # noqa: BLE001 - the others must not wait for it
        return replace(leftover, error=f"{type(error).__name__}: {error}")
    method = StopMethod.KILLED if leftover.reason == "orphaned" else StopMethod.ALREADY_STOPPED
    return replace(leftover, report=StopReport(method=method, seconds=time.monotonic() - started))

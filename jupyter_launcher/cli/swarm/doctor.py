"""What the doctor looks at in a swarm: its managers, its nodes and their engines, and what sessions need of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from jupyter_launcher.cli import checks
from jupyter_launcher.cli.checks import Check
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.engine.swarm.survey import NodeReport, SwarmReport
from jupyter_launcher.errors import EngineError, LauncherError
from jupyter_launcher.models import Swarm

__all__ = ["examine_swarm"]

_HEARTBEAT = 20.0  # seconds; with the default of 5, a node that is cut off for about 10 to 14 s loses all its sessions
_GWBRIDGE = (
    "close the ports to others by a firewall of each node; or, on Docker 28, before the node joins the swarm: "
    "`docker network create -o com.docker.network.bridge.name=docker_gwbridge "
    "-o com.docker.network.bridge.host_binding_ipv4=ADDRESS docker_gwbridge`; or use an overlay alone"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reached:
    """The engines of nodes that were reached, and what was seen of the image there."""

    engines: Mapping[str, Engine]
    problems: Mapping[str, LauncherError]


def examine_swarm(engine: SwarmEngine, swarm: Swarm, *, image: str, network: str | None = None) -> Iterator[Check]:
    """Check after check: what a session over a swarm needs, beside what it needs of each engine.

    Args:
        engine: of the swarm.
        swarm: how it was described.
        image: of the session.
        network: that the session would join, beside the swarm's.
    """
    try:
        report = engine.survey()
    except LauncherError as error:
        yield checks.from_error("swarm", error)
        return
    yield checks.ok("swarm", _describe_size(report))
    yield _check_managers(report)
    yield _check_heartbeat(report)
    usable = [item for item in report.nodes if item.state == "ready" and item.availability == "active"]
    reached = _reach(engine, [item for item in report.nodes if item.state == "ready"])
    for item in report.nodes:
        yield _check_node(item, reached)
    if not usable:
        hint = "`docker node ls` shows them; `docker node update --availability active NODE` lets one take tasks"
        yield checks.failed("nodes", "no node is ready and active", hint)
    names = {item.node.id: item.node.hostname for item in usable}
    yield checks.attempt("image on the nodes", lambda: _check_images(engine, reached, names, image))
    yield _check_privileges(engine, usable, reached, weaker=swarm.weaker)
    wanted = dict.fromkeys(name for name in (swarm.network, network) if name)
    for name in wanted:
        yield checks.attempt("overlay", lambda name=name: _check_overlay(engine, name))  # type: ignore[misc]
    yield _check_address(swarm)


def _describe_size(report: SwarmReport) -> str:
    managers = sum(bool(item.reachability) for item in report.nodes)
    return f"{_count(len(report.nodes), 'node')}, {_count(managers, 'manager')} among them"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _check_managers(report: SwarmReport) -> Check:
    """Whether the managers have a quorum, and how many of them may be lost."""
    managers = [item for item in report.nodes if item.reachability]
    away = [item.node.hostname for item in managers if item.reachability != "reachable"]
    here = len(managers) - len(away)
    spare = here - (len(managers) // 2 + 1)
    detail = f"{here} of {len(managers)} reachable"
    if away:
        hint = "bring them back, or `docker node demote` what will not come back, before another one is lost"
        return checks.warning("managers", f"{detail}; not reachable: {', '.join(away)}", hint)
    if len(managers) > 1 and spare < 1:
        hint = "have three or five managers: without a majority, nothing can be started, found or stopped"
        return checks.warning("managers", f"{detail}, and none of them may be lost", hint)
    return checks.ok("managers", f"{detail}, {spare} may be lost")


def _check_heartbeat(report: SwarmReport) -> Check:
    detail = f"each {report.heartbeat:g} s"
    if report.heartbeat >= _HEARTBEAT:
        return checks.ok("heartbeat", detail)
    lost = f"a node that is cut off for about {2 * report.heartbeat:g} to {3 * report.heartbeat:g} s loses its sessions"
    hint = f"`docker swarm update --dispatcher-heartbeat {_HEARTBEAT:g}s`, on a manager"
    return checks.warning("heartbeat", f"{detail}: {lost}", hint)


def _reach(engine: SwarmEngine, items: list[NodeReport]) -> _Reached:
    """The engines of nodes that are ready. Nobody asks a node that is away: the connection would take long to fail."""
    engines: dict[str, Engine] = {}
    problems: dict[str, LauncherError] = {}
    for item in items:
        try:
            found = engine.engine_of(item.node)
            found.traits  # noqa: B018 - it is asked
            engines[item.node.id] = found
        except LauncherError as error:
            problems[item.node.id] = error
    return _Reached(engines=engines, problems=problems)


def _check_node(item: NodeReport, reached: _Reached) -> Check:
    node = item.node
    name = f"node {node.hostname}"
    kind = "manager" if item.reachability else "worker"
    words = [kind, node.address or "no address", f"engine {node.engine_version or 'unknown'}"]
    detail = ", ".join([*words, item.state, item.availability])
    if item.state != "ready":
        hint = "see its machine, its network and its engine; sessions on it are `unreachable` until it is back"
        return checks.warning(name, detail, hint)
    error = reached.problems.get(node.id)
    if error is not None:
        hint = "; ".join(filter(None, (error.hint, "a session that is placed there cannot be started")))
        return checks.failed(name, f"{detail}; its engine is not reached: {error.message}", hint)
    detail = f"{detail}; its engine is reached at {reached.engines[node.id].endpoint}"
    if item.availability != "active":
        hint = f"`docker node update --availability active {node.hostname}` lets it take sessions again"
        return checks.warning(name, detail, hint)
    return checks.ok(name, detail)


def _check_images(engine: SwarmEngine, reached: _Reached, names: Mapping[str, str], image: str) -> Check:
    """On which nodes the manager's image is: a service names it by its id, and nobody pulls it."""
    title = "image on the nodes"
    wanted = engine.images.find(image)
    if wanted is None:
        return checks.skipped(title, "the manager does not have it")
    lacking = [name for node, name in names.items() if not _has_image(reached.engines.get(node), wanted)]
    if not lacking:
        return checks.ok(title, f"{image} is on {_join(names.values()) or 'none'}")
    hint = f"`docker save {image} | docker -H ADDRESS load` for each of them, or use an image of a registry"
    return checks.warning(title, f"{image} is not seen on {_join(lacking)}", hint)


def _has_image(engine: Engine | None, wanted: str) -> bool:
    try:
        return engine is not None and engine.images.find(wanted) is not None
    except EngineError:
        return False


def _check_privileges(engine: SwarmEngine, usable: list[NodeReport], reached: _Reached, *, weaker: bool) -> Check:
    """Whether sessions get no-new-privileges: by a service from API 1.44 on, by manager and node."""
    title = "no-new-privileges"
    old = [item.node.hostname for item in usable if not _has_api(reached.engines.get(item.node.id), item)]
    if not _is_new(engine.traits.api_version):
        seen, hint = "the manager's engine is older than Docker 25", "update it"
    elif old:
        seen, hint = f"older than Docker 25: {_join(old)}", "update these, or keep sessions from them by --constraint"
    else:
        return checks.ok(title, "each node gives it to sessions")
    if weaker:
        seen = f"{seen}; the server is started by setpriv there, if the image has it"
        return checks.warning(title, seen, hint)
    refused = f"{seen}: a start there is refused"
    hint = f"{hint}, or give --swarm-weaker"
    is_part = len(old) < len(usable) and _is_new(engine.traits.api_version)
    return checks.warning(title, refused, hint) if is_part else checks.failed(title, refused, hint)


def _is_new(api_version: str) -> bool:
    return tuple(map(int, api_version.split("."))) >= (1, 44)


def _has_api(engine: Engine | None, item: NodeReport) -> bool:
    """Whether a node's engine speaks API 1.44; where it is not reached, by the version that the manager tells."""
    if engine is not None:
        return _is_new(engine.traits.api_version)
    found = re.match(r"([0-9]+)\.", item.node.engine_version)
    return found is not None and int(found[1]) >= 25


def _check_overlay(engine: SwarmEngine, name: str) -> Check:
    make = f"`docker network create --driver overlay --attachable {name}`, on a manager"
    found = engine.overlay(name)
    if found is None:
        return checks.failed("overlay", f"the swarm has no network {name}", make)
    if found.driver != "overlay":
        return checks.failed("overlay", f"{name} is a network of driver {found.driver}, of one node alone", make)
    if not found.attachable:
        hint = "make it anew with --attachable; services can use it, plain containers cannot"
        return checks.warning("overlay", f"no plain container can join {name}, a launcher's for example", hint)
    return checks.ok("overlay", f"{name}, attachable")


def _check_address(swarm: Swarm) -> Check:
    """How a session is reached, and by whom else."""
    title = "published port"
    if swarm.publish is not None:
        return checks.warning(title, "on all addresses of the node that the session is on", _GWBRIDGE)
    if swarm.network is None:
        hint = "give --swarm-network with this process in a container on it, or --swarm-publish all"
        return checks.failed(title, "none, and no overlay is named: nobody would reach a server", hint)
    return checks.ok(title, f"none; servers are reached over {swarm.network}")


def _join(names: Collection[str]) -> str:
    return ", ".join(names)

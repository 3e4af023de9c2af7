"""What cannot be asked for where sessions run in a swarm, and what to do instead; and the checks of a ``Swarm``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from jupyter_launcher.models import Mount, Swarm
from jupyter_launcher.models.options import show_value
from jupyter_launcher.spec.checks import check_flag, check_instance, check_network, check_text, refuse_option
from jupyter_launcher.spec.texts import check_constraints

__all__ = ["REFUSED_CALLS", "REFUSED_OPTIONS", "check_swarm", "refuse_call", "refuse_mounts", "refuse_options"]

REFUSED_OPTIONS: Mapping[str, str] = {
    "container_options": "leave it out: a swarm's services have other options",
    "gpus": "leave it out; a launcher for the node's own engine can give GPUs",
    "kernels": "leave it out: kernels in containers are made on one engine; gateway= takes a service's name",
    "host_ip": 'leave it out: with publish="all" a port is on all addresses of its node',
    "pipeline_relabel": "leave it out, and give the directory its label on each node",
}
"""An option of ``Launcher.start`` that a swarm cannot give → what to do."""

REFUSED_CALLS: Mapping[str, str] = {
    "pool": "start sessions when they are asked for; a launcher for one node's own engine can have a pool",
    "pause": "stop the session, and start it again",
    "resume": "nothing in a swarm is paused: get() finds a session again",
    "events": "ask Launcher.list(probe=False) again and again: a swarm tells nothing of its tasks",
    "start_gateway": "run the gateway as a service on the sessions' overlay network, and give start its name",
    "stop_gateway": "`docker service rm` ends a gateway that is a service",
    "run_gateway": "run the gateway as a service on the sessions' overlay network, and give start its name",
}
"""A method of ``Launcher`` that a swarm cannot do → what to do."""

_PUBLISHING = ("host_port", "ports")


def check_swarm(swarm: object) -> Swarm:
    """What a launcher was given as ``swarm``, with its constraints in their plain form.

    Raises:
        OptionError: naming what cannot be.
    """
    given = check_instance(swarm, Swarm, "swarm")
    engines: object = given.engines
    if isinstance(engines, Mapping):
        for text in (*engines, *(address for address in engines.values() if address is not None)):
            check_text(text, "swarm.engines")
    elif engines is not None and not callable(engines):
        seen = f"has engines={show_value(engines)}"
        refuse_option("swarm", seen, "give a mapping of hostnames to addresses, or a function of a SwarmNode")
    if given.publish not in (None, "all"):
        refuse_option("swarm", f"has publish={show_value(given.publish)}", 'give "all" or None')
    check_network(given.network, "swarm.network")
    check_flag(given.weaker, "swarm.weaker")
    return replace(given, constraints=check_constraints(given.constraints, "swarm.constraints"))


def refuse_options(options: Mapping[str, Any], swarm: Swarm) -> None:
    """Refuse the options of a start that a swarm cannot give.

    Raises:
        OptionError: naming the first of them.
    """
    for name, instead in REFUSED_OPTIONS.items():
        if options.get(name) not in (None, {}, ()):
            refuse_option(name, "cannot be given in a swarm", instead)
    for name in _PUBLISHING if swarm.publish is None else ():
        if options.get(name):
            seen = "cannot be given with a swarm that publishes no port"
            refuse_option(name, seen, 'give Swarm(publish="all"), or use the session\'s address on the overlay network')


def refuse_mounts(mounts: Iterable[Mount]) -> None:
    """Refuse mounts that a swarm cannot make.

    Raises:
        OptionError: it names the target of the first of them.
    """
    for mount in mounts:
        if mount.relabel is not None:
            seen = f"has {mount.target} with relabel, which a swarm cannot do"
            refuse_option("mounts", seen, "leave relabel out, and give the source its label on each node")


def refuse_call(name: str) -> None:
    """Refuse a method that a swarm cannot do.

    Raises:
        OptionError: it names the method.
    """
    refuse_option(name, "cannot be done in a swarm", REFUSED_CALLS[name])

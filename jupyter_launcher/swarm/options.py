"""What cannot be asked for where sessions run in a swarm, and what to do instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_launcher.models import Mount, Swarm
from jupyter_launcher.spec.checks import refuse_option

__all__ = ["REFUSED_CALLS", "REFUSED_OPTIONS", "refuse_call", "refuse_mounts", "refuse_options"]

REFUSED_OPTIONS: Mapping[str, str] = {
    "container_options": "leave it out: a swarm's services have other options",
    "gpus": "leave it out; a launcher for the node's own engine can give GPUs",
    "host_ip": 'leave it out: with publish="all" a port is on all addresses of its node',
    "pipeline_relabel": "leave it out, and give the directory its label on each node",
}
"""An option of ``Launcher.start`` that a swarm cannot give → what to do."""

REFUSED_CALLS: Mapping[str, str] = {
    "pool": "start sessions when they are asked for; a launcher for one node's own engine can have a pool",
    "pause": "stop the session, and start it again",
    "resume": "nothing in a swarm is paused: get() finds a session again",
    "events": "ask Launcher.list(probe=False) again and again: a swarm tells nothing of its tasks",
    "run_gateway": "run the gateway as a service on the sessions' overlay network, and give start its name",
}
"""A method of ``Launcher`` that a swarm cannot do → what to do."""

_PUBLISHING = ("host_port", "ports")


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

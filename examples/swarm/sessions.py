"""Sessions on the machines of a Docker swarm, in two ways.

    sessions.py swarm DIRECTORY [--constraint node.labels.pipelines==yes] [--gateway NAME --network NAME]
    sessions.py nodes DIRECTORY --node node2=tcp://10.0.0.2:2376 --node node3=... [--gateway NAME --network NAME]

With ``swarm``, a session is a service, and the swarm chooses its node: the engine of this environment (DOCKER_HOST) is
a manager. With ``nodes``, there is a launcher for the engine of each node, sessions are plain containers, and this
program chooses. In both, the directory is there on the nodes, and a gateway is a service on an attachable overlay.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from typing import Any

from jupyter_launcher import Event, EventKind, Launcher, Session, SessionNotFoundError, Swarm

CODE = "import socket; print('this kernel runs in', socket.gethostname())"


def show(event: Event) -> None:
    """What works, but not as it was asked for."""
    if event.kind is EventKind.WARNING:
        print("warning:", event.detail, flush=True)


def start_in_swarm(directory: str, swarm: Swarm, **options: Any) -> None:
    """Start a session wherever the swarm places it, find it from another launcher, and use it."""
    with Launcher(swarm=swarm, on_event=show) as launcher:
        launcher.start(directory, session_id="pipeline-7", lease=600, **options)
    with Launcher(swarm=swarm) as launcher:  # perhaps in another process
        session = launcher.get("pipeline-7")
        try:
            print(session.execute(CODE).text.strip(), "on node", session.node, flush=True)
            for item in launcher.list():
                print(item.session_id, item.state.value, item.node, flush=True)
        finally:
            session.stop()


def start_on_node(directory: str, nodes: Mapping[str, str], **options: Any) -> None:
    """Start a session on the node with the fewest, find it again, and use it."""
    with contextlib.ExitStack() as stack:
        launchers = {
            name: stack.enter_context(Launcher(docker_host=address, on_event=show)) for name, address in nodes.items()
        }
        chosen = min(launchers, key=lambda name: len(launchers[name].ids()))
        launchers[chosen].start(directory, session_id="pipeline-7", lease=600, **options)
        name, session = find(launchers, "pipeline-7")
        try:
            print(session.execute(CODE).text.strip(), "on node", name, flush=True)
        finally:
            session.stop()


def find(launchers: Mapping[str, Launcher], session_id: str) -> tuple[str, Session]:
    """The session, and the node that it is on: each engine knows its own sessions alone."""
    for name, launcher in launchers.items():
        with contextlib.suppress(SessionNotFoundError):
            return name, launcher.get(session_id)
    msg = f"no node has a session {session_id}"
    raise LookupError(msg)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=["swarm", "nodes"])
    parser.add_argument("directory", help="its path on the nodes")
    parser.add_argument("--constraint", dest="constraints", action="append", default=[], metavar="EXPRESSION")
    parser.add_argument("--weaker", action="store_true", help="nodes before Docker 25 too")
    parser.add_argument("--node", dest="nodes", action="append", default=[], metavar="NAME=ADDRESS")
    parser.add_argument("--user", help="uid:gid; else the owner of the directory, which a service looks for")
    parser.add_argument("--gateway", metavar="NAME")
    parser.add_argument("--network", metavar="NAME", help="an attachable overlay, with the gateway on it")
    given = parser.parse_args()
    options = {"user": given.user}
    if given.way == "swarm":
        swarm = Swarm(publish="all", network=given.network, constraints=tuple(given.constraints), weaker=given.weaker)
        start_in_swarm(given.directory, swarm, gateway=given.gateway, **options)
    else:
        # To a container, the service is a name of the overlay.
        gateway = f"http://{given.gateway}:8888" if given.gateway else None
        nodes = dict(item.split("=", 1) for item in given.nodes)
        start_on_node(given.directory, nodes, gateway=gateway, network=given.network, **options)


if __name__ == "__main__":
    main()

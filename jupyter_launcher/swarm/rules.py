"""``SwarmRules``: what is different in an act on sessions where these are in a swarm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jupyter_launcher.engine.protocol import NodesEngine
from jupyter_launcher.engine.swarm.shapes import service_name
from jupyter_launcher.models import Mount, Swarm
from jupyter_launcher.spec.checks import refuse_option
from jupyter_launcher.spec.plan import SessionPlan
from jupyter_launcher.spec.server import RUN_DIR, read_script
from jupyter_launcher.swarm.options import refuse_call, refuse_mounts, refuse_options

__all__ = ["SwarmRules"]

_PRIVILEGES_API = (1, 44)
"""The first version of the API in which a service can have ``no-new-privileges``: Docker 25's."""
_EXECUTABLE_API = (1, 46)
"""The first version of the API in which files in a service's ``tmpfs`` can be run: Docker 27.0's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmRules:
    """What is different in an act on sessions where these are in a swarm.

    Attributes:
        swarm: as the caller described it.
        engine: of that swarm.
    """

    swarm: Swarm
    engine: NodesEngine

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse a start that the swarm cannot make as it was asked for, by the options as the caller gave them.

        Raises:
            OptionError: an option cannot be given, or nothing keeps a session from getting new privileges.
        """
        refuse_options(options, self.swarm)
        version = self.engine.traits.api_version
        if not self.swarm.weaker and () < _parse_version(version) < _PRIVILEGES_API:  # else the start looks
            seen = f"cannot be done as it should: the manager's API {version} gives no service no-new-privileges"
            hint = "use Docker 25 or newer on all nodes, or accept that: Swarm(weaker=True)"
            refuse_option("swarm", seen, hint)

    def check_mounts(self, mounts: Iterable[Mount]) -> None:
        """Refuse mounts that the swarm cannot make.

        Raises:
            OptionError: it names the target of one.
        """
        refuse_mounts(mounts)

    def refuse_call(self, name: str) -> None:
        """Refuse a method that a swarm cannot do.

        Raises:
            OptionError: it names the method.
        """
        refuse_call(name)

    def removal(self, name: str) -> str:
        """The command that removes the service that stands for a container of this name, for a hint."""
        return f"`docker service rm {service_name(name)}`"

    def adapt(self, planned: SessionPlan) -> SessionPlan:
        """A plan as the swarm makes it: without a port that nobody may reach, and with a look at the privileges."""
        container = planned.container if self.swarm.publish else replace(planned.container, container_port=None)
        script = read_script("no_new_privileges.sh")
        prefix = ("sh", "-c", script, "privileges", "weaker" if self.swarm.weaker else "")
        return replace(planned, container=container, prefix=prefix)

    def find_warnings(self, planned: SessionPlan) -> Iterator[str]:
        """What a session in a swarm has, but not as on one engine."""
        if any(item.uid is not None for item in planned.container.tmpfs):
            yield (
                f"in a swarm, {RUN_DIR} has mode 1777 and is root's: what the session keeps there is its user's alone "
                "by the modes of the files"
            )
        programs = [item.target for item in planned.container.tmpfs if item.executable]
        if programs and () < _parse_version(self.engine.traits.api_version) < _EXECUTABLE_API:
            yield f"in this swarm, nothing in {', '.join(programs)} can be run: that needs Docker 27 or newer"


def _parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())

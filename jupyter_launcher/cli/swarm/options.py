"""The global options that describe a swarm, and the ``Swarm`` that they make."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal

import click

from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Swarm
from jupyter_launcher.models.options import show_value

__all__ = ["SwarmWords", "swarm_options"]

_FLAGS = {
    "swarm_network": "--swarm-network",
    "swarm_publish": "--swarm-publish",
    "swarm_engines": "--swarm-engine",
    "swarm_weaker": "--swarm-weaker",
}


def swarm_options(given: dict[str, Any]) -> list[click.Option]:
    """The options; ``given``: what all global options have in common."""
    return [
        click.Option(
            ["--swarm"], is_flag=True, help="Sessions are services of a swarm; the engine is a manager.", **given
        ),
        click.Option(["--swarm-network"], metavar="NAME", help="An attachable overlay that sessions join.", **given),
        click.Option(
            ["--swarm-publish"],
            type=click.Choice(["all"]),
            help="Publish on all addresses of the node that a session is on.",
            **given,
        ),
        click.Option(
            ["--swarm-engine", "swarm_engines"],
            metavar="HOST=ADDRESS",
            multiple=True,
            help="Where a node's own engine is; may be given more than once.",
            **given,
        ),
        click.Option(
            ["--swarm-weaker"], is_flag=True, help="Also use nodes without no-new-privileges for services.", **given
        ),
    ]


@dataclass
class SwarmWords:
    """What was given of these options, wherever it stood on the command line."""

    swarm: bool = False
    swarm_network: str | None = None
    swarm_publish: Literal["all"] | None = None
    swarm_engines: tuple[str, ...] = ()
    swarm_weaker: bool = False

    def make(self) -> Swarm | None:
        """The swarm; None: ``--swarm`` was not given.

        Raises:
            OptionError: an option needs ``--swarm``, or the address of an engine cannot be read.
        """
        if not self.swarm:
            for name, flag in _FLAGS.items():
                if getattr(self, name):
                    msg = f"{flag} is given without --swarm"
                    raise OptionError(msg, hint="give --swarm too", option=name)
            return None
        return Swarm(
            engines=self._read_engines() or None,
            network=self.swarm_network,
            publish=self.swarm_publish,
            weaker=self.swarm_weaker,
        )

    def _read_engines(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for word in self.swarm_engines:
            host, equals, address = word.partition("=")
            if not (host and equals and address):
                msg = f"--swarm-engine is {show_value(word)}"
                raise OptionError(msg, hint="give HOST=ADDRESS, such as node2=tcp://10.0.0.2:2376", option="engines")
            if found.setdefault(host, address) != address:
                msg = f"--swarm-engine has {show_value(host)} twice"
                raise OptionError(msg, hint="give each node once", option="engines")
        return found

    @property
    def line(self) -> list[str]:
        """The words of the command line that say the same."""
        if not self.swarm:
            return []
        return [
            "--swarm",
            *([f"--swarm-network {shlex.quote(self.swarm_network)}"] if self.swarm_network else []),
            *([f"--swarm-publish {self.swarm_publish}"] if self.swarm_publish else []),
            *(f"--swarm-engine {shlex.quote(word)}" for word in self.swarm_engines),
            *(["--swarm-weaker"] if self.swarm_weaker else []),
        ]

"""What every act on sessions needs: ``Context``."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models import BuildOptions, Phase, Timeouts
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.waiting import Deadline

__all__ = ["Context"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One launcher's settings, as the acts on its sessions need them.

    Attributes:
        engine: where the sessions are.
        address: how this process reaches the engine's containers.
        namespace, owner: of the launcher.
        build: what a build of an image needs here.
        timeouts: of the launcher, or of one start.
        reporter: of events.
        rules: which directories may be mounted.
    """

    engine: Engine
    address: EngineAddress
    namespace: str
    owner: str
    build: BuildOptions
    timeouts: Timeouts
    reporter: PhaseReporter
    rules: DirectoryRules

    def ensure_image(self, image: str, pull: str, reporter: PhaseReporter) -> None:
        """Have an image on the engine: ours are built, others pulled."""
        with reporter.phase(Phase.IMAGE) as progress:
            self.engine.images.ensure(image, pull, self.build, Deadline(self.timeouts.image), progress)

    def server_url(self, info: ContainerInfo | ListedContainer, labels: SessionLabels) -> str:
        """A session's server as this process reaches it."""
        return self.address.server_url(info, labels.host_ip, labels.base_url)

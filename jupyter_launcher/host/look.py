"""A look at the engine's host from a short-lived container: what such a container printed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.errors import EngineError, PipelineDirError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.models import Volume
from jupyter_launcher.spec.container import look_config, volume_config
from jupyter_launcher.spec.labels import helper_labels, helper_name
from jupyter_launcher.waiting import Deadline

__all__ = ["Look", "SeenDirectory", "run_look"]

_LOOK_SECONDS = 30.0
_SEEN = re.compile(r"directory (?P<identity>[0-9]+:[0-9]+) (?P<uid>[0-9]+):(?P<gid>[0-9]+)")


def run_look(engine: Engine, config: ContainerConfig) -> str:
    """Run a container to its end, and return what it printed.

    Raises:
        EngineError: with status 400 or 404 where one of its mounts has no source.
    """
    config = replace(config, labels={**config.labels, **helper_labels("look", process_mark())})
    with engine.temporary(config, helper_name("look", uuid.uuid4().hex)) as container:
        engine.wait(container, Deadline(_LOOK_SECONDS))
        return engine.logs(container).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDirectory:
    """A directory of the engine's host, as a container sees it.

    Attributes:
        identity: ``<device>:<inode>``.
        ids: the uid and the gid of its owner; 65534 is also what is seen of one that the engine's user namespace does
            not have.
    """

    identity: str
    ids: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Looks at directories of the engine's host, each from a short-lived container.

    Attributes:
        engine: on whose host they are.
        address: how this process sees that engine.
        image: of the container; or what finds it when one is to look.
    """

    engine: Engine
    address: EngineAddress
    image: str | Callable[[], str]

    def look_at(self, path: Path) -> SeenDirectory:
        """What is at a path.

        Raises:
            PipelineDirError: it cannot be mounted, or is no directory.
            EngineError: the engine does not answer, or has no such image.
        """
        seen = self._run(lambda image: look_config(path, image), str(path))
        if not isinstance(seen, SeenDirectory):
            msg = f"pipeline dir {path} is no directory on {self.address.place}, but {seen!r}"
            raise PipelineDirError(msg, hint="give another", path=str(path))
        return seen

    def prepare_volume(self, volume: Volume, owner: str) -> SeenDirectory:
        """Give a volume that nobody has used to an owner, and look at it. The engine makes one that is not there.

        Raises:
            PipelineDirError: it cannot be mounted, or it cannot be given to that owner.
            EngineError: the engine does not answer, or has no such image.
        """
        seen = self._run(lambda image: volume_config(volume, owner, image), str(volume))
        if not isinstance(seen, SeenDirectory):
            msg = f"{volume} could not be given to {owner} on {self.address.place}: {seen!r}"
            hint = "give it to a user yourself, or start with user=, who may be a number too"
            raise PipelineDirError(msg, hint=hint, path=str(volume))
        return seen

    def _run(self, config: Callable[[str], ContainerConfig], what: str) -> SeenDirectory | str:
        """What a container of the image saw; a text where it saw no directory."""
        image = self.image if isinstance(self.image, str) else self.image()
        try:
            seen = run_look(self.engine, config(image))
        except EngineError as error:
            if "executable file not found" in error.message:
                msg = f"image {image} has no `stat` or no `sh`, by which a container tells whose {what} is"
                raise EngineError(msg, hint="use an image that has them", status=error.status) from error
            if error.status not in (400, 404) or self.engine.images.find(image) is None:
                raise
            msg = f"pipeline dir {what} cannot be mounted on {self.address.place}: {error.message}"
            raise PipelineDirError(msg, hint="create it there first", path=what) from error
        found = _SEEN.fullmatch(seen)
        if found is None:
            return seen
        return SeenDirectory(identity=found["identity"], ids=(int(found["uid"]), int(found["gid"])))

    def find_ids(self, path: Path, ids: tuple[int, int], identity: str | None) -> tuple[int, int]:
        """What containers see of the owner of a directory, whose ids this process sees.

        One look for each owner: a launcher remembers what an engine makes of ids.

        Args:
            path: of the directory, on the engine's host.
            ids: of its owner, as this process sees them.
            identity: ``<device>:<inode>`` as this process sees it; None: containers see others.

        Raises:
            PipelineDirError: as ``look_at``, or the container has seen another directory.
            EngineError: as ``look_at``.
        """
        known = self.address.ids_inside
        if ids not in known:
            seen = self.look_at(path)
            if identity not in (None, seen.identity):
                msg = f"pipeline dir {path} is not the directory that a container sees there"
                hint = "start again; if that gives the same, see who moves or links directories on this path"
                raise PipelineDirError(msg, hint=hint, path=str(path))
            known[ids] = seen.ids
        return known[ids]

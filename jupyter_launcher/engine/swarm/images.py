"""The images of a swarm: those of the manager's engine, which every node that may run them has to have too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.images import OWN_NAMES
from jupyter_launcher.engine.protocol import Images, Progress
from jupyter_launcher.engine.swarm.nodes import is_sure, matches
from jupyter_launcher.engine.swarm.refusals import describe_missing_image
from jupyter_launcher.engine.types import ImageInfo
from jupyter_launcher.errors import EngineError, ImageNotFoundError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.models import BuildOptions, SwarmNode
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline

__all__ = ["ImageMemory", "SwarmImages"]

_log = logging.getLogger("jupyter_launcher")

_AT_ONCE = 16
_MOST_KNOWN = 65536


class _Seen:
    """What one process has seen: which node has which image."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pairs: set[tuple[str, str]] = set()


class _Look(NamedTuple):
    """What was seen of one node."""

    has: bool | None
    """Whether it has the image; None: its engine cannot be asked."""
    why: str = ""
    """Why it cannot pull it."""


class ImageMemory:
    """Which nodes have which images, by their ids, so that a start does not ask every node each time."""

    def __init__(self) -> None:
        self._seen = PerProcess(_Seen)

    def has(self, node: str, image_id: str) -> bool:
        """Whether a node was seen to have an image."""
        return (node, image_id) in self._seen.get().pairs

    def remember(self, node: str, image_id: str) -> None:
        """A node has an image."""
        seen = self._seen.get()
        with seen.lock:
            if len(seen.pairs) >= _MOST_KNOWN:
                seen.pairs.clear()
            seen.pairs.add((node, image_id))

    def forget(self, node: str, image_id: str) -> None:
        """A node was seen not to have it."""
        seen = self._seen.get()
        with seen.lock:
            seen.pairs.discard((node, image_id))


class SwarmImages:
    """The images of a swarm: what :class:`~jupyter_launcher.engine.protocol.Images` says.

    Args:
        manager: where images are looked up, built and pulled.
        nodes: all nodes of the swarm, as they are now.
        engine_of: a node's engine.
        memory: of all engines of the same swarm.
        constraints: of what is created.
    """

    def __init__(
        self,
        manager: DockerEngine,
        nodes: Callable[[], Sequence[SwarmNode]],
        engine_of: Callable[[SwarmNode], DockerEngine],
        memory: ImageMemory,
        constraints: tuple[str, ...],
    ) -> None:
        self._manager = manager
        self._images: Images = manager.images
        self._nodes = nodes
        self._constraints = constraints
        self._engine_of = engine_of
        self._memory = memory

    def find(self, image: str) -> str | None:
        """The id of an image on the manager; None when that has none of this name."""
        return self._images.find(image)

    def inspect(self, image: str) -> ImageInfo | None:
        """An image of the manager by its name; None when that has none of this name."""
        return self._images.inspect(image)

    def build(
        self,
        name: str,
        tag: str,
        options: BuildOptions,
        deadline: Deadline,
        on_progress: Progress,
        *,
        force: bool = False,
    ) -> None:
        """Build one of our images on the manager; see the protocol."""
        self._images.build(name, tag, options, deadline, on_progress, force=force)

    def ensure(self, image: str, pull: str, options: BuildOptions, deadline: Deadline, on_progress: Progress) -> None:
        """See that the manager has an image, and then that every node has the same one that may get a session.

        A node that has not got it pulls it by its digest, where it came from a registry. A node whose engine cannot be
        asked is left out: a session that is placed there says why.

        Raises:
            OptionError: ``pull`` is none of ``missing``, ``always``, ``never``.
            ImageNotFoundError, ImageBuildError: the manager has not got it, and it could not be had; or the nodes that
                are named have not got it.
        """
        self._images.ensure(image, pull, options, deadline, on_progress)
        image_id = self.find(image)
        if image_id is None:
            return  # somebody has removed it; what is made of it says so
        nodes = [
            node
            for node in self._nodes()
            if node.is_ready
            and node.availability == "active"
            and matches(node, self._constraints)
            and (pull == "always" or not self._memory.has(node.id, image_id))
        ]
        if not nodes:
            return
        digest = None if pull == "never" else self._find_digest(image)

        def look(node: SwarmNode) -> _Look:
            return self._look(node, image_id, digest, options, deadline)

        found = map_at_once(look, nodes, threads=_AT_ONCE)
        lacking = [(node, seen.why) for node, seen in zip(nodes, found, strict=True) if seen.has is False]
        # Where nobody can judge whether a node fits, the swarm does, and the start says what is missing.
        sure = {node.hostname: why for node, why in lacking if is_sure(node, self._constraints)}
        if sure:
            raise describe_missing_image(image, sure, next(filter(None, sure.values()), ""))
        for node, _ in lacking:
            _log.info("node %s has not got image %s, and may be excluded by the constraints", node.hostname, image)

    def _look(
        self,
        node: SwarmNode,
        image_id: str,
        digest: str | None,
        options: BuildOptions,
        deadline: Deadline,
    ) -> _Look:
        """Whether a node has an image, or has pulled it now."""
        try:
            images = self._engine_of(node).images
            found = images.find(image_id)
            if found is None and digest is not None:
                images.ensure(digest, "missing", options, deadline, _report_nothing)
                found = images.find(image_id)
        except ImageNotFoundError as error:
            _log.warning("node %s cannot pull %s: %s", node.hostname, digest, error)
            return _Look(has=False, why=error.message)
        except EngineError as error:
            _log.warning("nobody could see whether node %s has the image: %s", node.hostname, error)
            return _Look(has=None)
        if found is not None:
            self._memory.remember(node.id, image_id)
        return _Look(has=found is not None)

    def _find_digest(self, image: str) -> str | None:
        """The image as a registry has it, ``NAME@sha256:...``; None: it is from none."""
        found = None if image.startswith(OWN_NAMES) else self.inspect(image)
        if found is None:
            return None
        # One image may be in several registries. The nodes are to ask the one that it was named for.
        path, slash, last = image.partition("@")[0].rpartition("/")
        own = f"{path}{slash}{last.partition(':')[0]}@"
        return min(found.digests, key=lambda digest: not digest.startswith(own), default=None)


def _report_nothing(detail: str, done: int = 0, total: int = 0) -> None:
    """Many nodes pull at once, and nobody could follow them."""

"""A look at the engine's host from a short-lived container: what such a container printed."""

from __future__ import annotations

import uuid
from dataclasses import replace

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.spec.labels import helper_labels, helper_name
from jupyter_launcher.waiting import Deadline

__all__ = ["run_look"]

_LOOK_SECONDS = 30.0


def run_look(engine: Engine, config: ContainerConfig) -> str:
    """Run a container to its end, and return what it printed.

    Raises:
        EngineError: with status 400 or 404 where one of its mounts has no source.
    """
    config = replace(config, labels={**config.labels, **helper_labels("look", process_mark())})
    with engine.temporary(config, helper_name("look", uuid.uuid4().hex)) as container:
        engine.wait(container, Deadline(_LOOK_SECONDS))
        return engine.logs(container).strip()

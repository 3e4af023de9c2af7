"""A container that lasts as long as a block."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from jupyter_launcher.acts import leaves, run_act, shielded
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.errors import EngineError

__all__ = ["run_temporary"]


@contextlib.contextmanager
def run_temporary(
    engine: Engine, config: ContainerConfig, name: str, *, wait: Callable[[], object], keep: Callable[[], bool]
) -> Iterator[str]:
    """Create and start a container, yield its id, and remove it at the end, as the protocol's ``temporary`` says.

    A removal that the engine refuses, or whose answer is lost, is tried once more.
    """
    process = os.getpid()

    def make() -> str:
        target = name  # until its id is known
        try:
            with leaves(f"container {name}"):
                target = engine.create(config, name)
                engine.start(target)
                wait()
        except BaseException:
            remove(target)
            raise
        return target

    def remove(target: str) -> None:
        with shielded(), leaves(f"container {name}"):
            try:
                engine.remove(target)
            except EngineError:  # nobody else removes it while this process lives: reap leaves it to its maker
                engine.remove(target)

    # Acts, so that an interrupt neither parts the create from its answer nor ends the removal.
    target = run_act(make, undo=remove)
    try:
        yield target
    finally:
        if os.getpid() == process and not keep():  # a fork that leaves the block ends nothing
            run_act(lambda: remove(target))

"""This library."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.candidate import Setting, Start, Started


def session(setting: Setting, *, gateway: str | None = None, image: str | None = None) -> Start:
    def start() -> Started:
        made = setting.launcher.start(setting.folder, gateway=gateway, image=image)
        return Started(
            url=made.url,
            token=made.server_info.token,
            stop=made.stop,
            phases=dataclasses.asdict(made.timings),
        )

    return start


@contextlib.contextmanager
def warm(setting: Setting) -> Iterator[tuple[Start, Callable[[], object]] | None]:
    """From a pool of one; and what waits until that is full. None where the library has no pool."""
    make: Any = getattr(setting.launcher, "pool", None)
    if make is None:
        yield None
        return
    with make(size=1, user=setting.user) as pool:

        def start() -> Started:
            made = pool.start(setting.folder)
            return Started(url=made.url, token=made.server_info.token, stop=made.stop)

        yield start, lambda: pool.wait(60.0)

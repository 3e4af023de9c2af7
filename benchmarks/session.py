"""This library."""

from __future__ import annotations

import dataclasses

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

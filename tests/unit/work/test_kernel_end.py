"""A kernel that was started here is ended, whatever happens meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.work import server as server_module
from jupyter_launcher.work.kernels import Kernel
from tests.unit.work.jupyter import Channel, FakeKernel, place_of


class Restarts(dict[str, Any]):
    """What the server answers while it starts a kernel anew: it cannot end it, for so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def get(self, asked: str, default: Any = None) -> Any:
        if asked.startswith("DELETE") and self.left:
            self.left -= 1
            return 500, {"message": "Unhandled error"}
        return default


def deletes(jupyter: FakeKernel) -> list[str]:
    return [asked for asked in jupyter.asked if asked.startswith("DELETE")]


def test_one_that_the_server_starts_anew_is_ended_after_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_PAUSE", 0.01)
    jupyter = FakeKernel()
    jupyter.answers = Restarts(2)
    with jupyter.serve() as url, Kernel(place_of(url), name=None, path=None, kernel_id=None):
        pass
    assert deletes(jupyter) == [f"DELETE /api/kernels/{jupyter.id}"] * 3


def test_it_is_ended_when_its_act_is_cancelled() -> None:
    class StoppedError(Exception):
        pass

    stop = threading.Event()

    def on_code(channel: Channel, request: str, code: str) -> None:
        stop.set()

    jupyter = FakeKernel(on_code)

    def work() -> None:
        with Kernel(place_of(url), name=None, path=None, kernel_id=None) as kernel:
            kernel.execute("while True: pass")

    with jupyter.serve() as url, pytest.raises(StoppedError):
        run_act(work, cancel=Cancel(stop, StoppedError))
    assert deletes(jupyter) == [f"DELETE /api/kernels/{jupyter.id}"]

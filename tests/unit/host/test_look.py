"""A short-lived container that looks, and what it printed."""

from __future__ import annotations

import pytest

from jupyter_launcher import EngineError
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.host.look import run_look
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.spec.labels import helper_labels
from tests.unit.fakes import FakeEngine, refusal


def test_what_it_printed_when_it_had_ended() -> None:
    engine = FakeEngine()
    engine.log = "\nseen\n"
    engine.on_wait = engine.end
    assert run_look(engine, ContainerConfig(image="image")) == "seen"
    calls = [call for call, _ in engine.calls if call in ("start", "wait", "logs", "remove")]
    assert calls == ["start", "wait", "logs", "remove"]
    assert engine.known == {}


@pytest.mark.parametrize("call", ["start", "wait", "logs"])
def test_nothing_is_left_of_a_look_that_fails(call: str) -> None:
    engine = FakeEngine()
    engine.fail(call, refusal(500))
    with pytest.raises(EngineError):
        run_look(engine, ContainerConfig(image="image"))
    assert engine.known == {}


def test_a_look_carries_the_mark_of_its_process() -> None:
    engine = FakeEngine()
    engine.on_wait = engine.end
    run_look(engine, ContainerConfig(image="image", labels={"a": "b"}))
    (config,) = engine.configs.values()
    assert config.labels == {"a": "b", **helper_labels("look", process_mark())}

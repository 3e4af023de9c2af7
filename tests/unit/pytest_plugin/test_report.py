"""What a failed test shows of containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_launcher import EngineUnavailableError, Gateway
from jupyter_launcher.host import address
from jupyter_launcher.pytest_plugin.report import describe_container, describe_namespace
from jupyter_launcher.spec.kernels.labels import broker_name, part_labels
from jupyter_launcher.spec.labels import gateway_labels
from tests.unit.fakes import FakeEngine, container, refusal, session_info, session_labels


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: "")


def test_a_container_in_words() -> None:
    engine = FakeEngine(
        container(
            state="exited",
            exit_code=137,
            oom_killed=True,
            error="killed",
            networks={"a": "10.0.0.1", "b": ""},
            ports={"8888/tcp": (1, 2), "9/tcp": ()},
        )
    )
    assert describe_container(engine, "some-container", log_lines=5).splitlines() == [
        "container some-container (cccccccccccc) of image image",
        "state: exited, exit code 137, out of memory: yes, error: killed",
        "networks: a 10.0.0.1, b (no address)",
        "ports: 8888/tcp -> 1 2, 9/tcp -> not published",
        "the last lines of its log, up to 5:",
        "the log",
    ]


def test_a_session_has_its_url_and_no_token() -> None:
    text = describe_container(FakeEngine(session_info()), "jupyter-server.unit.one", log_lines=5)
    assert "url: http://127.0.0.1:49153/" in text.splitlines()
    assert "token" not in text


def test_a_session_without_a_port_has_no_url() -> None:
    text = describe_container(FakeEngine(session_info(ports={})), "jupyter-server.unit.one", log_lines=5)
    assert "url:" not in text
    assert "ports: none" in text


@pytest.mark.parametrize("log", ["", "\n"])
def test_an_empty_log_is_said_to_be(log: str) -> None:
    engine = FakeEngine(container(networks={}))
    engine.log = log
    lines = describe_container(engine, "some-container", log_lines=5).splitlines()
    assert lines[-1] == "(it is empty)"
    assert "networks: none" in lines


def test_a_container_that_is_gone() -> None:
    assert describe_container(FakeEngine(), "x", log_lines=5) == "container x: gone"


def test_an_engine_that_does_not_answer_is_part_of_the_text() -> None:
    engine = FakeEngine()
    engine.fail("inspect", EngineUnavailableError("gone", hint="look"))
    assert describe_container(engine, "x", log_lines=5) == "container x is not known: gone; look"


def titles(found: Iterator[tuple[str, str]]) -> list[str]:
    return [title for title, _ in found]


def test_a_namespace_is_its_sessions_and_the_gateways_that_they_use() -> None:
    labels = session_labels(Gateway(name="gw", url="http://x", container_id="9" * 64))
    engine = FakeEngine(
        session_info(labels),
        container(id="9" * 64, name="gw"),
        container(id="8" * 64, name="ours", labels=gateway_labels("unit", "me", "mark")),
        container(id="7" * 64, name="others", labels=gateway_labels("other", "me", "mark")),
    )
    found = list(describe_namespace(engine, "unit", log_lines=5))
    assert titles(iter(found)) == ["jupyter session one", "jupyter gateway", "jupyter gateway"]
    assert [text.splitlines()[0].split()[1] for _, text in found] == ["jupyter-server.unit.one", "ours", "gw"]


def test_the_parts_of_gateways_are_shown_too() -> None:
    name = broker_name("unit", "team")
    engine = FakeEngine(container(name=name, labels=part_labels("broker", "unit", "me", "start")))
    ((title, text),) = describe_namespace(engine, "unit", log_lines=5)
    assert (title, name in text) == ("jupyter gateway: broker", True)


def test_a_container_that_cannot_be_read_is_said_to_be() -> None:
    labels = {"jupyter-launcher.namespace": "unit", "jupyter-launcher.session-id": "stray"}
    engine = FakeEngine(session_info(), container(id="5" * 64, name="stray", labels=labels))
    found = dict(describe_namespace(engine, "unit", log_lines=5))
    assert set(found) == {"jupyter session one", "jupyter session stray"}
    assert "cannot be read" in found["jupyter session stray"]


def test_a_namespace_that_cannot_be_listed() -> None:
    engine = FakeEngine()
    engine.fail("containers", refusal(500, "disk full"))
    assert list(describe_namespace(engine, "unit", log_lines=5)) == [
        ("jupyter sessions", "not known: disk full; see why")
    ]

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import GatewayError
from jupyter_launcher.gateway import resolve
from tests.unit.fakes import FakeEngine, container


@pytest.mark.parametrize(
    ("gateway", "changes", "network", "url"),
    [
        ("gw", {}, None, "http://172.17.0.9:8888"),
        ("gw:9000", {}, None, "http://172.17.0.9:9000"),
        ("gw", {"networks": {"a": "10.1.0.2", "b": "10.2.0.2"}}, "b", "http://10.2.0.2:8888"),
        ("gw", {"networks": {"a": "10.1.0.2", "never-joined": ""}}, None, "http://10.1.0.2:8888"),
        ("gw", {"networks": {"six": "fd00::2"}}, None, "http://[fd00::2]:8888"),
    ],
)
def test_a_containers_address(gateway: str, changes: Any, network: str | None, url: str) -> None:
    found = resolve(FakeEngine({"gw": container(**changes)}), gateway, network)
    assert found.url == url
    assert found.name == gateway
    assert found.network in {"bridge", "a", "b", "six"}


@pytest.mark.parametrize("gateway", ["", " ", "gw:", "gw:x", ":80", "gw:70000", "unix:///x", "http://h:x", "https://"])
def test_names_that_are_none(gateway: str) -> None:
    with pytest.raises(GatewayError) as caught:
        resolve(FakeEngine({"gw": container()}), gateway)
    assert caught.value.gateway == gateway


def test_a_url_is_taken_as_it_is() -> None:
    found = resolve(FakeEngine(), "https://gw.example:8443/base", "net")
    assert (found.url, found.network, found.container_id) == ("https://gw.example:8443/base", "net", None)

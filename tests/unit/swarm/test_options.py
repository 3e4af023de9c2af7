"""What a launcher is told of its swarm, and what cannot be asked for there."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from jupyter_launcher import Launcher, Mount, OptionError, Swarm
from jupyter_launcher.spec.texts import check_constraints
from jupyter_launcher.swarm.options import (
    REFUSED_CALLS,
    REFUSED_OPTIONS,
    check_swarm,
    refuse_call,
    refuse_mounts,
    refuse_options,
)

PUBLISHED = Swarm(publish="all")


def test_a_swarm_that_can_be() -> None:
    given = Swarm(engines={"node2": "tcp://node2:2376"}, constraints=("node.role == worker",), network="lab")
    assert check_swarm(given) == Swarm(
        engines={"node2": "tcp://node2:2376"}, constraints=("node.role==worker",), network="lab"
    )
    assert check_swarm(Swarm(engines=lambda node: node.address)).constraints == ()


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"engines": 5}, "engines=5"),
        ({"engines": {"node2": 5}}, "swarm.engines"),
        ({"publish": "none"}, "publish='none'"),
        ({"network": " "}, "swarm.network"),
        ({"weaker": 1}, "swarm.weaker"),
        ({"constraints": "node.role==worker"}, "swarm.constraints"),
    ],
)
def test_a_swarm_that_cannot_be(changes: dict[str, Any], seen: str) -> None:
    with pytest.raises(OptionError, match=seen):
        check_swarm(Swarm(**changes))


def test_what_is_no_swarm() -> None:
    with pytest.raises(OptionError, match="swarm is 'all'"):
        check_swarm("all")


@pytest.mark.parametrize(
    "text",
    [
        "node.hostname==node2",
        "node.labels.pipelines!=no",
        "engine.labels.com.example-kind == a b",
        "node.ip==10.0.0.0/8",
    ],
)
def test_constraints(text: str) -> None:
    assert check_constraints([text, text], "constraints") == (text.replace(" == ", "=="),)


@pytest.mark.parametrize(
    "text",
    ["", "node2", "node.hostname=node2", "hostname==node2", "node.labels.==x", "node.labels.a/b==1", "node.id==", 5],
)
def test_what_is_no_constraint(text: object) -> None:
    with pytest.raises(OptionError, match="constraints has") as caught:
        check_constraints([text], "constraints")
    assert caught.value.option == "constraints"


@pytest.mark.parametrize("given", ["node.role==worker", 5, {"node.role": "worker"}, ["node.role==worker"] * 101])
def test_what_is_no_list_of_constraints(given: object) -> None:
    with pytest.raises(OptionError, match="constraints is"):
        check_constraints(given, "constraints")


def test_what_is_refused_is_there_to_be_asked_for() -> None:
    assert set(REFUSED_OPTIONS) <= set(inspect.signature(Launcher.start).parameters)
    assert all(callable(getattr(Launcher, name)) for name in REFUSED_CALLS)


@pytest.mark.parametrize("name", REFUSED_OPTIONS)
def test_an_option_that_a_swarm_cannot_give(name: str) -> None:
    refuse_options({name: None}, PUBLISHED)
    with pytest.raises(OptionError, match=f"{name} cannot be given in a swarm") as caught:
        refuse_options({name: "x"}, PUBLISHED)
    assert (caught.value.option, caught.value.hint) == (name, REFUSED_OPTIONS[name])


@pytest.mark.parametrize(("name", "value"), [("host_port", 8000), ("ports", {6006: None})])
def test_no_port_is_published_unless_all_addresses_were_allowed(name: str, value: object) -> None:
    refuse_options({name: value}, PUBLISHED)
    with pytest.raises(OptionError, match=f"{name} cannot be given") as caught:
        refuse_options({name: value}, Swarm(network="lab"))
    assert 'publish="all"' in caught.value.hint


def test_mounts() -> None:
    mount = Mount(source="/data", target="/data", propagation="rslave")
    refuse_mounts([mount])
    with pytest.raises(OptionError, match="/data with relabel"):
        refuse_mounts([mount, Mount(source="/data", target="/data", relabel="z")])


@pytest.mark.parametrize("name", REFUSED_CALLS)
def test_a_call_that_a_swarm_cannot_do(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} cannot be done in a swarm") as caught:
        refuse_call(name)
    assert caught.value.hint == REFUSED_CALLS[name]

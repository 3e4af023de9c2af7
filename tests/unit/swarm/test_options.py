"""What cannot be asked for in a swarm."""

from __future__ import annotations

import inspect

import pytest

from jupyter_launcher import Launcher, Mount, OptionError, Swarm
from jupyter_launcher.spec.texts import check_constraints
from jupyter_launcher.swarm.options import (
    REFUSED_CALLS,
    REFUSED_OPTIONS,
    refuse_call,
    refuse_mounts,
    refuse_options,
)

PUBLISHED = Swarm(publish="all")


def test_constraints_are_in_one_order() -> None:
    one, other = "node.role==worker", "node.labels.pipelines != no"
    assert check_constraints([one, other, one], "constraints") == ("node.labels.pipelines!=no", one)
    assert check_constraints(None, "constraints") == ()


@pytest.mark.parametrize("given", ["node.role==worker", ["node2"], [5]])
def test_what_is_no_constraint(given: object) -> None:
    with pytest.raises(OptionError) as caught:
        check_constraints(given, "constraints")
    assert caught.value.option == "constraints"


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

"""Whose containers are those of dead test runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from jupyter_launcher import Launcher
from jupyter_launcher.host import process
from jupyter_launcher.pytest_plugin.owner import owner_id, reap_dead_runs
from jupyter_launcher.spec.kernels.labels import KERNEL_ID, GatewayLabels, agent_name, part_labels
from jupyter_launcher.spec.labels import SessionLabels, gateway_labels, warm_name
from tests.unit.fakes import FakeEngine, container, session_info, session_labels
from tests.unit.sdk import FakeApi, api_error, docker_engine, http_response, in_the_list, inspected

NOW = "Thu, 01 Jan 2026 00:00:00 GMT"
DAY = 86400
NOW_SECONDS = 1767225600
GATEWAY = "kernel-gateway.unit.0123456789ab"
KERNEL = "00000000-0000-4000-8000-000000000001"
GATEWAY_LABELS = {"jupyter-launcher.gateway-of": "unit"}


def dead_owner() -> str:
    """The mark of a process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    return ":".join(("pytest", *process._pid_space(), str(ended.pid), "1"))


def reaped(*items: dict[str, Any], **answers: Any) -> tuple[list[str], FakeApi]:
    """What is reaped of these containers, and what the engine was asked."""
    api = FakeApi(containers=list(items), get=lambda *_, **__: http_response(b"OK", headers={"Date": NOW}), **answers)
    engine = docker_engine(api)
    return reap_dead_runs(engine, lambda namespace: Launcher(client=engine.client, namespace=namespace)), api


def gateway(owned_by: str, **changes: Any) -> dict[str, Any]:
    labels = {**GATEWAY_LABELS, "jupyter-launcher.owner": owned_by}
    return in_the_list(**{"Names": [f"/{GATEWAY}"], "Labels": labels, **changes})


def test_the_mark_names_this_process() -> None:
    kind, boot, namespace, pid, started = owner_id().split(":")
    assert (kind, pid) == ("pytest", str(os.getpid()))
    assert (boot, namespace) == process._pid_space()
    assert started.isdecimal()
    assert owner_id(keep=True).startswith("pytest-keep:")


def test_a_copy_of_a_gateways_labels_is_left_alone() -> None:
    names, api = reaped(gateway(dead_owner(), Names=["/alices-own-database"]))
    assert (names, "remove_container" in api.names) == ([], False)


def test_a_gateway_of_a_dead_run_is_removed() -> None:
    names, api = reaped(gateway(dead_owner()))
    assert names == [GATEWAY]
    assert api.arguments("remove_container") == ("abc",)
    assert api.options("containers")["filters"] == {"label": ["jupyter-launcher.owner"]}


@pytest.mark.parametrize(
    "mark", ["", "somebody", "pytest", "pytest:a:b", "pytest:a:b:1:2:3", "pytest:a:b:²:2", "pytest-keep:a:b:1:2"]
)
def test_what_is_somebody_elses_is_left_alone(mark: str) -> None:
    names, api = reaped(gateway(mark))
    assert (names, "remove_container" in api.names) == ([], False)


@pytest.mark.parametrize("keep", [True, False])
def test_what_a_run_that_lives_has_is_left_alone(keep: bool) -> None:  # noqa: FBT001 - pytest's
    names, api = reaped(gateway(owner_id(keep=keep)))
    assert (names, "remove_container" in api.names) == ([], False)


def test_what_a_dead_run_has_kept_is_left_alone() -> None:
    names, api = reaped(gateway(re.sub("^pytest:", "pytest-keep:", dead_owner())))
    assert (names, "remove_container" in api.names) == ([], False)


def test_a_mark_whose_pid_is_no_number_is_of_no_run_here() -> None:
    mark = ":".join(("pytest", *process._pid_space(), "²", "1"))
    assert reaped(gateway(mark))[0] == []


@pytest.mark.parametrize(
    ("state", "age", "removed"),
    [
        ("exited", 2 * DAY, True),
        ("created", 2 * DAY, True),
        ("running", 2 * DAY, False),
        ("unreachable", 2 * DAY, False),
        ("exited", DAY // 2, False),
    ],
)
def test_what_a_run_elsewhere_left_is_removed_when_it_has_ended_and_is_old(
    state: str,
    age: int,
    removed: bool,  # noqa: FBT001 - pytest's
) -> None:
    names, _ = reaped(gateway("pytest:another-boot:1:2:3", State=state, Created=NOW_SECONDS - age))
    assert bool(names) == removed


def test_a_session_of_a_dead_run_is_stopped() -> None:
    labels = session_labels(owner=dead_owner())
    item = in_the_list(Names=[f"/{labels.name}"], Labels=labels.to_labels(), State="exited")
    raw = inspected(
        Name=f"/{labels.name}",
        Config={"Image": "image", "Labels": labels.to_labels(), "Env": []},
        State={"Status": "exited", "ExitCode": 0},
    )
    names, api = reaped(item, inspect_container=raw)
    assert names == [labels.name]
    assert api.arguments("remove_container") == ("abc",)


@pytest.mark.parametrize(
    ("state", "lease", "removed"),
    [
        ("running", 3600, False),
        ("paused", 3600, False),
        ("unreachable", 3600, False),
        ("exited", 3600, True),
        ("running", None, True),
    ],
)
def test_only_its_lease_ends_a_session_for_the_next_run(
    state: str,
    lease: int | None,
    removed: bool,  # noqa: FBT001 - pytest's
) -> None:
    mark = dead_owner().replace("pytest:", "pytest-reuse:")
    labels = session_labels(owner=mark, lease=lease)
    item = in_the_list(Names=[f"/{labels.name}"], Labels=labels.to_labels(), State=state)
    raw = inspected(
        Name=f"/{labels.name}",
        Config={"Image": "image", "Labels": labels.to_labels(), "Env": []},
        State={"Status": "exited", "ExitCode": 0},
    )
    names, _ = reaped(item, inspect_container=raw)
    assert names == ([labels.name] if removed else [])


def test_a_gateway_of_a_dead_run_that_reuses_its_servers_is_removed() -> None:
    assert reaped(gateway(dead_owner().replace("pytest:", "pytest-reuse:")))[0] == [GATEWAY]
    assert reaped(gateway(owner_id(reuse=True)))[0] == []


def test_a_session_that_is_gone_meanwhile_is_done() -> None:
    labels = session_labels(owner=dead_owner())
    item = in_the_list(Names=[f"/{labels.name}"], Labels=labels.to_labels(), State="exited")
    names, api = reaped(item, inspect_container=api_error(404, "no such container"))
    assert names == []
    assert "remove_container" not in api.names


@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_server_of_a_pool_of_a_dead_run_goes_with_its_record(is_claimed: bool) -> None:  # noqa: FBT001 - pytest's
    labels = replace(session_labels(owner=dead_owner()), warm="0123456789ab")
    warm, record = labels.to_warm_labels({}), labels.to_record_labels("warm-id", "claim")
    name = labels.name if is_claimed else warm_name(labels.namespace, labels.warm)
    config = {"Image": "image", "Labels": warm, "Env": []}
    # The newest comes first, as the engine has it.
    items = [in_the_list(Id="record-id", Names=[f"/{labels.record_name}"], Labels=record, State="created")]
    if not is_claimed:
        items.append(in_the_list(Id="warm-id", Names=[f"/{name}"], Labels=warm))
    found = inspected(Id="warm-id", Name=f"/{name}", Config=config, State={"Status": "running"})
    _, api = reaped(*items, inspect_container=found)
    removed = [given[0] for called, given, _ in api.asked if called == "remove_container"]
    assert removed == ([] if is_claimed else ["record-id", "warm-id"])


def test_what_is_neither_a_gateway_nor_a_session_is_left_alone() -> None:
    names, api = reaped(in_the_list(Labels={"jupyter-launcher.owner": dead_owner()}))
    assert (names, "remove_container" in api.names) == ([], False)


def test_a_container_that_has_taken_a_dead_sessions_name_is_left_alone() -> None:
    labels = session_labels(owner=dead_owner())
    item = in_the_list(Names=[f"/{labels.name}"], Labels=labels.to_labels(), State="exited")
    names, api = reaped(item, inspect_container=inspected(Id="other", Name=f"/{labels.name}"))
    assert (names, "remove_container" in api.names) == ([], False)


def unit(owner: str, *, session: SessionLabels | None = None) -> FakeEngine:
    """An engine with a gateway of this owner's, its agent, a kernel and its own network."""
    start = "start-9" if session is None else session.start_id
    more = GatewayLabels(start=start, session_start="" if session is None else session.start_id)
    agent = part_labels("agent", "unit", owner, start)
    kernel = {**part_labels("kernel", "unit", owner, start), KERNEL_ID: KERNEL}
    engine = FakeEngine(
        container(id="9" * 64, name=GATEWAY, labels=gateway_labels("unit", owner, "", more=more)),
        container(id="8" * 64, name=agent_name("unit", "0123456789ab", 0), labels=agent),
        container(id="7" * 64, name=f"jupyter-kernel.unit.{KERNEL}", labels=kernel),
        *([] if session is None else [session_info(session)]),
    )
    engine.create_network("kernel-network.unit.0123456789ab", part_labels("network", "unit", owner, start))
    return engine


def open_none(namespace: str) -> Launcher:
    raise AssertionError(namespace)


def test_a_gateway_of_a_dead_run_is_removed_with_its_parts() -> None:
    engine = unit(dead_owner())
    reap_dead_runs(engine, open_none)
    assert (engine.known, engine.networks()) == ({}, [])
    engine = unit(owner_id())
    assert reap_dead_runs(engine, open_none) == []
    assert len(engine.known) == 3


def test_parts_whose_gateway_is_gone_are_removed() -> None:
    engine = unit(dead_owner())
    engine.remove("9" * 64)
    reap_dead_runs(engine, open_none)
    assert (engine.known, engine.networks()) == ({}, [])


def test_what_is_of_one_unit_with_a_session_for_the_next_run_stays() -> None:
    mark = dead_owner().replace("pytest:", "pytest-reuse:")
    engine = unit(mark, session=session_labels(owner=mark, lease=3600))
    assert reap_dead_runs(engine, open_none) == []
    assert len(engine.known) == 4

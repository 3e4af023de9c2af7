"""Labels: the only registry of sessions, and what anybody may have written into them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import Gateway, SessionUnreadableError, Volume
from jupyter_launcher.spec.checks import MIN_LEASE
from jupyter_launcher.spec.kernels.labels import (
    KERNEL_ID,
    KERNEL_NAME,
    KERNEL_OF,
    GatewayLabels,
    PartLabels,
    agent_name,
    broker_name,
    hide_labels,
    kernel_name_prefix,
    network_name,
    part_filter,
    part_labels,
    start_filter,
)
from jupyter_launcher.spec.labels import (
    SessionLabels,
    ToolLabels,
    container_name,
    gateway_filter,
    gateway_labels,
    gateway_name,
    gateway_of,
    helper_filter,
    helper_labels,
    helper_name,
    is_gateway,
    owner_filter,
    owner_of,
    session_filter,
)
from jupyter_launcher.spec.options import differences
from tests.unit.fakes import session_labels, session_spec
from tests.unit.spec.test_options import OPTIONS_OF_0_1_0
from tests.unit.strategies import error_of

PREFIX = "jupyter-launcher."
GATEWAY = Gateway(name="gw", url="http://10.0.0.1:8888", container_id="abc")
LABELS = SessionLabels.from_spec(
    session_spec(lease=60, pipeline_dir_id="2049:131"), GATEWAY, "start-1", "me", "boot:1:2:3"
).to_labels()
LABELS_OF_0_1_0 = {
    PREFIX + "namespace": "unit",
    PREFIX + "session-id": "one",
    PREFIX + "attempt": "0123456789abcdef",
    PREFIX + "owner": "",
    PREFIX + "pipeline-dir": "/pipelines/one",
    PREFIX + "gateway": '{"name": "gw", "url": "http://10.0.0.1:8888", "id": null}',
    PREFIX + "base-url": "/",
    PREFIX + "host-ip": "127.0.0.1",
    PREFIX + "options": json.dumps(OPTIONS_OF_0_1_0),
}


def read(**changes: str | None) -> SessionLabels:
    """Valid labels with some of them changed, or left out."""
    labels: dict[str, str | None] = {
        **LABELS,
        **{PREFIX + name.replace("_", "-"): text for name, text in changes.items()},
    }
    return SessionLabels.from_labels({name: text for name, text in labels.items() if text is not None}, "the-container")


def test_labels_hold_what_get_and_list_need() -> None:
    assert {name.removeprefix(PREFIX): text for name, text in LABELS.items() if not name.endswith("options")} == {
        "schema": "1",
        "namespace": "unit",
        "session-id": "one",
        "attempt": "start-1",
        "owner": "me",
        "pipeline-dir": "/pipelines/one",
        "gateway": '{"name": "gw", "url": "http://10.0.0.1:8888", "id": "abc"}',
        "base-url": "/",
        "host-ip": "127.0.0.1",
        "pipeline-dir-id": "2049:131",
        "process": "boot:1:2:3",
    }
    assert json.loads(LABELS[PREFIX + "options"]) == session_spec(lease=60).to_options()


def test_labels_hold_no_secret() -> None:
    assert "s3cret" not in str(session_labels(environment={"KEY": "s3cret"}).to_labels())


def test_what_is_read_is_what_was_written() -> None:
    labels = session_labels(GATEWAY, lease=60, base_url="/x", host_ip="::1", pipeline_dir_id="1:2")
    assert SessionLabels.from_labels(labels.to_labels(), "c") == labels
    assert (labels.name, labels.lease) == ("jupyter-server.unit.one", 60)


def test_labels_that_are_not_known_are_ignored() -> None:
    assert SessionLabels.from_labels({**LABELS, PREFIX + "newer": "x", "other": "y"}, "c") == read()


def test_a_session_of_0_1_0_is_read() -> None:
    labels = SessionLabels.from_labels(LABELS_OF_0_1_0, "c")
    assert (labels.session_id, labels.start_id, labels.owner) == ("one", "0123456789abcdef", "")
    assert labels.gateway == Gateway(name="gw", url="http://10.0.0.1:8888")
    assert labels.lease is None
    assert (labels.pipeline_dir_id, labels.process) == (None, "")
    assert differences(labels.options, session_spec().to_options()) == ()
    assert differences(labels.options, session_spec(memory=1024).to_options()) == ("memory was None, now 1024",)


@pytest.mark.parametrize("schema", [None, "", "1"])
def test_the_schema_of_this_version_may_be_absent(schema: str | None) -> None:
    assert read(schema=schema) == read()


@pytest.mark.parametrize("text", ["", None])
def test_what_is_empty_or_absent_means_none(text: str | None) -> None:
    labels = read(gateway=text, owner=text, pipeline_dir_id=text, process=text)
    assert (labels.gateway, labels.owner, labels.pipeline_dir_id, labels.process) == (None, "", None, "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("schema", "2"),
        ("namespace", None),
        ("namespace", ""),
        ("namespace", "No"),
        ("session-id", None),
        ("session-id", ""),
        ("session-id", "a b"),
        ("attempt", None),
        ("attempt", ""),
        ("pipeline-dir", None),
        ("pipeline-dir", ""),
        ("pipeline-dir", "relative"),
        ("pipeline-dir", "/a\0b"),
        ("gateway", "{"),
        ("gateway", "[]"),
        ("gateway", "{}"),
        ("gateway", '{"name": "gw", "url": 7, "id": null}'),
        ("gateway", '{"name": "gw", "url": "u", "id": 7}'),
        ("base-url", None),
        ("base-url", "x/"),
        ("base-url", "/x"),
        ("base-url", ""),
        ("base-url", "/é/"),
        ("base-url", "/a b/"),
        ("base-url", "/?a/"),
        ("host-ip", None),
        ("host-ip", "localhost"),
        ("pipeline-dir-id", "1"),
        ("pipeline-dir-id", "1:2:3"),
        ("pipeline-dir-id", "\u00b2:1"),
        ("pipeline-dir-id", "1:2\n"),
        ("options", None),
        ("options", ""),
        ("options", "[]"),
        ("options", "null"),
        ("options", '{"lease": true}'),
        ("options", '{"lease": -5}'),
        ("options", '{"lease": "60"}'),
        ("options", "[" * 100_000),
    ],
)
def test_a_label_that_cannot_be_read_is_named(name: str, text: str | None) -> None:
    with pytest.raises(SessionUnreadableError) as caught:
        read(**{name: text})
    error = caught.value
    assert (error.label, error.container_name) == (PREFIX + name, "the-container")
    assert f"container the-container has a session's labels, but {PREFIX}{name} cannot be read: " in error.message
    assert error.hint == "if it is a leftover, remove it: `docker rm -f the-container`, or its service in a swarm"
    assert error.session_id == ((text or "") if name == "session-id" else "one")


def test_a_label_that_is_missing_is_said_to_be() -> None:
    with pytest.raises(SessionUnreadableError, match="it is missing"):
        read(options=None)


def test_a_lease_may_be_absent_from_the_options() -> None:
    assert read(options="{}").lease is None


def test_the_engine_is_asked_for_a_namespace_or_for_one_id() -> None:
    assert SessionLabels.filters("unit") == (PREFIX + "namespace=unit",)
    assert SessionLabels.filters("unit", "one") == (PREFIX + "namespace=unit", PREFIX + "session-id=one")


def test_the_id_that_a_container_claims() -> None:
    assert SessionLabels.claimed_id(LABELS) == "one"
    assert SessionLabels.claimed_id({}) == ""


def test_names_of_containers() -> None:
    assert container_name("unit", "one") == "jupyter-server.unit.one"


UNIQUE = "0123456789ab"


def test_gateways_and_helpers_are_no_sessions() -> None:
    labels = gateway_labels("unit", "me", "mark")
    assert owner_of(labels) == owner_of(LABELS) == "me"
    assert owner_of({}) == ""
    assert owner_filter() in labels
    name, _, value = gateway_filter("unit").partition("=")
    assert (gateway_filter(), labels[name]) == (name, value)
    assert SessionLabels.claimed_id(labels) == SessionLabels.claimed_id(helper_labels("look", "mark")) == ""
    assert helper_labels("look", "mark") == {PREFIX + "purpose": "look", PREFIX + "process": "mark"}
    assert helper_filter() in helper_labels("look", "mark")
    assert session_filter() in LABELS


def test_a_gateway_whose_image_was_committed_from_a_session_is_none() -> None:
    labels = {**LABELS, **hide_labels({**LABELS, "theirs": "x"}), **gateway_labels("unit", "me", "mark")}
    assert SessionLabels.claimed_id(labels) == ""
    assert not SessionLabels.is_session(labels, gateway_name("unit", UNIQUE))
    assert "theirs" not in labels


def test_names_of_gateways_and_helpers() -> None:
    assert gateway_name("unit", UNIQUE) == f"kernel-gateway.unit.{UNIQUE}"
    assert gateway_name("unit", "a-team") == "kernel-gateway.unit.a-team"
    assert helper_name("look", "0123456789abcdef") == f"jupyter-launcher-look.{UNIQUE}"


def test_labels_of_gateways_and_helpers_are_read_as_they_were_written() -> None:
    labels = gateway_labels("unit", "me", "mark")
    name = gateway_name("unit", UNIQUE)
    found = ToolLabels(
        kind="gateway", namespace="unit", owner="me", process="mark", gateway=GatewayLabels(gateway_id=UNIQUE)
    )
    assert ToolLabels.of_container(labels, name) == found
    assert is_gateway(labels, name)
    kept = gateway_labels("unit", "me", "mark", may_stay=True)
    assert ToolLabels.of_container(kept, name) == replace(found, may_stay=True)
    # Its image was committed from a gateway, and from a session.
    labels = {**LABELS, **labels, **helper_labels("look", "mark2")}
    assert ToolLabels.of_container(labels, helper_name("look", UNIQUE)) == ToolLabels(kind="helper", process="mark2")
    assert not is_gateway(labels, helper_name("look", UNIQUE))


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (gateway_labels("unit", "me", "mark"), "alices-own-database"),
        (gateway_labels("unit", "me", "mark"), f"kernel-gateway.other.{UNIQUE}"),
        (gateway_labels("unit", "me", "mark"), f"a-kernel-gateway.unit.{UNIQUE}"),
        (gateway_labels("unit", "me", "mark"), "kernel-gateway.unit.Mine"),
        (gateway_labels("unit", "me", "mark"), "kernel-gateway.unit.mine.0"),
        (gateway_labels("unit", "me", "mark"), f"kernel-gateway.unit.{'0' * 49}"),
        (gateway_labels("unit", "me", "mark"), "kernel-gateway.unit."),
        (gateway_labels("unit", "me", "mark"), UNIQUE),
        (gateway_labels("unit", "me", "mark"), ""),
        (gateway_labels("", "me", "mark"), f"kernel-gateway..{UNIQUE}"),
        (helper_labels("look", "mark"), f"jupyter-launcher-doctor.{UNIQUE}"),
        (helper_labels("look", "mark"), "jupyter-launcher-look.mine"),
        (helper_labels("", "mark"), f"jupyter-launcher-.{UNIQUE}"),
        ({}, f"kernel-gateway.unit.{UNIQUE}"),
        (LABELS, "jupyter-server.unit.one"),
    ],
)
def test_labels_are_a_gateways_or_a_helpers_only_under_its_name(labels: dict[str, str], name: str) -> None:
    assert ToolLabels.of_container(labels, name) is None
    assert not is_gateway(labels, name)


def test_what_a_gateway_is_of_is_read_as_it_was_written() -> None:
    more = GatewayLabels(
        gateway_id="team",
        start="0" * 32,
        session_start="start-1",
        session_id="one",
        stays=True,
        isolation="kernel",
        images={"py": "an/image:1"},
        options={"user": "7:8", "kernels": None},
    )
    labels = gateway_labels("unit", "me", "mark", more=more)
    found = ToolLabels.of_container(labels, "kernel-gateway.unit.team")
    assert found is not None
    assert found.gateway == more
    assert not SessionLabels.is_session(labels, "kernel-gateway.unit.team")
    assert start_filter("0" * 32) in [f"{name}={value}" for name, value in labels.items()]


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "[" * 10_000, '{"isolation": 1, "images": {}, "options": {}}', '{"isolation": ""}']
)
def test_options_of_a_gateway_that_cannot_be_read_are_none(text: str) -> None:
    labels = {**gateway_labels("unit", "me", "mark"), PREFIX + "gateway-options": text}
    found = ToolLabels.of_container(labels, "kernel-gateway.unit.team")
    assert found is not None
    assert found.gateway == GatewayLabels(gateway_id="team")


KERNEL = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("kind", "name", "gateway_id"),
    [
        ("agent", agent_name("unit", "team", 12), "team"),
        ("broker", broker_name("unit", "team"), "team"),
        ("network", network_name("unit", "team", "0" * 32), "team"),
        ("kernel", kernel_name_prefix("unit") + KERNEL, ""),
    ],
)
def test_labels_of_parts_are_read_as_they_were_written(kind: str, name: str, gateway_id: str) -> None:
    labels = part_labels(kind, "unit", "me", "0" * 32)
    if kind == "kernel":
        labels |= {KERNEL_ID: KERNEL, KERNEL_NAME: "py", KERNEL_OF: "start-1"}
    found = PartLabels.of_container(labels, name)
    assert found is not None
    assert (found.kind, found.namespace, found.owner, found.gateway_start) == (kind, "unit", "me", "0" * 32)
    assert found.gateway_id == gateway_id
    assert (found.kernel_id, found.kernel_name) == ((KERNEL, "py") if kind == "kernel" else ("", ""))
    assert part_filter() in labels
    assert ToolLabels.of_container(labels, name) is None
    assert not SessionLabels.is_session(labels, name)


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (part_labels("agent", "unit", "me", "s"), "kernel-agent.unit.team"),
        (part_labels("agent", "unit", "me", "s"), "kernel-agent.unit.team.x"),
        (part_labels("agent", "unit", "me", "s"), "kernel-broker.unit.team"),
        (part_labels("agent", "unit", "me", "s"), "kernel-agent.other.team.0"),
        (part_labels("broker", "unit", "me", "s"), "kernel-broker.unit.team.0"),
        (part_labels("broker", "unit", "me", "s"), "alices-own-database"),
        (part_labels("broker", "unit", "me", ""), "kernel-broker.unit.team"),
        (part_labels("broker", "", "me", "s"), "kernel-broker..team"),
        (part_labels("other", "unit", "me", "s"), "kernel-other.unit.team"),
        ({**part_labels("kernel", "unit", "me", "s"), KERNEL_ID: KERNEL}, f"jupyter-kernel.unit.{KERNEL[:-1]}0"),
        ({**part_labels("kernel", "unit", "me", "s"), KERNEL_ID: "x"}, "jupyter-kernel.unit.x"),
        (part_labels("kernel", "unit", "me", "s"), f"jupyter-kernel.unit.{KERNEL}"),
        (part_labels("network", "unit", "me", "s"), "kernel-network.unit.team"),
        (part_labels("network", "unit", "me", "s"), network_name("unit", "team", "other")),
        ({}, "kernel-broker.unit.team"),
    ],
)
def test_labels_are_a_parts_only_under_its_name(labels: dict[str, str], name: str) -> None:
    assert PartLabels.of_container(labels, name) is None


def test_a_part_of_an_image_that_was_committed_from_another_container_hides_its_labels() -> None:
    image = {**LABELS, **gateway_labels("unit", "you", "mark"), "theirs": "kept"}
    labels = {**image, **part_labels("agent", "unit", "me", "s", image)}
    name = agent_name("unit", "team", 0)
    assert not SessionLabels.is_session(labels, name)
    assert SessionLabels.claimed_id(labels) == ""
    assert gateway_of(labels) is None
    assert labels["theirs"] == "kept"
    found = PartLabels.of_container(labels, name)
    assert found is not None
    assert found.owner == "me"


def test_a_session_names_its_gateway_whatever_else_its_labels_are() -> None:
    assert gateway_of({PREFIX + "gateway": LABELS[PREFIX + "gateway"]}) == GATEWAY
    cut_off = '{"name": "gw", "url": "http://10.0.0.1:8888", "id": "abc"'
    assert gateway_of({PREFIX + "gateway": cut_off}) == Gateway(name=cut_off, url=cut_off)
    assert gateway_of({PREFIX + "gateway": ""}) is None
    assert gateway_of({}) is None


def test_labels_have_no_token() -> None:
    gateway = Gateway(name="gw", url="http://10.0.0.1:8888", token="s3cret")
    labels = session_labels(gateway)
    assert labels.gateway == replace(gateway, token=None)
    assert "s3cret" not in str(labels.to_labels())


def test_labels_are_a_sessions_only_under_its_name() -> None:
    assert SessionLabels.of_session(LABELS, "jupyter-server.unit.one") == read()
    with pytest.raises(SessionUnreadableError, match=r"not its name jupyter-server\.unit\.one") as caught:
        SessionLabels.of_session(LABELS, "copy")
    error = caught.value
    assert (error.session_id, error.container_name, error.label) == ("one", "copy", PREFIX + "session-id")
    assert "`docker rm -f copy`" in error.hint


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,46}[a-z0-9])?", fullmatch=True)
TEXTS = st.text(min_size=1, max_size=20)
PATHS = st.text(st.characters(exclude_characters="\0"), max_size=20).map(lambda text: Path("/" + text.lstrip("/")))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
OPTIONS = st.dictionaries(TEXTS.filter(lambda name: name != "lease"), JSON, max_size=4)
SESSIONS = st.builds(
    SessionLabels,
    namespace=NAMES,
    session_id=NAMES,
    start_id=TEXTS,
    owner=st.text(max_size=20),
    pipeline_dir=PATHS | st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,9}", fullmatch=True).map(Volume),
    gateway=st.none() | st.builds(Gateway, name=st.text(), url=st.text(), container_id=st.none() | st.text()),
    base_url=st.from_regex(r"(/[A-Za-z0-9_~@-]{1,9}(\.x)?(%41)?){0,3}/", fullmatch=True),
    host_ip=st.ip_addresses().map(str),
    options=st.builds(
        lambda options, lease: {**options, **({} if lease is None else {"lease": lease})},
        OPTIONS,
        st.none() | st.integers(min_value=MIN_LEASE),
    ),
    pipeline_dir_id=st.none() | st.from_regex(r"[0-9]{1,20}:[0-9]{1,20}", fullmatch=True),
    process=st.text(max_size=40),
)


@given(SESSIONS)
def test_any_labels_are_read_as_they_were_written(labels: SessionLabels) -> None:
    assert SessionLabels.from_labels(labels.to_labels(), "c") == labels


def check_verdict(labels: dict[str, str]) -> None:
    """Labels are a session's, or an error that says of which container and which label; nothing else."""
    error = error_of(SessionUnreadableError, lambda: SessionLabels.from_labels(labels, "the-container"))
    if error is None:
        found = SessionLabels.from_labels(labels, "the-container")
        assert SessionLabels.from_labels(found.to_labels(), "the-container") == found
        return
    assert error.container_name == "the-container"
    assert error.label in LABELS
    assert "the-container" in error.message
    assert error.label in error.message
    assert error.session_id == labels.get(PREFIX + "session-id", "")
    assert error.__cause__ is None


@given(st.dictionaries(st.sampled_from(sorted(LABELS)) | st.text(), st.text()))
def test_arbitrary_labels_are_a_session_or_a_typed_error(labels: dict[str, str]) -> None:
    check_verdict(labels)


HOSTILE: list[Any] = ["", "{}", "[]", "null", "NaN", "-1", "\0", "/", "//", "\udcff", "1e999", '{"lease": NaN}']


@given(
    name=st.sampled_from(sorted(LABELS)),
    text=st.none() | st.text() | st.sampled_from(HOSTILE) | JSON.map(json.dumps),
    cut=st.integers(0, 100),
)
def test_valid_labels_with_one_changed_are_a_session_or_a_typed_error(name: str, text: str | None, cut: int) -> None:
    without = {key: value for key, value in LABELS.items() if key != name}
    check_verdict(without if text is None else {**LABELS, name: text})
    check_verdict({**LABELS, name: LABELS[name][:cut]})

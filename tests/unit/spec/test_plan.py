"""All that a start sends, computed before anything is created."""

from __future__ import annotations

from dataclasses import replace

from jupyter_launcher import Gateway
from jupyter_launcher.spec.plan import plan
from jupyter_launcher.spec.server import launch_script, server_command, server_config
from tests.unit.fakes import session_spec

GATEWAY = Gateway(name="gw", url="http://10.0.0.1:8888", container_id="abc")
OURS = replace(GATEWAY, token="t0ken")


def test_a_plan_holds_all_that_is_sent() -> None:
    spec = session_spec(lease=60, gateway="gw", pipeline_dir_id="1:2")
    planned = plan(spec, GATEWAY, network="net", start_id="start-1", owner="me", process="mark")
    assert (planned.labels.start_id, planned.labels.owner, planned.labels.gateway) == ("start-1", "me", GATEWAY)
    assert (planned.pipeline_dir_id, planned.labels.pipeline_dir_id, planned.labels.process) == ("1:2", "1:2", "mark")
    assert planned.container.network == "net"
    assert planned.container.labels == planned.labels.to_labels()
    assert planned.command == server_command(spec, GATEWAY)
    assert planned.server_config == server_config(spec, GATEWAY)
    assert planned.launch_script == launch_script(spec)
    assert planned.lease == 60


def test_a_plan_is_computed_from_nothing_else() -> None:
    spec = session_spec()
    one, other = (plan(spec, network="net", start_id="start-1") for _ in range(2))
    assert one == other
    assert one.lease is None
    assert one.labels.owner == one.labels.process == ""
    assert one.pipeline_dir_id is None


def test_a_plan_has_the_secrets_and_the_token_of_the_gateway_as_files() -> None:
    spec = session_spec(secrets={"db": "s3cret", "api.key": "s3cret too"})
    assert plan(spec, network="net", start_id="start-1").secrets.values == {
        "secrets/db": "s3cret",
        "secrets/api.key": "s3cret too",
    }
    planned = plan(spec, OURS, network="net", start_id="start-1")
    assert list(planned.secrets.values) == ["gateway.token", "secrets/db", "secrets/api.key"]
    assert planned.secrets.values["gateway.token"] == "t0ken"
    sent = str((planned.container, planned.container.to_docker(), planned.command, planned.labels.to_labels()))
    assert "s3cret" not in sent
    assert "t0ken" not in sent + planned.server_config


def test_a_plan_can_be_printed() -> None:
    spec = session_spec(environment={"KEY": "s3cret"}, secrets={"db": "s3cret"})
    printed = repr(plan(spec, replace(OURS, token="s3cret"), network="net", start_id="start-1"))
    assert "s3cret" not in printed
    assert "runpy" not in printed

"""The command, its doctor and the fixtures for pytest over a real swarm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jupyter_launcher import DEFAULT_IMAGE, Swarm
from tests.swarm.conftest import USER, Cluster

SECONDS = 300


def run(swarm: Swarm, namespace: str, *line: str, code: int = 0) -> Any:
    """The document that the command prints."""
    more = ["--swarm-weaker"] if swarm.weaker else []
    given = ["--format=json", f"--namespace={namespace}", "--swarm", "--swarm-publish=all", *more, *line]
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_launcher", *given], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def examined(swarm: Swarm, namespace: str, *line: str, code: int = 0) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in run(swarm, namespace, "doctor", *line, code=code)}


def test_a_session_by_the_command(swarm: Swarm, namespace: str, pipeline_dir: str) -> None:
    line = ["start", pipeline_dir, f"--user={USER}", "--session-id=one", "--constraint=node.hostname==node3"]
    made = run(swarm, namespace, *line)
    try:
        assert made["node"] == "node3"
        assert made["url"].startswith("http://10.77.0.3:")
        (listed,) = run(swarm, namespace, "list")
        assert (listed["session_id"], listed["state"], listed["node"]) == ("one", "ready", "node3")
    finally:
        (stopped,) = run(swarm, namespace, "stop", "one")
    assert stopped["report"]["method"] == "api"


def test_the_doctor_sees_the_swarm(swarm: Swarm, namespace: str, pipeline_dir: str) -> None:
    found = examined(swarm, namespace, pipeline_dir)
    assert not [check for check in found.values() if check["state"] == "failed"]
    assert found["swarm"]["detail"] == "3 nodes, 1 manager among them"
    assert {found[f"node node{number}"]["state"] for number in (1, 2, 3)} == {"ok"}
    assert "tcp://10.77.0.2:2376" in found["node node2"]["detail"]
    assert found["heartbeat"]["state"] == "warning"
    assert found["image on the nodes"]["detail"] == f"{DEFAULT_IMAGE} is on node1, node2, node3"
    assert found["no-new-privileges"]["state"] == ("warning" if swarm.weaker else "ok")
    assert found["publishing"]["state"] == "warning"
    assert {found[name]["state"] for name in ("write to the pipeline dir", "published port")} == {"ok"}


def test_the_doctor_sees_what_is_wrong(swarm: Swarm, namespace: str, cluster: Cluster) -> None:
    cluster.node(3).down()
    cluster.until_down(3)
    cluster.set_heartbeat(20)
    wrong = "--swarm-engine=node2=tcp://10.77.0.1:2376"
    found = examined(swarm, namespace, "--swarm-network=none-such", wrong, code=1)
    assert found["node node3"]["state"] == "warning"
    assert "down" in found["node node3"]["detail"]
    assert found["node node2"]["state"] == "failed"
    assert "is not that of node node2" in found["node node2"]["detail"]
    assert found["heartbeat"]["state"] == "ok"
    assert (found["overlay"]["state"], "none-such" in found["overlay"]["detail"]) == ("failed", True)


CONFTEST = """
import dataclasses
import pytest
from jupyter_launcher import Swarm

@pytest.fixture(scope="session")
def jupyter_launcher_config(jupyter_launcher_config):
    swarm = Swarm(publish="all", weaker={weaker})
    options = {{"user": {user!r}, "constraints": ["node.hostname==node2"]}}
    return dataclasses.replace(jupyter_launcher_config, swarm=swarm, options=options)

@pytest.fixture
def jupyter_pipeline_dir():
    return {pipeline_dir!r}
"""
TESTS = """
def test_the_server_is_on_the_node(jupyter_server):
    assert jupyter_server.node == "node2"
    assert jupyter_server.request("GET", "api/status").status == 200

def test_that_fails(jupyter_server):
    assert False
"""


def test_the_fixtures_start_servers_in_the_swarm(swarm: Swarm, pipeline_dir: str, tmp_path: Path) -> None:
    conftest = CONFTEST.format(weaker=swarm.weaker, user=USER, pipeline_dir=pipeline_dir)
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_it.py").write_text(TESTS)
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--jupyter-docker=require", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "state: running" in done.stdout
    assert "url: http://10.77.0.2:" in done.stdout

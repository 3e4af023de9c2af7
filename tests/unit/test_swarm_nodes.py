"""The nodes that `make test-swarm` makes: what can be looked at without making one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import swarm_matrix
from swarm_nodes import ACTIONS, FOLDER, Node, main, make_certificates, nodes


def test_nodes_are_found_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert [(node.name, node.address) for node in nodes()] == [
        ("node1", "10.77.0.1"),
        ("node2", "10.77.0.2"),
        ("node3", "10.77.0.3"),
    ]
    assert nodes()[2].url == f"unix://{tmp_path}/node3/docker.sock"
    assert not nodes()[0].is_on


def test_each_action_of_the_usage_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    usage = capsys.readouterr().err
    assert [action for action in ACTIONS if action not in usage] == []


def test_certificates_are_of_their_nodes_and_one_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path, [Node(2, tmp_path)])
    check = ["openssl", "verify", "-CAfile", "ca.pem", "-x509_strict"]
    subprocess.run([*check, "-purpose", "sslserver", "-verify_ip", "10.77.0.2", "node2.pem"], cwd=tmp_path, check=True)
    subprocess.run([*check, "-purpose", "sslclient", "cert.pem"], cwd=tmp_path, check=True)
    assert (tmp_path / "key.pem").exists()


def test_an_engine_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such engine: docker-99"):
        swarm_matrix.main(["docker-99"])

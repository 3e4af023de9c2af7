"""The proxies of Docker's configuration file: containers have them, and nothing of ours goes through them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Launcher, StopMethod
from tests.integration.test_session import start_kernel

NOBODY = "http://127.0.0.1:9"


@pytest.mark.gateway
def test_a_session_works_where_no_proxy_answers(
    launcher: Launcher,
    client: Any,
    gateway: str,
    pipeline_dir: Path,
    tmp_path: Path,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = dict.fromkeys(("httpProxy", "httpsProxy", "allProxy"), NOBODY)
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": section}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    given: dict[str, Any] = {"docker_host": launcher._engine.endpoint, "namespace": namespace}
    environment = {"HTTP_PROXY": "http://mine:3128"}
    with Launcher(**given) as with_proxies, Launcher(**given, use_config_proxy=False) as without:
        session = with_proxies.start(pipeline_dir, session_id="one", gateway=gateway, environment=environment)
        texts = client.containers.get(session.container_id).attrs["Config"]["Env"]
        found = {text for text in texts if "_proxy=" in text.lower()}
        names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        assert found == {"HTTP_PROXY=http://mine:3128", *(f"{name}={NOBODY}" for name in names)}
        # The server reaches the gateway, and this process the server.
        kernel = start_kernel(session)
        # The proxies are not compared.
        assert without.start(pipeline_dir, session_id="one", gateway=gateway, environment=environment).joined
        report = session.stop()
        assert (report.method, report.kernels_gone) == (StopMethod.API, (kernel,))

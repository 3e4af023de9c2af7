"""Packages that a user installs in a session of the default image: for kernels that run, not for the server."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from run_pipeline import kernel_client

from jupyter_launcher import CommandError
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.integration.test_session import authorized, printed
from tests.integration.wheels import make_wheel

WHEELS = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/pipeline-dir"}
SHOW_TORNADO = "!python -c 'import tornado; print(tornado.__file__)' 2>&1 | tail -n 1"


def test_packages_come_and_go_in_kernels_and_the_server_sees_none(start: ServerFactory, pipeline_dir: Path) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(pipeline_dir, version=version)
    make_wheel(pipeline_dir, "tornado", "99.0", "raise ImportError('a broken tornado')")
    make_wheel(pipeline_dir, "other")
    session = start(environment=WHEELS)
    with kernel_client(session) as kernel:
        printed(kernel, "%pip install --quiet tiny==1.0")
        assert printed(kernel, "import tiny; tiny.main()") == "1.0"
        # Over what the user has, and over what the image has.
        printed(kernel, "%pip install --quiet --upgrade tiny tornado")
        assert printed(kernel, "!tiny-program") == "2.0"
        assert "a broken tornado" in printed(kernel, SHOW_TORNADO)
        assert ":8888/" in printed(kernel, "!jupyter server list")
        # From outside, into a kernel that runs.
        assert "Successfully installed other-1.0" in session.install("other").stdout
        assert printed(kernel, "import other; other.main()") == "1.0"
        with pytest.raises(CommandError, match="No matching distribution found for nothing"):
            session.install("nothing")
        printed(kernel, "%pip uninstall --quiet --yes tiny tornado")
        assert printed(kernel, SHOW_TORNADO).startswith("/opt/jupyter/")
        assert "No module named" in printed(kernel, "!python -c 'import tiny' 2>&1 | tail -n 1")
    assert requests.get(f"{session.url}api/status", headers=authorized(session), timeout=20).status_code == 200

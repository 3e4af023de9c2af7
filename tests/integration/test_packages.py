"""Packages that a user installs in a session of the default image: for kernels that run, not for the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_launcher import CommandError
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.integration.wheels import make_wheel

WHEELS = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/pipeline-dir"}
SHOW_TORNADO = "!python -c 'import tornado; print(tornado.__file__)' 2>&1 | tail -n 1"


def test_packages_come_and_go_in_kernels_and_the_server_sees_none(start: ServerFactory, pipeline_dir: Path) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(pipeline_dir, version=version)
    make_wheel(pipeline_dir, "tornado", "99.0", "raise ImportError('a broken tornado')")
    make_wheel(pipeline_dir, "other")
    session = start(environment=WHEELS)
    session.execute("%pip install --quiet tiny==1.0")
    assert session.execute("import tiny; tiny.main()").text == "1.0\n"
    # Over what the user has, and over what the image has.
    session.execute("%pip install --quiet --upgrade tiny tornado")
    assert session.execute("!tiny-program").text.strip() == "2.0"
    assert "a broken tornado" in session.execute(SHOW_TORNADO).text
    assert ":8888/" in session.execute("!jupyter server list").text
    # From outside, into a kernel that runs.
    assert "Successfully installed other-1.0" in session.install("other").stdout
    assert session.execute("import other; other.main()").text == "1.0\n"
    assert session.run(["other-program"]).stdout == "1.0\n"
    with pytest.raises(CommandError, match="No matching distribution found for nothing"):
        session.install("nothing")
    session.execute("%pip uninstall --quiet --yes tiny tornado")
    assert "/opt/jupyter/" in session.execute(SHOW_TORNADO).text
    assert "No module named" in session.execute("!python -c 'import tiny' 2>&1 | tail -n 1").text
    assert session.request("GET", "api/status").status == 200

"""Packages that a user installs in a session of the default image: for kernels that run, not for the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_launcher import CommandError, Session
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.integration.wheels import make_wheel

WHEELS = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/pipeline-dir"}
SHOW_TORNADO = "python -c 'import tornado; print(tornado.__file__)' 2>&1 | tail -n 1"


def shell(session: Session, command: str) -> str:
    """What a command prints that a kernel runs. A ``!`` of IPython's loses it at times on a busy machine."""
    code = (
        f"import subprocess as s; print(s.run({command!r}, shell=True, text=True, stdout=-1, stderr=-2).stdout, end='')"
    )
    return session.execute(code).text.strip()


@pytest.mark.usefixtures("needs_input")
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
    assert shell(session, "tiny-program") == "2.0"
    assert "a broken tornado" in shell(session, SHOW_TORNADO)
    assert ":8888/" in shell(session, "jupyter server list")
    # From outside, into a kernel that runs.
    assert "Successfully installed other-1.0" in session.install("other").stdout
    assert session.execute("import other; other.main()").text == "1.0\n"
    assert session.run(["other-program"]).stdout == "1.0\n"
    with pytest.raises(CommandError, match="No matching distribution found for nothing"):
        session.install("nothing")
    session.execute("%pip uninstall --quiet --yes tiny tornado")
    assert "/opt/jupyter/" in shell(session, SHOW_TORNADO)
    assert "No module named" in shell(session, "python -c 'import tiny'")
    assert session.request("GET", "api/status").status == 200

"""What stays between two sessions: volumes, and what users keep in a home."""

from __future__ import annotations

import json
import os
import secrets
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import (
    ExecError,
    Launcher,
    PipelineDirError,
    Secret,
    Session,
    SessionConflictError,
    SessionState,
    StopMethod,
    Volume,
)
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.containers import owned, require_pause, warnings_of
from tests.integration.wheels import make_wheel

MakeVolume = Callable[[], Volume]


@pytest.fixture
def make_volume(client: Any) -> Iterator[MakeVolume]:
    """Names of volumes that are not there yet; they are removed at the end."""
    made: list[Volume] = []

    def make() -> Volume:
        made.append(Volume(f"jupyter-launcher-test-{uuid.uuid4().hex[:12]}"))
        return made[-1]

    yield make
    for volume in made:
        client.volumes.get(volume.name).remove()


def run(client: Any, container: str, script: str, user: str = "") -> str:
    """What a script prints in a container, as the session's user."""
    found = client.containers.get(container).exec_run(["sh", "-c", script], user=user)
    return str(found.output.decode()).strip()


def test_a_pipeline_in_a_volume(client: Any, launcher: Launcher, make_volume: MakeVolume, start: ServerFactory) -> None:
    volume = make_volume()
    with launcher.run_gateway(volume) as gateway:
        session = start(volume, gateway=gateway, session_id=uuid.uuid4().hex[:12])
        assert (session.pipeline_dir, warnings_of(session)) == (volume, [])
        assert [item.pipeline_dir for item in launcher.list() if item.session_id == session.id] == [volume]
        assert launcher.start(volume, gateway=gateway, session_id=session.id).joined
        run(client, session.container_id, "mkdir sub && echo kept >sub/a.txt")
        assert run(client, gateway.name, "id -u; cat sub/a.txt; stat -c %u:%g .") == "1000\nkept\n1000:1000"
        session.stop()
    session = start(volume, pipeline_read_only=True)
    assert run(client, session.container_id, "id -u; cat sub/a.txt; touch b 2>/dev/null || echo no") == "1000\nkept\nno"


def test_a_volume_is_given_to_the_user_whatever_the_image_has_there(
    client: Any, make_volume: MakeVolume, start: ServerFactory
) -> None:
    """Our image has ``/pipeline-dir`` of user 1000, which the engine would copy into a new volume, with its owner."""
    if client.version()["Components"][0]["Name"].startswith("Podman"):
        pytest.skip("Podman gives an empty volume to the owner of the image's folder at its mount point, each time")
    session = start(make_volume(), home=make_volume(), user=1500)
    assert run(client, session.container_id, "id -u; stat -c %u:%g . ~") == "1500\n1500:1500\n1500:1500"


THEME = "lab/api/settings/@jupyterlab/apputils-extension:themes"
# In one process, as in a notebook: install a package, and import it.
INSTALL = """
import subprocess, sys
install = ["install", "--quiet", "--no-warn-script-location", "--no-index"]
subprocess.run([sys.executable, "-m", "pip", *install, sys.argv[1]], check=True)
import tiny
print(tiny.__file__)
"""


def ask(session: Session, method: str, path: str, body: Any = None) -> Any:
    """The server's answer to a request with its token."""
    header = {"Authorization": f"token {session.server_info.token}"}
    answer = requests.request(method, session.url + path, json=body, headers=header, timeout=20)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def test_a_home_keeps_settings_and_packages(
    client: Any, start: ServerFactory, pipeline_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = owned(tmp_path_factory.mktemp("home"))
    wheel = make_wheel(pipeline_dir)
    first, other = start(home=home, read_only=True), start(home=home)
    ask(first, "PUT", THEME, {"raw": '{"theme":"JupyterLab Dark"}'})
    for session in (first, other):  # at once, and each has its own layout of windows
        ask(session, "PUT", "lab/api/workspaces/default", {"data": {}, "metadata": {"id": "default"}})
    script = f"echo $HOME; ls -A ~/.jupyter/lab/workspaces; python - ./{wheel} <<'END'\n{INSTALL}\nEND"
    site = "/home/jupyter-launcher/.local/lib/python3."
    shown = run(client, first.container_id, script).splitlines()
    assert shown[:-1] == ["/home/jupyter-launcher", *sorted([first.id, other.id])]
    assert shown[-1].startswith(site)
    broken = make_wheel(pipeline_dir, "tornado", "99.0", "raise ImportError('a broken tornado')")
    run(client, first.container_id, f"pip install --quiet --no-index /pipeline-dir/{broken}")
    first.stop()
    again = start(home=home)
    assert ask(again, "GET", THEME)["raw"] == '{"theme":"JupyterLab Dark"}'
    assert run(client, again.container_id, "python -c 'import tiny; print(tiny.__file__)'").startswith(site)
    assert "a broken tornado" in run(client, again.container_id, "python -c 'import tornado'")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may make a directory of somebody else's")
def test_a_home_of_somebody_else_is_refused(start: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    with pytest.raises(PipelineDirError, match=f"home {home} cannot be used: user .* of the server cannot write to"):
        start(home=home)


def test_packages_of_a_user_are_not_the_servers(client: Any, start: ServerFactory, pipeline_dir: Path) -> None:
    """Nobody writes into the server's environment, root included, and the server does not look into the user's."""
    wheel = make_wheel(pipeline_dir)
    pipeline_dir.chmod(0o755)
    session = start(user="0:0", pipeline_read_only=True)
    seen = run(client, session.container_id, f"python - ./{wheel} <<'END'\n{INSTALL}\nEND")
    assert seen.startswith("/home/jovyan/.local/")
    probe = "echo 'import site; print(site.ENABLE_USER_SITE)' >/tmp/jupyter-probe && cp /tmp/jupyter-probe /tmp/probe"
    seen = run(client, session.container_id, f"{probe}; for name in jupyter-probe probe; do python /tmp/$name; done")
    assert seen.split() == ["False", "True"]


def test_an_editor_finds_the_server_again_by_a_token_of_the_callers(
    client: Any, launcher: Launcher, start: ServerFactory, pipeline_dir: Path
) -> None:
    token = Secret(secrets.token_urlsafe(48))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    first = start(session_id=uuid.uuid4().hex[:12], host_port=port, token=lambda: token.text, secrets={"db": "x"})
    assert first.server_info.token == token.text
    assert launcher.get(first.id).lab_url == first.lab_url
    with pytest.raises(SessionConflictError, match="another token"):
        start(session_id=first.id, host_port=port, token=Secret("f" * 64), secrets={"db": "x"})
    shown = run(client, first.container_id, "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; ls /run/jupyter-launcher")
    assert "given.token" not in shown.splitlines()[-20:]
    assert token.text not in shown + json.dumps(client.containers.get(first.container_id).attrs)
    first.stop()
    again = start(session_id=first.id, host_port=port, token=token)
    assert (again.joined, again.lab_url) == (False, first.lab_url)
    assert ask(again, "GET", "api/kernels") == []


def test_a_session_is_paused_and_goes_on(client: Any, launcher: Launcher, start: ServerFactory) -> None:
    require_pause(client)
    session = start(session_id=uuid.uuid4().hex[:12], lease=600)
    session.pause()
    launcher.pause(session.id)
    assert session.status().state is SessionState.PAUSED
    for ask_again in (lambda: launcher.get(session.id), session.renew):
        with pytest.raises(ExecError, match="paused"):
            ask_again()
    assert launcher.resume(session.id).server_info == session.server_info
    session.resume()
    assert ask(session, "GET", "api/kernels") == []
    session.pause()
    assert session.stop().method is StopMethod.API

"""An image's own configuration of Jupyter: what the launcher holds, and what it keeps out of the pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import Launcher, Mount, Session
from tests.integration.test_session import authorized, in_container

Start = Callable[..., Session]
HASHED = f"sha1:salt:{hashlib.sha1(b'pwsalt').hexdigest()}"  # noqa: S324 - Jupyter's oldest, which needs no package
SERVER = f"""
c.ServerApp.token = 'of-the-image'
c.ServerApp.password = {HASHED!r}
c.ServerApp.password_required = True
c.PasswordIdentityProvider.token = 'of-the-image'
c.ServerApp.certfile = '/none.pem'
c.ServerApp.sock = '/tmp/none'
c.FileContentsManager.root_dir = '/tmp'
c.ServerApp.allow_origin = 'https://of-the-image.example'
"""
LAB = f"""
c.NotebookApp.base_url = '/of-the-image/'
c.NotebookApp.certfile = '/none.pem'
c.NotebookApp.token = ''
c.NotebookApp.password = {HASHED!r}
c.LabApp.port = 9999
c.ServerApp.port = 9999
"""


@pytest.fixture
def configured(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Options of a start with configuration files; the launcher's comes before them, as before all of an image."""

    def options(**files: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("own")
        folder.chmod(0o755)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        environment = {"JUPYTER_CONFIG_PATH": "/own"}
        return {"mounts": [Mount(source=str(folder), target="/own")], "environment": environment}

    return options


def log_in(session: Session, password: str) -> int:
    with requests.Session() as browser:
        browser.get(f"{session.url}login", timeout=10)
        form = {"_xsrf": browser.cookies["_xsrf"], "password": password}
        return browser.post(f"{session.url}login", form, allow_redirects=False, timeout=10).status_code


def test_what_the_launcher_needs_holds_and_the_rest_stays(
    start: Start,
    launcher: Launcher,
    configured: Callable[..., dict[str, Any]],
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    as_json = json.dumps({"IdentityProvider": {"hashed_password": HASHED}, "ServerApp": {"base_url": "/json/"}})
    options = configured(jupyter_config__py=SERVER, jupyter_lab_config__py=LAB, jupyter_server_config__json=as_json)
    session = start(session_id="configured", **options)
    info = launcher.get("configured").server_info
    assert info == session.server_info
    assert (info.base_url, info.port, info.secure, info.password) == ("/", 8888, False, False)
    if keeps_logs:
        assert " 403 " not in session.logs()
    assert [log_in(session, "pw"), log_in(session, info.token)] == [401, 302]
    url = f"{session.url}api/contents"
    assert requests.get(url, params={"token": "of-the-image"}, timeout=10).status_code == 403
    answer = requests.put(f"{url}/new", json={"type": "directory"}, headers=authorized(session), timeout=10)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://of-the-image.example"
    assert (Path(str(session.pipeline_dir)) / "new").is_dir()


# What Jupyter keeps for itself.


def write(session: Session, path: str, text: str) -> None:
    cell: dict[str, Any] = {"cell_type": "code", "source": text, "metadata": {}, "outputs": [], "execution_count": None}
    book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    ask(session, "PUT", path, json={"type": "notebook", "content": book})


def ask(session: Session, method: str, path: str, **options: Any) -> requests.Response:
    url = f"{session.url}api/contents/{path}"
    answer = requests.request(method, url, headers=authorized(session), timeout=10, **options)
    assert answer.status_code < 300, answer.text
    return answer


def read(session: Session, path: str) -> str:
    return str(ask(session, "GET", path).json()["content"]["cells"][0]["source"])


def files_of(session: Session) -> list[str]:
    folder = Path(str(session.pipeline_dir))
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_checkpoints_are_kept_out_of_the_pipeline_and_apart(start: Start, client: Any) -> None:
    session = start()
    for folder in ("one", "other"):
        ask(session, "PUT", folder, json={"type": "directory"})
    for path in ("n.ipynb", "one/n.ipynb", "other/n.ipynb"):
        write(session, path, f"first {path}")
        ask(session, "POST", f"{path}/checkpoints")
        write(session, path, "second")
    ask(session, "POST", "one/n.ipynb/checkpoints/checkpoint")
    texts = [read(session, path) for path in ("n.ipynb", "one/n.ipynb", "other/n.ipynb")]
    assert texts == ["second", "first one/n.ipynb", "second"]
    # They go with their folder, and with their file.
    ask(session, "PATCH", "other", json={"path": "moved"})
    ask(session, "PATCH", "moved/n.ipynb", json={"path": "moved/m.ipynb"})
    ask(session, "POST", "moved/m.ipynb/checkpoints/checkpoint")
    assert read(session, "moved/m.ipynb") == "first other/n.ipynb"
    ask(session, "DELETE", "moved")
    ask(session, "PUT", "moved", json={"type": "directory"})
    write(session, "moved/m.ipynb", "anew")
    assert files_of(session) == ["moved", "moved/m.ipynb", "n.ipynb", "one", "one/n.ipynb"]
    found = in_container(client, session, "find ~/.local/share/jupyter-launcher/checkpoints -name '*.ipynb'")
    assert sorted(line.rpartition("/")[2] for line in found.split()) == [
        "m-checkpoint.ipynb",
        "n-checkpoint.ipynb",
        "n-checkpoint.ipynb",
    ]
    # Nor is anything offered that this user cannot install.
    answer = requests.get(f"{session.url}lab/api/extensions", headers=authorized(session), timeout=30)
    assert answer.status_code == 200
    page = requests.get(f"{session.url}lab", headers=authorized(session), timeout=10).text
    assert '"can_install": false' in page


def test_what_somebody_sets_for_checkpoints_and_extensions_holds(
    start: Start, configured: Callable[..., dict[str, Any]]
) -> None:
    own = configured(
        jupyter_server_config__py="c.FileCheckpoints.checkpoint_dir = '.mine'\n",
        jupyter_lab_config__py="c.LabApp.extension_manager = 'pypi'\n",
    )
    session = start(**own)
    write(session, "n.ipynb", "text")
    ask(session, "POST", "n.ipynb/checkpoints")
    assert files_of(session) == [".mine", ".mine/n-checkpoint.ipynb", "n.ipynb"]
    page = requests.get(f"{session.url}lab", headers=authorized(session), timeout=10).text
    assert '"can_install": true' in page

"""The pipeline's code as its users run it."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from jupyter_kernel_client import JupyterKernelClient

from jupyter_launcher import Session

TOTAL = "import pathlib, orders; print(orders.total(pathlib.Path('orders.csv')))"


def run(session: Session, code: str) -> str:
    """What a new kernel of the session prints."""
    server = {"server_url": session.url.rstrip("/"), "token": session.server_info.token}
    with JupyterKernelClient(**server, client_kwargs={"timeout": 3}) as kernel:
        reply = kernel.execute(code)
    assert reply["status"] == "ok", reply
    return "".join(output.get("text", "") for output in reply["outputs"])


def test_the_total_in_a_notebook(jupyter_server: Session) -> None:
    assert run(jupyter_server, TOTAL).strip() == "42"


def test_the_total_on_a_kernel_gateway(jupyter_gateway: object, jupyter_server: Session) -> None:
    assert jupyter_server.gateway is not None
    assert jupyter_server.gateway.name == str(jupyter_gateway)
    assert run(jupyter_server, TOTAL).strip() == "42"


@pytest.mark.parametrize("name", ["orders.csv", "orders.py"])
def test_the_file_browser_shows_the_pipeline(jupyter_server: Session, jupyter_pipeline_dir: Path, name: str) -> None:
    headers = {"Authorization": f"token {jupyter_server.server_info.token}"}
    shown = requests.get(f"{jupyter_server.url}api/contents/{name}", headers=headers, timeout=10).json()
    assert shown["content"] == (jupyter_pipeline_dir / name).read_text()

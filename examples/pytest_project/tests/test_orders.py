"""The pipeline's code as its users run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_launcher import CodeError, Session

TOTAL = "import pathlib, orders; orders.total(pathlib.Path('orders.csv'))"


def test_the_total_in_a_notebook(jupyter_server: Session) -> None:
    assert jupyter_server.execute(TOTAL).text == "42"


def test_what_a_user_sees_without_orders(jupyter_server: Session, jupyter_pipeline_dir: Path) -> None:
    (jupyter_pipeline_dir / "orders.csv").unlink()
    with pytest.raises(CodeError) as caught:
        jupyter_server.execute(TOTAL)
    assert caught.value.ename == "FileNotFoundError"


def test_the_total_on_a_kernel_gateway(jupyter_gateway: object, jupyter_server: Session) -> None:
    assert jupyter_server.gateway is not None
    assert jupyter_server.gateway.name == str(jupyter_gateway)
    assert jupyter_server.execute(TOTAL).text == "42"


def test_the_file_browser_shows_the_pipeline(jupyter_server: Session, jupyter_pipeline_dir: Path) -> None:
    shown = jupyter_server.request("GET", "api/contents/orders.py").json()
    assert shown["content"] == (jupyter_pipeline_dir / "orders.py").read_text()

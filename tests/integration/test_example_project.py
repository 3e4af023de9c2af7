"""The example project, with nothing but the wheel and what its extra brings; beside pytest-jupyter too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BESIDE_PYTEST_JUPYTER = """
pytest_plugins = ["pytest_jupyter.jupyter_server"]

async def test_both(jp_fetch, jp_root_dir, jupyter_server, jupyter_pipeline_dir):
    assert (await jp_fetch("api")).code == 200
    assert jupyter_server.pipeline_dir == jupyter_pipeline_dir != jp_root_dir
    assert jupyter_server.status().state.value == "ready"
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel as a user's would."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    made = folder / "venv" / "bin" / "python"
    packages = [f"{wheel}[pytest,execute]", "pytest-xdist", "pytest-jupyter[server]"]
    subprocess.run([str(made), "-m", "pip", "--disable-pip-version-check", "install", "-q", *packages], check=True)
    return made


def run(python: Path, folder: Path, *options: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    line = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "--jupyter-docker=require", *options]
    result = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_example_project(python: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "pytest_project", tmp_path / "project")
    assert "4 passed" in run(python, tmp_path / "project", "-n2")


def test_pytest_jupyter_beside_it(python: Path, tmp_path: Path) -> None:
    (tmp_path / "test_both.py").write_text(BESIDE_PYTEST_JUPYTER)
    assert "1 passed" in run(python, tmp_path)

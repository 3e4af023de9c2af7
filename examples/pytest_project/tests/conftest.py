"""Each test has the pipeline to itself, in JupyterLab."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PIPELINE = Path(__file__).parent.parent / "pipeline"


@pytest.fixture
def jupyter_pipeline_dir(jupyter_pipeline_dir: Path) -> Path:
    shutil.copytree(PIPELINE, jupyter_pipeline_dir, dirs_exist_ok=True)
    return jupyter_pipeline_dir

"""The README's example does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupyter_launcher

README = Path(jupyter_launcher.__file__).parent.parent / "README.md"


def test_the_example_runs(client: Any, gateway: str, tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    assert len(example.splitlines()) <= 10
    (tmp_path / "my-pipeline").mkdir()
    container = client.containers.get(gateway)
    container.rename("enterprise-gateway")
    try:
        run = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        container.rename(gateway)
    assert run.returncode == 0, run.stderr
    lab_url, internal_url, token = run.stdout.split()
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/lab\?token={token}", lab_url)
    assert re.fullmatch(r"http://1\d+\.\d+\.\d+\.\d+:8888/", internal_url)
    left = client.containers.list(all=True, filters={"label": "jupyter-launcher.namespace=default"})
    assert not any(item.labels["jupyter-launcher.pipeline-dir"].startswith(str(tmp_path)) for item in left)

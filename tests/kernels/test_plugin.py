"""The pytest plugin, in a run of its own, with kernels in containers."""

from __future__ import annotations

from pathlib import Path

from jupyter_launcher import DEFAULT_IMAGE
from tests.integration.pages import run_pytest

TESTS = """
VERSION = "import sys; print(*sys.version_info[:2])"


def test_each_kernel_has_its_python(jupyter_server):
    for name, version in (("old", "3 11\\n"), ("new", "3 13\\n")):
        with jupyter_server.kernel(name=name) as kernel:
            assert kernel.execute(VERSION).text == version


def test_a_gateway_has_them_too(jupyter_gateway, jupyter_server):
    assert jupyter_gateway.kernels == ("old", "new")
    with jupyter_server.kernel(name="old") as kernel:
        assert kernel.execute(VERSION).text == "3 11\\n"
"""

CONFTEST = """
import dataclasses, os
import pytest

@pytest.fixture(scope="session")
def jupyter_launcher_config(jupyter_launcher_config):
    return dataclasses.replace(jupyter_launcher_config, launcher={"engine_socket": os.environ.get("ENGINE_SOCKET")})
"""


def test_tests_have_kernels_of_two_images(tmp_path: Path, python_311: str, isolation: str) -> None:
    lines = [
        f"jupyter_isolation = {isolation}",
        "jupyter_kernels =",
        f"    old = {python_311}",
        f"    new={DEFAULT_IMAGE}",
    ]
    (tmp_path / "pytest.ini").write_text("\n".join(["[pytest]", *lines, ""]))
    (tmp_path / "test_two.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    assert "2 passed" in run_pytest(tmp_path)

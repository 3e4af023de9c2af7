"""The pytest plugin: fixtures that give tests a real JupyterLab in a container.

pytest loads this package, so the hooks and fixtures of ``plugin`` and ``options`` are named here.
"""

from __future__ import annotations

from jupyter_launcher.pytest_plugin.config import LauncherConfig
from jupyter_launcher.pytest_plugin.options import pytest_addoption
from jupyter_launcher.pytest_plugin.plugin import (
    ServerFactory,
    _jupyter_reuse,
    _jupyter_run,
    jupyter_gateway,
    jupyter_gateway_dir,
    jupyter_launcher,
    jupyter_launcher_config,
    jupyter_pipeline_dir,
    jupyter_server,
    jupyter_server_factory,
    pytest_collect_file,
    pytest_configure,
    pytest_report_collectionfinish,
    pytest_runtest_makereport,
    pytest_terminal_summary,
    pytest_testnodedown,
)

__all__ = [
    "LauncherConfig",
    "ServerFactory",
    "_jupyter_reuse",
    "_jupyter_run",
    "jupyter_gateway",
    "jupyter_gateway_dir",
    "jupyter_launcher",
    "jupyter_launcher_config",
    "jupyter_pipeline_dir",
    "jupyter_server",
    "jupyter_server_factory",
    "pytest_addoption",
    "pytest_collect_file",
    "pytest_configure",
    "pytest_report_collectionfinish",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]

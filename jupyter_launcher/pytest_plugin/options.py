"""The plugin's options: on pytest's command line, and in its ini file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, cast

import pytest

__all__ = [
    "check_options",
    "find_obstacle",
    "is_notebook",
    "may_reuse",
    "pytest_addoption",
    "read_kernel_options",
    "read_option",
    "read_scope",
    "read_start_timeout",
    "skip_or_fail",
]

Scope: TypeAlias = Literal["function", "class", "module", "package", "session"]

_CHOICES = {
    "docker": ("auto", "require", "skip"),
    "isolation": ("environment", "kernel"),
    "keep": ("never", "failed", "always"),
    "scope": ("function", "class", "module", "package", "session"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each option is an ini option too: ``--jupyter-keep`` and ``jupyter_keep``."""
    group = parser.getgroup("jupyter-launcher", "JupyterLab in containers")
    for name, default, text in (
        ("docker", "auto", "auto|require|skip: fail or skip without a Docker engine; auto fails where CI is set"),
        ("image", "", "the server's image"),
        ("gateway-image", "", "the gateway's image"),
        (
            "isolation",
            "environment",
            "environment|kernel: a container for each image of jupyter_kernels, or for each kernel",
        ),
        ("keep", "never", "never|failed|always: which sessions to leave running after their test"),
        ("scope", "function", "function|class|module|package|session: how long a server and its pipeline dir last"),
        ("start-timeout", "", "seconds for a server to be ready"),
        ("notebooks", "", "GLOB of notebooks, such as '*.ipynb' or 'steps/*.ipynb': each of them is a test"),
    ):
        dest = f"jupyter_{name.replace('-', '_')}"
        group.addoption(f"--jupyter-{name}", dest=dest, choices=_CHOICES.get(name), help=text)
        parser.addini(dest, text, default=default)
    text = "NAME=IMAGE: a kernel that runs in a container of this image; may be given more than once"
    group.addoption("--jupyter-kernels", dest="jupyter_kernels", action="append", metavar="NAME=IMAGE", help=text)
    parser.addini("jupyter_kernels", text, type="linelist", default=[])
    text = "servers stay for the next run of the same tests, up to an hour"
    group.addoption("--jupyter-reuse", dest="jupyter_reuse", action="store_true", default=None, help=text)
    parser.addini("jupyter_reuse", text, type="bool", default=False)


def read_option(config: pytest.Config, name: str) -> str:
    """What was given to an option by its name, such as ``start_timeout``; the command line has precedence.

    Raises:
        pytest.UsageError: it is none of those that there are.
    """
    given = config.getoption(f"jupyter_{name}")
    value = str(config.getini(f"jupyter_{name}") if given is None else given)
    choices = _CHOICES.get(name, (value,))
    if value not in choices:
        msg = f"jupyter_{name} is {value!r}; give one of {', '.join(choices)}"
        raise pytest.UsageError(msg)
    return value


def _read_kernels(config: pytest.Config) -> dict[str, str] | None:
    """The names of kernels that run in containers, and their images; None: none do.

    Raises:
        pytest.UsageError: a line is no ``NAME=IMAGE``, or a name is there twice.
    """
    found: dict[str, str] = {}
    for line in config.getoption("jupyter_kernels") or config.getini("jupyter_kernels"):
        name, _, image = (word.strip() for word in line.partition("="))
        if not (name and image) or name in found:
            msg = f"jupyter_kernels is {line!r}; give NAME=IMAGE, each name once"
            raise pytest.UsageError(msg)
        found[name] = image
    return found or None


def read_kernel_options(config: pytest.Config) -> dict[str, Any]:
    """The fields ``kernels`` and ``isolation`` of a ``LauncherConfig``."""
    return {"kernels": _read_kernels(config), "isolation": read_option(config, "isolation")}


def read_scope(fixture_name: str, config: pytest.Config) -> Scope:  # noqa: ARG001 - pytest hands it over by name
    """The scope of the fixtures of one session."""
    return cast("Scope", read_option(config, "scope"))


def _wants_reuse(config: pytest.Config) -> bool:
    given = config.getoption("jupyter_reuse")
    return bool(config.getini("jupyter_reuse") if given is None else given)


def find_obstacle(config: pytest.Config) -> str:
    """Why no server is reused although that is wanted; empty where it is not wanted, or where nothing forbids it."""
    if not _wants_reuse(config):
        return ""
    if os.environ.get("CI"):
        return "the variable CI is set"
    if (keep := read_option(config, "keep")) != "never":
        return f"jupyter_keep is {keep}"
    return "" if getattr(config, "cache", None) else "pytest has no cache here"


def may_reuse(config: pytest.Config) -> bool:
    """Whether the servers of earlier runs are wanted, and nothing forbids it."""
    return _wants_reuse(config) and not find_obstacle(config)


def read_start_timeout(config: pytest.Config) -> float | None:
    """Seconds for a server to be ready; None: the launcher's default.

    Raises:
        pytest.UsageError: it is no number above 0.
    """
    text = read_option(config, "start_timeout")
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if float(text) > 0:
            return float(text)
    msg = f"jupyter_start_timeout is {text!r}; give a number of seconds above 0"
    raise pytest.UsageError(msg)


def is_notebook(config: pytest.Config, path: Path) -> bool:
    """Whether a file is one of the notebooks that are tests.

    Raises:
        pytest.UsageError: the pattern cannot be.
    """
    glob = read_option(config, "notebooks")
    try:
        return bool(glob) and path.match(glob)
    except ValueError:
        msg = f"jupyter_notebooks is {glob!r}; give a pattern of paths, such as '*.ipynb'"
        raise pytest.UsageError(msg) from None


def skip_or_fail(config: pytest.Config, what: str, why: str) -> NoReturn:
    """End a test that cannot run here, as ``--jupyter-docker`` says."""
    mode = read_option(config, "docker")
    if mode == "require" or (mode == "auto" and os.environ.get("CI")):
        pytest.fail(f"{why} (--jupyter-docker=skip skips instead)", pytrace=False)
    pytest.skip(f"{what}: {why} (--jupyter-docker=require fails instead)")


def check_options(config: pytest.Config) -> None:
    """Refuse options that cannot be.

    Raises:
        pytest.UsageError: one of them cannot.
    """
    for name in _CHOICES:
        read_option(config, name)
    _read_kernels(config)
    read_start_timeout(config)
    is_notebook(config, config.rootpath)

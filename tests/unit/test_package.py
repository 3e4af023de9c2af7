"""What holds for the package as a whole."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jupyter_launcher

PACKAGE = Path(jupyter_launcher.__file__).parent
LAYERS = (
    ("_version", "errors", "interrupt", "cli_browser"),
    ("deadline", "models", "pytest_config"),
    ("engine_ssh", "engine_types", "flow", "origin", "pipeline_dir", "cli_progress"),
    ("spec",),
    ("engine", "server_config"),
    ("engine_image", "container"),
    ("place",),
    ("gateway", "host_dir", "server"),
    ("gateway_container", "session", "starting"),
    ("registry", "cli_output"),
    ("launcher",),
    ("diagnosis", "doctor", "leftovers"),
    ("cli", "pytest_run"),
    ("pytest_plugin", "__main__"),
)


def imports(module: str) -> set[str]:
    """Every module that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} if node.module != "jupyter_launcher" else set()
            if node.module == "jupyter_launcher":
                found |= {f"jupyter_launcher.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_its_layer() -> None:
    assert {name for layer in LAYERS for name in layer} | {"__init__"} == {path.stem for path in PACKAGE.glob("*.py")}


@pytest.mark.parametrize(("depth", "module"), [(depth, name) for depth, layer in enumerate(LAYERS) for name in layer])
def test_a_module_imports_from_lower_layers_only(depth: int, module: str) -> None:
    lower = {name for layer in LAYERS[:depth] for name in layer}
    ours = {name.partition(".")[2] for name in imports(module) if name.startswith("jupyter_launcher.")}
    if module == "cli":  # takes the public names from the package itself
        ours -= set(jupyter_launcher.__all__)
    assert ours <= lower


@pytest.mark.parametrize(
    ("package", "importers"),
    [
        ("docker", {"engine"}),
        ("requests", {"server"}),
        ("tenacity", {"server"}),
        ("click", {"cli"}),
        ("rich", {"cli_progress"}),
        ("pytest", {"pytest_plugin"}),
    ],
)
def test_foreign_packages_have_one_importer(package: str, importers: set[str]) -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert {name for name in modules if any(item.split(".")[0] == package for item in imports(name))} == importers


def test_public_names() -> None:
    assert jupyter_launcher.__all__ == sorted(jupyter_launcher.__all__, key=lambda name: (not name.isupper(), name))
    for name in jupyter_launcher.__all__:
        assert getattr(jupyter_launcher, name) is not None
    assert dir(jupyter_launcher) == sorted(jupyter_launcher.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = jupyter_launcher.Nonsense


def test_public_names_are_documented() -> None:
    undocumented = [
        name
        for name in jupyter_launcher.__all__
        if isinstance(value := getattr(jupyter_launcher, name), type) and not value.__doc__
    ]
    assert undocumented == []


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, jupyter_launcher; print(*{'docker', 'requests', 'tenacity', 'click'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_extra_the_command_says_what_to_install(missing: str) -> None:
    code = (
        "import importlib.util as util, sys; find = util.find_spec\n"
        f"util.find_spec = lambda name: None if name == {missing!r} else find(name)\n"
        "from jupyter_launcher.__main__ import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    told = f"jupyter-launcher: the command needs {missing}; pip install 'jupyter-launcher[cli]'"
    assert run.stderr.strip() == told

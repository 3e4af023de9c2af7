"""What holds for the package as a whole: its floors, its rooms, its public names."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_launcher
from jupyter_launcher.spec.checks import LABEL_PREFIX
from jupyter_launcher.spec.labels import gateway_labels, helper_labels
from tests.unit.fakes import session_labels

PACKAGE = Path(jupyter_launcher.__file__).parent

# Lowest first. A module imports from the floors below its own, and from its own room (a folder).
FLOORS = (
    ("results",),
    ("errors", "_version", "forks", "threads"),
    ("acts",),
    ("waiting",),
    ("models",),
    ("engine",),
    ("spec",),
    ("host", "server"),
    ("gateway", "swarm"),
    ("work",),
    ("sessions",),
    ("warm", "gateways"),
    ("launcher",),
    ("aio", "cli", "pytest_plugin"),
    ("__main__",),
)
ROOMS = {room for floor in FLOORS for room in floor}
# Run by the Python of an image, not by this package.
INSIDE = PACKAGE / "server" / "inside"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if INSIDE not in path.parents
}
INITS = [name for name in MODULES if name.endswith(".__init__")]

# Packages of others, and the modules or rooms that import them.
IMPORTERS = {
    "docker": {"engine"},
    "requests": {"engine"},  # for the types of the SDK's answers
    "urllib3": {"engine"},
    "http.client": {"server.api"},
    "tenacity": {"waiting"},
    "click": {"cli"},
    "rich": {"cli.progress"},
    "pytest": {"pytest_plugin"},
    "filelock": {"pytest_plugin"},
    "anyio": {"aio"},
    "websocket": {"work.channels"},
}


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(node: ast.AST, *, at_runtime: bool = False) -> Iterator[str]:
    """Every name that is imported in a part of a module, with its module: ``a.b.name``.

    ``at_runtime``: without what only a type checker imports.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports name the whole module"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif not (at_runtime and isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from imports(child, at_runtime=at_runtime)


@functools.cache
def runtime_imports(module: str) -> frozenset[str]:
    return frozenset(imports(tree(module), at_runtime=True))


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def own_imports(module: str) -> set[str]:
    """The modules of this package that a module imports, those for a type checker too."""
    names = {
        name.removeprefix("jupyter_launcher.") for name in imports(tree(module)) if name.startswith("jupyter_launcher.")
    }
    return {_module_of(name) for name in names}


def _module_of(name: str) -> str:
    """``engine.types.Progress`` → ``engine.types``; ``models.Event`` → ``models.__init__``."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        for candidate in (".".join(parts[:end]), ".".join([*parts[:end], "__init__"])):
            if candidate in MODULES:
                return candidate
    msg = f"{name} is in no module"
    raise AssertionError(msg)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_is_in_a_room_and_every_room_is_on_a_floor() -> None:
    assert {room_of(name) for name in MODULES} == ROOMS | {"__init__"}
    assert sum(len(floor) for floor in FLOORS) == len(ROOMS)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_a_module_imports_from_the_floors_below_or_from_its_own_room(module: str) -> None:
    (depth,) = [depth for depth, floor in enumerate(FLOORS) if room_of(module) in floor]
    allowed = {room for floor in FLOORS[:depth] for room in floor} | {room_of(module)}
    assert {name for name in own_imports(module) if room_of(name) not in allowed} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "spec"])
def test_what_is_asked_for_knows_no_engine_but_its_values(module: str) -> None:
    assert {name for name in own_imports(module) if room_of(name) == "engine"} <= {"engine.types"}


def test_the_values_of_the_engine_are_plain() -> None:
    assert own_imports("engine.types") == {"engine.shapes"}
    assert own_imports("engine.shapes") == {"errors"}


@pytest.mark.parametrize("package", IMPORTERS)
def test_packages_of_others_have_one_importer(package: str) -> None:
    found = {name for name in MODULES if any(f"{item}.".startswith(f"{package}.") for item in runtime_imports(name))}
    allowed = IMPORTERS[package]
    assert {name for name in found if name not in allowed and room_of(name) not in allowed} == set()
    assert {item for item in allowed if not any(item in (name, room_of(name)) for name in found)} == set()


@pytest.mark.parametrize("module", [name for name in INITS if room_of(name) not in ("models", "pytest_plugin")])
def test_the_init_of_a_room_is_a_docstring(module: str) -> None:
    (only,) = tree(module).body
    assert isinstance(only, ast.Expr)
    assert ast.get_docstring(tree(module))


def test_no_room_is_crowded() -> None:
    sizes = {folder: len(list(folder.glob("*.py"))) for folder in {path.parent for path in MODULES.values()}}
    assert {folder.name: size for folder, size in sizes.items() if size > 12} == {}


def lines_of_code(module: str) -> int:
    """The lines of a module without its docstrings."""
    found = tree(module)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        node.body[0]
        for node in ast.walk(found)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
    ]
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    return lines - sum((node.end_lineno or 0) - node.lineno + 1 for node in docstrings)


def test_no_module_is_long() -> None:
    assert {name: lines for name in MODULES if (lines := lines_of_code(name)) > 300} == {}


def test_labels_are_read_in_one_place() -> None:
    """``.labels[…]`` and ``.labels.get(…)``. The engine compares those that it was asked for; nodes have others."""
    found = {
        name
        for name in MODULES
        for node in ast.walk(tree(name))
        if (isinstance(node, ast.Subscript) and _is_labels(node.value))
        or (isinstance(node, ast.Attribute) and node.attr == "get" and _is_labels(node.value))
    }
    assert (
        found - {"spec.labels", "spec.kernels.labels", "engine.client", "engine.network.own", "engine.swarm.nodes"}
        == set()
    )


def _is_labels(node: ast.AST) -> bool:
    return _last_name(node) in ("labels", "_labels")


def test_names_of_labels_are_written_in_one_place() -> None:
    """Outside of it only an error names one."""
    names = {*session_labels().to_labels(), *gateway_labels("unit", "", ""), *helper_labels("", "")}
    found = {
        name
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Constant) and node.value in (*names, LABEL_PREFIX)
    }
    assert found - {"spec.checks", "sessions.listing"} == set()


def test_what_an_engine_is_is_asked_in_one_place() -> None:
    """Everybody else has ``Engine.traits``, which is asked once and may be unknown."""
    found = {
        (name, node.lineno)
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute)
        and node.attr in ("version", "info")
        and _last_name(node.value) in ("api", "_api", "client", "_client", "engine", "_engine")
    }
    assert {name for name, _ in found} == {"engine.client", "engine.connection"}


def test_nobody_sleeps() -> None:
    """A wait has a deadline, and looks at what it waits for: ``waiting.attempts``, by the only sleep that there is."""
    found = [name for name in MODULES for node in ast.walk(tree(name)) if _last_name(node) == "sleep"]
    assert found == ["acts"]


def test_a_base_exception_is_caught_only_where_it_goes_on() -> None:
    """It may be the end of an act. These hand it over to another thread; every other handler raises."""
    swallowed = {
        name
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or _last_name(node.type) == "BaseException")
        and not isinstance(node.body[-1], ast.Raise)
    }
    assert swallowed == {"acts", "aio.loop", "engine.images"}


def test_the_rules_see_what_they_are_for() -> None:
    source = ast.parse("import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\nx.labels['y']\n")
    assert set(imports(source)) == {"a.b", "c.d", "e"}
    assert set(imports(source, at_runtime=True)) == {"a.b", "c.d"}
    assert [_is_labels(node.value) for node in ast.walk(source) if isinstance(node, ast.Subscript)] == [True]
    assert _module_of("engine.types.Progress") == "engine.types"
    assert _module_of("models.Event") == "models.__init__"


def test_public_names() -> None:
    assert jupyter_launcher.__all__ == sorted(jupyter_launcher.__all__, key=lambda name: (not name.isupper(), name))
    for name in jupyter_launcher.__all__:
        assert getattr(jupyter_launcher, name) is not None
    assert dir(jupyter_launcher) == sorted(jupyter_launcher.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = jupyter_launcher.Nonsense


def test_public_names_are_those_of_the_modules_and_of_the_type_checker() -> None:
    from jupyter_launcher import errors, models

    assert set(errors.__all__) | set(models.__all__) <= set(jupyter_launcher.__all__)
    checked = {name.rpartition(".")[2] for name in imports(tree("__init__"))}
    assert set(jupyter_launcher.__all__) <= checked


def test_public_names_are_documented() -> None:
    undocumented = [
        name
        for name in jupyter_launcher.__all__
        if isinstance(value := getattr(jupyter_launcher, name), type) and not value.__doc__
    ]
    assert undocumented == []


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"docker", "requests", "tenacity", "click", "anyio", "websocket"}
    code = f"import sys, jupyter_launcher; print(*{heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_package_of_an_extra_is_imported_where_it_is_used() -> None:
    code = "import sys; from jupyter_launcher import Kernel, Session; print('websocket' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_importing_what_is_asked_for_imports_no_engine() -> None:
    code = "import sys, jupyter_launcher.spec.plan; print(*{'docker', 'requests', 'urllib3'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_without_its_extra_the_async_launcher_says_what_to_install() -> None:
    code = "import sys; sys.modules['anyio'] = None; from jupyter_launcher import Launcher, AsyncLauncher"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = "ImportError: AsyncLauncher needs anyio; pip install 'jupyter-launcher[async]'"
    assert run.stderr.strip().rpartition("\n")[2] == told


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

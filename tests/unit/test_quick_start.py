"""The quick start of the default image: what it serves is what Python would have found, or Python finds it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_launcher.engine.images import context_dir

IMAGE = context_dir("jupyter-server")
PACKAGE = {
    "__init__.py": """
        from . import part
    """,
    "part.py": """
        import enum
        class Kind(enum.Enum):
            ONE = 1
        def fail():
            raise ValueError("failed")
    """,
    "data.txt": "data",
}

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 keeps its expressions elsewhere")

Run = Callable[..., list[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages as the image's."""
    folder = tmp_path / "site"
    (folder / "package").mkdir(parents=True)
    for name in ("jupyter_launcher_start.py", "write_start.py"):
        shutil.copy(IMAGE / name, folder)
    for name, text in PACKAGE.items():
        (folder / "package" / name).write_text(textwrap.dedent(text))
    return folder


@pytest.fixture
def run(site: Path) -> Run:
    """Lines that a Python prints that finds packages there."""

    def run(code: str, *more: str, use: bool = True) -> list[str]:
        text = f"import sys; sys.path.append({str(site)!r})\nimport jupyter_launcher_start\n"
        text += "jupyter_launcher_start.use()\n" if use else "\n"
        line = [sys.executable, *more, "-S", "-c", text + textwrap.dedent(code)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environment)
        return (ended.stdout + ended.stderr).splitlines()

    recorded = """
    import marshal
    import write_start
    expressions = write_start.note_expressions()
    import package, package.part
    import re
    for text, flags in %r:
        re.compile(text, flags)
    size, modules = write_start.write_code()
    with open(write_start.FACTS, "wb") as file:
        marshal.dump((write_start.VERSION, size, modules, expressions), file, 2)
    print(len(modules), len(expressions))
    """
    assert run("import package", use=False) == []  # Python writes the .pyc files
    assert run(recorded % EXPRESSIONS, use=False) == [f"4 {len(EXPRESSIONS)}"]
    return run


EXPRESSIONS = [
    (r"(?P<year>\d{4})-(?P<month>\d\d)|[à-ÿ]+", 2),
    (rb"(a|b)*?[^\x00-\x7f](?=c)", 0),
    (r"(?i:straße)(?<!x)y # why", 64),
    ("nothing", 0),
]


def forget_pyc(site: Path) -> None:
    shutil.rmtree(site / "package" / "__pycache__")


def test_code_comes_from_the_one_file(site: Path, run: Run) -> None:
    forget_pyc(site)
    assert run("import package; print(package.part.Kind.ONE)") == ["Kind.ONE"]
    assert not (site / "package" / "__pycache__").exists()  # nothing was compiled
    run("import package", use=False)
    assert (site / "package" / "__pycache__").exists()


FACTS = """
import importlib.resources, inspect, pickle, traceback
import package
spec, part = package.__spec__, package.part
print(spec.origin, spec.cached, package.__file__, package.__cached__, package.__path__, spec.submodule_search_locations)
print(part.__spec__.origin, part.__spec__.parent, part.__package__, part.fail.__code__.co_filename)
loader = spec.loader
print(loader.is_package("package"), loader.get_filename("package"), loader.get_data(part.__file__))
print(part.__loader__.get_source("package.part"), part.__loader__.path_stats(part.__file__))
print(importlib.resources.files("package").joinpath("data.txt").read_text())
print(inspect.getsource(part.fail), pickle.loads(pickle.dumps(part.Kind.ONE)))
try:
    part.fail()
except ValueError:
    print(traceback.format_exc())
import pkgutil
print([item.name for item in pkgutil.iter_modules(package.__path__)])
"""


def test_modules_are_as_python_itself_makes_them(run: Run) -> None:
    plain = run(FACTS, use=False)
    assert len(plain) > 15
    assert run(FACTS) == plain
    timed = run("import package.part", "-X", "importtime")
    assert [line for line in timed if line.endswith("package.part")]


@pytest.mark.parametrize(
    "change", ["longer", "as long", "older", "removed", "a package", "a module", "first on the path"]
)
def test_what_is_changed_over_it_is_seen(site: Path, run: Run, change: str, tmp_path: Path) -> None:
    part, other = site / "package" / "part.py", tmp_path / "first"
    code, seen = "import package.part; print(package.part.Kind.ONE.value)", ["2"]
    text = part.read_text().replace("ONE = 1", "ONE = 2")
    if change == "longer":
        part.write_text(text + "# longer")
    elif change in ("as long", "older"):
        part.write_text(text)
        moment = part.stat().st_mtime
        os.utime(part, (moment, moment + (10 if change == "as long" else -1000)))
    elif change == "removed":
        part.unlink()
        (site / "package" / "__init__.py").write_text("")
        code, seen = "try: import package.part\nexcept ImportError as error: print(error.name)", ["package.part"]
    elif change == "a package":
        (site / "package" / "part").mkdir()
        (site / "package" / "part" / "__init__.py").write_text(text)
    elif change == "a module":
        shutil.rmtree(site / "package")
        (site / "package.py").write_text("value = 3")
        code, seen = "import package; print(package.value)", ["3"]
    else:
        other.mkdir()
        (other / "package.py").write_text("value = 3")
        code, seen = f"sys.path.insert(0, {str(other)!r})\nimport package; print(package.value)", ["3"]
    assert run(code) == seen


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("facts", "missing"),
        ("facts", "cut"),
        ("facts", "nonsense"),
        ("code", "unreadable"),
        ("code", "cut"),
        ("code", "nonsense"),
    ],
)
def test_a_damaged_file_is_left_alone(site: Path, run: Run, file: str, change: str) -> None:
    path = site / f"jupyter_launcher_start.{file}"
    content = path.read_bytes()
    path.unlink()
    if change == "unreadable":
        path.mkdir()
    elif change != "missing":
        path.write_bytes({"cut": content[:-100], "nonsense": bytes(len(content))}[change])
    assert run("import package, re; print(package.part.Kind.ONE, re.match('noth(ing)', 'nothing')[1])") == [
        "Kind.ONE ing"
    ]


def test_another_python_takes_nothing_of_it(site: Path, run: Run) -> None:
    forget_pyc(site)
    assert run("import package; print(package.part.Kind.ONE)", "-O") == ["Kind.ONE"]
    assert [path.name for path in (site / "package" / "__pycache__").glob("part.*.opt-1.pyc")]


def test_expressions_are_as_python_itself_makes_them(run: Run) -> None:
    code = f"""
    import re
    texts = ["2026-11 ß àé", "STRAßEy", b"abab\\xffc", "nothing"]
    for pattern, flags in {EXPRESSIONS!r}:
        made = re.compile(pattern, flags)
        print(made, made.flags, made.groups, made.groupindex, made.pattern)
        print([(m.span(), m.groups()) for text in texts if type(text) is type(pattern) for m in made.finditer(text)])
    print(re.compile("other"), re.compile(re.compile("nothing")), re.compile("nothing", re.IGNORECASE).flags)
    try:
        re.compile("(")
    except re.error as error:
        print(error)
    """
    assert run(code) == run(code, use=False)
    count = """
    import re, sys
    parser = sys.modules["re"]._parser
    parse, parsed = parser.parse, []
    parser.parse = lambda text, *more: parsed.append(text) or parse(text, *more)
    for pattern, flags in %r:
        re.compile(pattern, flags)
    re.compile("other")
    print(parsed)
    """
    assert run(count % EXPRESSIONS) == ["['other']"]

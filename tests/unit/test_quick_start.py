"""The quick start of the default image: expressions are those that Python itself compiles, or Python compiles them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_launcher.engine.images import context_dir

IMAGE = context_dir("jupyter-server")

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 keeps its expressions elsewhere")

Run = Callable[..., list[str]]

EXPRESSIONS = [
    (r"(?P<year>\d{4})-(?P<month>\d\d)|[à-ÿ]+", 2),
    (rb"(a|b)*?[^\x00-\x7f](?=c)", 0),
    (r"(?i:straße)(?<!x)y # why", 64),
    ("nothing", 0),
]

RECORD = """
import re, write_start
noted = write_start.note_expressions()
for pattern, flags in %r:
    re.compile(pattern, flags)
re.compile("[[a]")  # with a warning, which is told at each start
write_start.write(noted)
print(len(noted))
"""
PARSED = """
import re, sys
parser = sys.modules["re"]._parser
parse, parsed = parser.parse, []
parser.parse = lambda text, *more: parsed.append(text) or parse(text, *more)
for pattern, flags in %r:
    re.compile(pattern, flags)
re.compile("other")
print(parsed)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Lines that a Python prints with what was recorded."""
    for name in ("jupyter_launcher_start.py", "write_start.py"):
        shutil.copy(IMAGE / name, tmp_path)

    def run(code: str, *, use: bool = True) -> list[str]:
        text = f"import sys; sys.path.append({str(tmp_path)!r})\nimport jupyter_launcher_start\n"
        text += "jupyter_launcher_start.use()\n" if use else "\n"
        line = [sys.executable, "-W", "ignore", "-S", "-c", text + textwrap.dedent(code)]
        ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
        return (ended.stdout + ended.stderr).splitlines()

    assert run(RECORD % EXPRESSIONS, use=False) == [str(len(EXPRESSIONS))]
    return run


@pytest.mark.parametrize(
    "change", ["missing", "empty", "cut", "changed", "nonsense", "unreadable", "of another Python"]
)
def test_where_it_does_not_fit_python_compiles(tmp_path: Path, run: Run, change: str) -> None:
    path = tmp_path / "jupyter_launcher_start.expressions"
    content = path.read_bytes()
    path.unlink()
    version = sys.version.encode()
    other = content[4:].replace(version, b"x" * len(version))
    changed = {
        "empty": b"",
        "cut": content[:-100],
        "changed": content[:-100] + b"x" + content[-99:],
        "nonsense": bytes(len(content)),
        "of another Python": zlib.crc32(other).to_bytes(4, "big") + other,
    }
    if change == "unreadable":
        path.mkdir()
    elif change != "missing":
        path.write_bytes(changed[change])
    assert run(PARSED % EXPRESSIONS) == [str([*(pattern for pattern, _ in EXPRESSIONS), "other"])]


def test_the_same_expressions_are_the_same_file(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "jupyter_launcher_start.expressions"
    content = path.read_bytes()
    run(RECORD % EXPRESSIONS[::-1], use=False)
    assert path.read_bytes() == content


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
    plain = run(code, use=False)
    assert len(plain) == 2 * len(EXPRESSIONS) + 2
    assert run(code) == plain
    assert run(PARSED % EXPRESSIONS) == ["['other']"]

"""The default image's environment: who sees the packages of a user, and in which order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_launcher.engine.images import context_dir

IMAGE = context_dir("jupyter-server")
SHOW = """
import json, site, sys
folders = [name for name in sys.path if name.endswith("-packages")]
print(json.dumps([site.ENABLE_USER_SITE, folders[:2], sys.base_prefix == sys.prefix]))
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An environment as the image has it; its HOME is beside it, with a folder for the packages of a user."""
    prefix = tmp_path / "env"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    home = Path(os.path.realpath(sys.executable)).parent
    (prefix / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = true\n")
    packages = prefix / python_folder()
    packages.mkdir(parents=True)
    for name in ("jupyter_launcher_site.py", "jupyter_launcher_start.py"):
        shutil.copy(IMAGE / name, packages)
    (packages / "jupyter_launcher_site.pth").write_text("import jupyter_launcher_site")
    (tmp_path / "home" / ".local" / "bin").mkdir(parents=True)
    (tmp_path / "home" / ".local" / python_folder()).mkdir(parents=True)
    return prefix


def python_folder() -> Path:
    return Path("lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def show(prefix: Path, *argv: str, **variables: str) -> list[object]:
    command = [str(prefix / "bin" / "python"), *argv]
    environment = {"HOME": str(prefix.parent / "home"), "PATH": os.defpath, **variables}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, cwd=prefix.parent)
    found: list[object] = json.loads(done.stdout)
    return found


def scripts(*paths: Path) -> None:
    for path in paths:
        path.write_text(SHOW)


def test_kernels_take_the_packages_of_a_user_first_and_the_server_none(prefix: Path) -> None:
    own, users = (str(folder / python_folder()) for folder in (prefix, prefix.parent / "home" / ".local"))
    programs = prefix.parent / "home" / ".local" / "bin"
    other, notebook, book = prefix / "bin" / "ipython", prefix / "bin" / "jupyter-notebook", programs / "jupyter-book"
    scripts(other, notebook, book, prefix.parent / "train.py", prefix.parent / "jupyter.py")
    for argv in (["-c", SHOW], [str(other)], [str(book)], ["train.py", "jupyter"], ["-X", "dev", "-m", "train"]):
        seen, folders, is_own = show(prefix, *argv)
        assert (seen, folders, is_own) == (True, [users, own], False), argv
    for argv in ([str(notebook)], ["-m", "jupyter"], ["-s", "train.py"]):
        seen, folders, _ = show(prefix, *argv)
        assert seen is False, argv
        assert isinstance(folders, list)
        assert users not in folders
    assert show(prefix, "train.py", PYTHONNOUSERSITE="1")[0] is False


def test_a_user_without_packages(prefix: Path) -> None:
    scripts(prefix.parent / "train.py")
    seen, folders, _ = show(prefix, "train.py", HOME=str(prefix.parent / "nobody"))
    assert seen is True
    assert isinstance(folders, list)
    assert folders[0] == str(prefix / python_folder())


@pytest.mark.parametrize(
    "argv",
    [
        ["-m", "pip"],
        ["-W", "ignore", "-m", "pip"],
        ["-Wignore", "-X", "utf8", "-mpip"],
        ["-bX", "utf8", "-Bm", "pip"],
        ["--check-hash-based-pycs", "always", "-m", "pip"],
        ["{prefix}/bin/pip3.13"],
        ["{prefix}/lib/pip/__pip-runner__.py"],
    ],
)
def test_pip_may_replace_what_it_cannot_write(prefix: Path, argv: list[str]) -> None:
    (prefix / "lib" / "pip").mkdir()
    argv = [text.format(prefix=prefix) for text in argv]
    scripts(prefix.parent / "pip.py", prefix / "bin" / "pip3.13", prefix / "lib" / "pip" / "__pip-runner__.py")
    assert show(prefix, *argv)[2] is False
    # Root, who may run this, could write everywhere; in a session it has no capability.
    (prefix / python_folder() / "first.pth").write_text("import os; os.access = lambda *_: False")
    assert show(prefix, *argv)[2] is True
    for other in (["-c", SHOW], ["-c", SHOW + "# /pip"], ["-W", "ignore", "-c", SHOW, "pip"]):
        assert show(prefix, *other)[2] is False, other

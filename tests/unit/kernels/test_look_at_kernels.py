"""The script that looks into an image, run by the sh of this machine in a folder that stands for one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher.spec.kernels.found import Seen, SeenSpec, parse_seen
from jupyter_launcher.spec.server import read_script

MARK = "0123456789abcdef" * 2
SCRIPT = read_script("kernels/look_at_kernels.sh")
NOTHING: Mapping[str, bytes] = {}
TOOLS = ("base64", "od", "readlink", "rm", "sed", "tr", "wc")
SHELLS = [path for name in ("sh", "dash", "bash", "busybox") if (path := shutil.which(name))]


class Image:
    """A folder in which a container's PATH, HOME and kernel specs are. What it has is in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tools = root / "tools"
        self.home = root / "home"
        self.home.mkdir(parents=True)
        self.tools.mkdir()
        for name in TOOLS:
            self.tools.joinpath(name).symlink_to(str(shutil.which(name)))
        self.path = [self.tools]
        self.environment: dict[str, str] = {"HOME": str(self.home)}

    def add_python(self, prefix: str, name: str = "python3", version: str | None = "7.4.0") -> Path:
        """A Python that says of itself that it has an ipykernel of this version; None: it is too old."""
        python = self.root / prefix / "bin" / name
        python.parent.mkdir(parents=True, exist_ok=True)
        said = f'printf "noise//%s {version}//{self.root / prefix}" "$3"' if version else "exit 1"
        python.write_text(f"#!/bin/sh\n{said}\n", encoding="utf-8")
        python.chmod(0o755)
        return python

    def add_spec(
        self,
        data: str,
        name: str = "python3",
        *,
        argv: Any = ("python", "{connection_file}"),
        logos: Mapping[str, bytes] = NOTHING,
    ) -> Path:
        """A kernel spec in a folder of Jupyter's data."""
        folder = self.root / data / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps({"argv": argv}, indent=1), encoding="utf-8")
        for logo, text in logos.items():
            (folder / f"logo-{logo}.png").write_bytes(text)
        return folder

    def look(self, program: str = "", *, shell: str = "/bin/sh") -> Seen:
        """What the script sees. Of this machine's own Python and kernel specs nothing is told."""
        words = [shell, "sh"] if Path(shell).name == "busybox" else [shell]
        environment = {"PATH": os.pathsep.join(map(str, self.path)), **self.environment}
        done = subprocess.run(
            [*words, "-c", SCRIPT, "look", program, MARK], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        found = parse_seen(done.stdout, MARK)
        assert found is not None
        here = str(self.root)
        return Seen(
            specs=tuple(spec for spec in found.specs if spec.folder.startswith(here)),
            pythons={path: text for path, text in found.pythons.items() if path.startswith(here)},
            programs=found.programs,
            commands=found.commands,
            home_is_writable=found.home_is_writable,
        )


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path / "an image's root; *")


def names(seen: Seen) -> list[str]:
    return [spec.name for spec in seen.specs]


@pytest.mark.parametrize("shell", SHELLS)
def test_what_an_image_has(image: Image, shell: str) -> None:
    python = image.add_python("env")
    folder = image.add_spec("env/share/jupyter", logos={"64x64": b"\x89PNG" * 1000})
    image.path.append(python.parent)
    assert image.look(shell=shell) == Seen(
        specs=(
            SeenSpec(
                name="python3",
                folder=str(folder),
                python=str(python),
                files={path.name: path.read_bytes() for path in folder.iterdir()},
            ),
        ),
        pythons={str(python): "7.4.0"},
        commands={"python3": str(python)},
    )


def test_an_image_that_has_nothing(image: Image) -> None:
    assert image.look() == Seen()


@pytest.mark.parametrize("shell", SHELLS)
def test_without_base64(image: Image, shell: str) -> None:
    folder = image.add_spec("home/.local/share/jupyter", logos={"svg": bytes(range(256)) + bytes(64)})
    (image.tools / "base64").unlink()
    (spec,) = image.look(shell=shell).specs
    assert spec.files == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_where_jupyter_looks(image: Image) -> None:
    image.environment |= {
        "JUPYTER_PATH": f"{image.root}/a:{image.root}/b",
        "JUPYTER_DATA_DIR": f"{image.root}/data",
        "CONDA_PREFIX": f"{image.root}/conda",
    }
    places = [
        "a",
        "b",
        "data",
        "venv/share/jupyter",
        "other/share/jupyter",
        "jupyter/share/jupyter",
        "conda/share/jupyter",
    ]
    for number, place in enumerate(places):
        image.add_spec(place, f"k{number}")
    image.path += [image.add_python("venv").parent, image.add_python("other", "python").parent]
    (image.root / "jupyter" / "bin").mkdir()
    (image.root / "jupyter" / "bin" / "jupyter").write_text("", encoding="utf-8")
    (image.root / "jupyter" / "bin" / "jupyter").chmod(0o755)
    (image.tools / "jupyter").symlink_to(image.root / "jupyter" / "bin" / "jupyter")
    assert names(image.look()) == [f"k{number}" for number in range(len(places))]


def test_the_first_of_one_name(image: Image) -> None:
    image.environment["JUPYTER_PATH"] = f"{image.root}/a:{image.root}/b"
    first = image.add_spec("a")
    image.add_spec("b")
    (spec,) = image.look().specs
    assert spec.folder == str(first)


def test_what_is_no_kernel_spec(image: Image) -> None:
    image.environment["JUPYTER_PATH"] = f":relative::{image.root}/a:{image.root}/none:"
    image.add_spec("a", "a b")
    image.add_spec("a", "a\nend")
    image.add_spec("a", "right")
    (image.root / "a" / "kernels" / "empty").mkdir()
    (image.root / "a" / "kernels" / "file").write_text("", encoding="utf-8")
    (image.root / "a" / "kernels" / "folder" / "kernel.json").mkdir(parents=True)
    assert names(image.look()) == ["right"]


def test_files_that_are_too_large(image: Image) -> None:
    image.environment["JUPYTER_PATH"] = f"{image.root}/a"
    folder = image.add_spec("a", logos={"64x64": b"x" * 2**14, "32x32": b"x" * (2**14 + 1)})
    (folder / "kernel.json").write_text(" " * 2**16 + "{}", encoding="utf-8")
    (spec,) = image.look().specs
    assert set(spec.files) == {"logo-64x64.png"}


def test_logos_are_those_of_the_kernel_that_is_taken(image: Image) -> None:
    image.environment["JUPYTER_PATH"] = f"{image.root}/a"
    for name in ("ir", "python3"):
        image.add_spec("a", name, logos={"64x64": b"png"})
    assert {spec.name: len(spec.files) for spec in image.look().specs} == {"ir": 1, "python3": 2}


def test_a_python_that_is_too_old_is_none(image: Image) -> None:
    old = image.add_python("old", version=None)
    new = image.add_python("new", "python", version="none")
    image.path += [old.parent, new.parent]
    seen = image.look()
    assert seen.pythons == {str(new): ""}
    assert seen.commands == {"python3": str(old), "python": str(new)}


@pytest.mark.parametrize("shell", SHELLS)
def test_programs(image: Image, shell: str) -> None:
    image.environment["JUPYTER_PATH"] = f"{image.root}/a"
    python = image.add_python("far", "python3.11", "6.0.0")
    (image.tools / "kernel it").symlink_to(image.tools / "sed")
    image.add_spec("a", "one", argv=[str(python), "-rf", "{connection_file}", "missing", "kernel it"])
    image.add_spec("a", "two", argv=["sed", str(image.tools / "tr")])
    seen = image.look(shell=shell)
    assert {str(python), "sed", "kernel it", str(image.tools / "tr")} <= seen.programs
    assert "missing" not in seen.programs
    assert seen.pythons == {str(python): "6.0.0"}


@pytest.mark.parametrize(
    ("program", "is_there"),
    [
        *(("sed", True), ("missing", False), ("{tools}/tr", True), ("-v", False)),
        *(("/", False), ("{tools}", False), ("{root}/no-program", False)),
    ],
)
def test_a_given_program(image: Image, program: str, is_there: bool) -> None:  # noqa: FBT001 - what is expected
    (image.root / "no-program").touch(mode=0o644)
    program = program.format(tools=image.tools, root=image.root)
    assert image.look(program).programs == ({program} if is_there else set())


def test_a_given_python_is_asked_for_its_ipykernel(image: Image) -> None:
    python = image.add_python("far")
    assert image.look(str(python)).pythons == {str(python): "7.4.0"}


@pytest.mark.parametrize("home", ["", "relative", "/nowhere", "/proc"])
def test_a_home_that_cannot_be_written_to(image: Image, home: str) -> None:
    image.environment["HOME"] = home
    assert not image.look().home_is_writable


def test_no_home(image: Image) -> None:
    del image.environment["HOME"]
    assert not image.look().home_is_writable


def test_a_look_leaves_nothing(image: Image) -> None:
    assert image.look().home_is_writable
    assert list(image.home.iterdir()) == []


def test_the_python_of_a_spec_is_python3(image: Image) -> None:
    python = image.add_python("env")
    image.add_python("env", "python", "5.0.0")
    image.add_spec("env/share/jupyter")
    image.environment["CONDA_PREFIX"] = f"{image.root}/env"
    (spec,) = image.look().specs
    assert spec.python == str(python)


@pytest.mark.parametrize("has_readlink", [True, False])
def test_two_names_of_pythons(image: Image, has_readlink: bool) -> None:  # noqa: FBT001 - what the image has
    """A link beside its target is the same Python; other files are others."""
    python = image.add_python("env")
    link, other = python.with_name("python"), image.add_python("other", "python", "6.0.0")
    link.symlink_to(python.name)
    if not has_readlink:
        (image.tools / "readlink").unlink()
    image.path.append(python.parent)
    assert image.look(str(other)).pythons == {str(python): "7.4.0", str(link): "7.4.0", str(other): "6.0.0"}
    link.unlink()
    image.add_python("env", "python", "5.0.0")
    assert image.look().pythons == {str(python): "7.4.0", str(link): "5.0.0"}


def test_a_real_python_says_what_it_has(image: Image) -> None:
    """This one, in which no ipykernel is; and one that finds files that stand for one."""
    (image.tools / "python3").symlink_to(sys.executable)
    site = image.root / "site"
    info = site / "ipykernel-6.5.4.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ipykernel\nVersion: 6.5.4\n", encoding="utf-8")
    (site / "sitecustomize.py").write_text("print('Good morning')\n", encoding="utf-8")
    image.environment["PYTHONPATH"] = str(site)
    python = str(image.tools / "python3")
    assert image.look().pythons == {python: ""}
    (site / "ipykernel_launcher.py").write_text("", encoding="utf-8")
    assert image.look().pythons == {python: "6.5.4"}

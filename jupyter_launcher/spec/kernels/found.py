"""What a look into a kernel's image has seen, and the kernel in it: ``Seen``, ``FoundKernel``. Pure functions."""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from jupyter_launcher.models import KernelImage
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.spec.kernels.options import CONNECTION_FILE, HELD_VARIABLE

__all__ = ["FoundKernel", "NoKernelError", "Seen", "SeenSpec", "find_kernel", "parse_seen"]

_PYTHON = re.compile(r"python(3(\.[0-9]+)?)?")
_IPYKERNEL = re.compile(r"ipykernel(_launcher)?")
_TEMPLATE = re.compile(r"\{(prefix|resource_dir)\}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_DATA = "/share/jupyter/kernels/"
# Since then ipykernel knows CurveZMQ; and an interrupt by a message, which also reaches what the kernel has started.
_FIRST_ENCRYPTING = (7, 3)
_FIRST_WITH_MESSAGES = (7, 0)
_MOST_LOGO = 16 * 2**10
_MOST_METADATA = 4 * 2**10
# What another Jupyter would have to be able to do, or what is said here in another way.
_OWN_METADATA = ("kernel_provisioner", "supported_encryption")
_ARGV_HINT = f"give KernelImage(argv=[..., '{CONNECTION_FILE}'])"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKernel:
    """The kernel of an image, from its own kernel spec and from what the caller gave in its place.

    Attributes:
        argv: with ``{connection_file}`` in it; the first word is a path where the spec says ``python``.
        display_name: what JupyterLab shows.
        language, interrupt_mode, environment: of the kernel spec.
        metadata: of the kernel spec, such as ``{"debugger": True}``, without what concerns the way a kernel is started.
        encrypts: the kernel knows CurveZMQ (``supported_encryption`` of the spec).
        logos: a file's name, such as ``logo-64x64.png`` → its bytes, at most 16 KiB each.
        python: the path of a Python 3.8 or newer, which runs the agent; empty: the image has none.
        home_is_writable: whether the user can write to HOME.
    """

    argv: tuple[str, ...]
    display_name: str
    language: str = ""
    interrupt_mode: str = "signal"
    environment: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    encrypts: bool = False
    logos: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    python: str = ""
    home_is_writable: bool = True


class NoKernelError(Exception):
    """No kernel can run in an image: what was seen there, as the end of a sentence about it, and what to do."""

    def __init__(self, seen: str, hint: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSpec:
    """A kernel spec of an image.

    Attributes:
        name: of its folder.
        folder: where it is.
        python: the Python of the folder tree in which it is; empty: none.
        files: the names of its files → what is in them. ``kernel.json`` is missing where it is too large.
    """

    name: str
    folder: str
    python: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What ``look_at_kernels.sh`` has printed.

    Attributes:
        specs: the kernel specs, each name once.
        pythons: the path of each Python 3.8 or newer that was looked at → the version of its ipykernel; empty: none.
        programs: words of the specs' commands that are programs there, and the given one if it is.
        commands: where ``python3`` and ``python`` are.
        home_is_writable: whether the user can write to HOME.
    """

    specs: tuple[SeenSpec, ...] = ()
    pythons: Mapping[str, str] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    commands: Mapping[str, str] = field(default_factory=dict)
    home_is_writable: bool = True


def parse_seen(printed: str, mark: str) -> Seen | None:
    """What ``look_at_kernels.sh`` printed; None where it did not begin.

    Args:
        printed: by the container: lines of others are passed over.
        mark: with which each of its own lines begins.

    Raises:
        ValueError: it broke off, or printed what it never prints.
    """
    # An entrypoint may have left an unfinished line before ours.
    lines = iter([line.rpartition(f"{mark} ")[2].rstrip("\r") for line in printed.split("\n") if f"{mark} " in line])
    if "begin" not in lines:  # which reads until there; what comes before are words of others, with our arguments
        return None
    reader = _Reader()
    for line in lines:
        if line == "end":
            return reader.finish()
        reader.read(line)
    msg = "what it printed breaks off"
    raise ValueError(msg)


class _Reader:
    """Takes the lines one after another."""

    def __init__(self) -> None:
        self.pythons: dict[str, str] = {}
        self.programs: set[str] = set()
        self.commands: dict[str, str] = {}
        self.home = ""
        self.specs: list[SeenSpec] = []
        self.files: list[dict[str, list[str]]] = []  # of each spec, line by line

    def read(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        first, _, path = rest.partition(" ")
        is_path = path.startswith("/")
        if word == "home" and rest in ("writable", "closed"):
            self.home = rest
        elif word == "python" and is_path:
            self.pythons[path] = "" if first == "none" else first
        elif word == "command" and first in ("python3", "python") and is_path:
            self.commands[first] = path
        elif word == "program" and rest:
            self.programs.add(rest)
        elif word == "spec" and _NAME.fullmatch(first) and is_path:
            self.specs.append(SeenSpec(name=first, folder=path))
            self.files.append({})
        elif word == "own" and self.specs and rest.startswith("/"):
            self.specs[-1] = replace(self.specs[-1], python=rest)
        elif word == "file" and self.files and _NAME.fullmatch(rest) and rest not in self.files[-1]:
            self.files[-1][rest] = []
        elif word in (":", "x") and self.files and self.files[-1]:
            self.files[-1][next(reversed(self.files[-1]))].append(line)
        else:
            msg = f"it printed {show_value(line)}"
            raise ValueError(msg)

    def finish(self) -> Seen:
        if not self.home:
            msg = "it printed nothing of HOME"
            raise ValueError(msg)
        return Seen(
            specs=tuple(
                replace(spec, files={name: _decode(lines) for name, lines in files.items()})
                for spec, files in zip(self.specs, self.files, strict=True)
            ),
            pythons=self.pythons,
            programs=frozenset(self.programs),
            commands=self.commands,
            home_is_writable=self.home == "writable",
        )


def _decode(lines: Sequence[str]) -> bytes:
    """A file of lines that begin with a colon, and are base64, or with an x, and are hexadecimal."""
    texts = [line[2:] for line in lines]
    if all(line.startswith(":") for line in lines):
        return base64.b64decode("".join(texts), validate=True)  # its error is a ValueError
    return bytes.fromhex("".join(texts))


def find_kernel(name: str, image: KernelImage, seen: Seen, *, needs_python: bool) -> FoundKernel:
    """The kernel of an image.

    Args:
        name: that it has in ``kernels=``.
        image: as it was checked.
        seen: in it.
        needs_python: an agent is to run in it.

    Raises:
        NoKernelError: there is none, or not what it needs.
    """
    python = next(
        (seen.commands[word] for word in ("python3", "python") if seen.commands.get(word) in seen.pythons), ""
    )
    python = python or next(iter(seen.pythons), "")
    if needs_python and not python:
        lacks = "has no Python 3.8 or newer, by which an agent starts the kernels of an image in one container"
        _refuse(lacks, 'install one in it, or give isolation="kernel"')
    kernel = _find_given(image, seen) if image.argv is not None else _find_own(seen)
    _check_program(kernel.argv[0], image, seen)
    return replace(
        kernel,
        display_name=image.display_name or name,
        python=python,
        home_is_writable=seen.home_is_writable,
    )


def _refuse(seen: str, hint: str) -> NoReturn:
    raise NoKernelError(seen, hint)


def _find_given(image: KernelImage, seen: Seen) -> FoundKernel:
    """The kernel of the caller's command; what else there is to say, a spec says that is of the same kind."""
    argv = tuple(image.argv or ())
    kernel = FoundKernel(argv=argv, display_name="", language="python" if _is_ipykernel(argv) else "")
    spec = _choose(seen.specs)
    if spec is not None:
        try:
            own = _read_spec(spec, seen)
        except NoKernelError:  # it is not used
            own = kernel
        if _kind(own.argv) == _kind(argv):
            kernel = replace(own, argv=argv)
    return _finish(kernel, seen)


def _find_own(seen: Seen) -> FoundKernel:
    spec = _choose(seen.specs)
    if spec is not None:
        return _finish(_read_spec(spec, seen), seen)
    if seen.specs:
        names = ", ".join(sorted(item.name for item in seen.specs))
        _refuse(f"has several kernel specs and none is named python3: {names}", f"{_ARGV_HINT} for one")
    path = next((path for path, version in seen.pythons.items() if version), None)
    if path is None:
        hint = "install ipykernel or another kernel in it, or give KernelImage(argv=...) if there is one without a spec"
        _refuse("has no kernel: neither a kernel spec where Jupyter looks for one, nor ipykernel", hint)
    argv = (path, "-m", "ipykernel_launcher", "-f", CONNECTION_FILE)
    return _finish(FoundKernel(argv=argv, display_name="", language="python", metadata={"debugger": True}), seen)


def _choose(specs: Sequence[SeenSpec]) -> SeenSpec | None:
    """The spec ``python3``, else the only one."""
    found = next((spec for spec in specs if spec.name.lower() == "python3"), None)
    return specs[0] if found is None and len(specs) == 1 else found


def _read_spec(spec: SeenSpec, seen: Seen) -> FoundKernel:
    """The kernel of a spec, as the spec alone says.

    Raises:
        NoKernelError: the spec is none.
    """
    where = f"has the kernel spec {spec.folder}, which"
    try:
        raw = json.loads(spec.files["kernel.json"])
        argv, variables = raw["argv"], raw.get("env") or {}
        metadata = raw.get("metadata") or {}
        language, mode = raw.get("language") or "", raw.get("interrupt_mode") or "signal"
        is_right = (
            _are_texts(argv)
            and _are_texts([*variables, *variables.values(), language, mode])
            and isinstance(argv, list)
            and isinstance(metadata, dict)
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        is_right = False
    if not is_right or not argv or not argv[0]:
        _refuse(f"{where} cannot be read", f"mend it, or {_ARGV_HINT}")
    if not any(CONNECTION_FILE in word for word in argv[1:]):
        _refuse(f"{where} has no {CONNECTION_FILE} in its command", f"mend it, or {_ARGV_HINT}")
    own = spec.folder.rpartition(_DATA)[0]
    values = {"resource_dir": spec.folder, "prefix": own or "/usr"}
    program, *others = (_TEMPLATE.sub(lambda found: values[found[1]], word) for word in argv)
    if _PYTHON.fullmatch(program):  # Jupyter takes the Python that it runs itself
        program = spec.python or seen.commands.get(program) or seen.commands.get("python3") or program
    return FoundKernel(
        argv=(program, *others),
        display_name="",
        language=language,
        interrupt_mode="message" if mode == "message" else "signal",
        # A spec may not say whose kernel it is: a session's stop goes by that.
        environment={word: text for word, text in variables.items() if not HELD_VARIABLE.fullmatch(word)},
        metadata=_take_metadata(metadata),
        encrypts="curve" in _as_list(metadata.get("supported_encryption")),
        logos={
            name: data for name, data in spec.files.items() if name.startswith("logo-") and 0 < len(data) <= _MOST_LOGO
        },
    )


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _are_texts(values: Sequence[object]) -> bool:
    return all(map(is_text, values))


def _take_metadata(raw: Mapping[str, Any]) -> dict[str, Any]:
    taken = {name: value for name, value in raw.items() if name not in _OWN_METADATA}
    return taken if len(json.dumps(taken)) <= _MOST_METADATA else {}


def _finish(kernel: FoundKernel, seen: Seen) -> FoundKernel:
    """What ipykernel's version says, where a spec does not: those that are written by hand leave most out."""
    if not _is_ipykernel(kernel.argv):
        return kernel
    program = kernel.argv[0]
    text = seen.pythons.get(program) or seen.pythons.get(seen.commands.get(program, ""), "")
    version = tuple(int(part) for part in re.findall(r"[0-9]+", text)[:2])
    return replace(
        kernel,
        language=kernel.language or "python",
        interrupt_mode="message" if version >= _FIRST_WITH_MESSAGES else kernel.interrupt_mode,
        encrypts=version >= _FIRST_ENCRYPTING if version else kernel.encrypts,
    )


def _is_ipykernel(argv: Sequence[str]) -> bool:
    return any(map(_IPYKERNEL.fullmatch, argv[1:]))


def _kind(argv: Sequence[str]) -> str:
    return "ipykernel" if _is_ipykernel(argv) else posixpath.basename(argv[0])


def _check_program(program: str, image: KernelImage, seen: Seen) -> None:
    """See that the program of a command is there, where that can be seen.

    Raises:
        NoKernelError: it is not.
    """
    if program in seen.programs or program in seen.pythons or program in seen.commands:
        return
    # Words that JSON writes in another way are passed over by the look, and it had none of the mounts.
    is_odd = json.dumps(program, ensure_ascii=False) != f'"{program}"' or not set(program).isdisjoint(",[]{}")
    may_be_mounted = image.mounts and not (
        program.startswith("/") and not any(program.startswith(f"{mount.target}/") for mount in image.mounts)
    )
    if is_odd or may_be_mounted:
        return
    given = "argv" if image.argv is not None else "its kernel spec"
    hint = "install it there, or name another: the user of the kernels must be able to run it"
    _refuse(f"has no program {show_value(program)}, which {given} names", hint)

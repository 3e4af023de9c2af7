"""Values that callers give."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeGuard

from jupyter_launcher.errors import OptionError

__all__ = [
    "VOLUME_NAME",
    "BuildOptions",
    "HiddenTexts",
    "Mount",
    "Spelling",
    "Timeouts",
    "hide_secrets",
    "is_text",
    "show_value",
]

_LONGEST = 1e9  # seconds; what sockets take ends soon after it
_SHOWN = 200  # characters
_VOLUME_PREFIX = "volume:"
VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")  # Docker's own rule


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text that UTF-8 can encode, and without NUL."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def show_value(value: object) -> str:
    """A value for a message: its ``repr``, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a very large number, a deep list, an object of the caller's
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for what, in seconds.

    Attributes:
        engine: one call to the Docker engine.
        image: a pull or a build.
        start: from the exec of the server to its first answer with our token.
        gateway: the kernel specs through the server, with a gateway.
        shutdown: the server's end after the request to its API, its kernels' end included
            (a kernel that ignores signals costs the server 5 s by itself).
        terminate: the server's end after SIGTERM.

    Raises:
        OptionError: one is not a number above 0, or is above 10^9.
    """

    engine: float = 60.0
    image: float = 1800.0
    start: float = 60.0
    gateway: float = 15.0
    shutdown: float = 20.0
    terminate: float = 10.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= _LONGEST:
                msg = f"timeouts.{item.name} is {show_value(value)}"
                raise OptionError(msg, hint="give a number of seconds above 0, at most 10^9", option="timeouts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of the engine's host, or a volume of the engine, mounted into the container.

    Attributes:
        source: an absolute path on the engine's host that exists; for a volume, its name.
        target: an absolute path in the container. Below ``/pipeline-dir``, or below another mount, it must exist
            there already: a directory for a directory, a file for a file.
        read_only: whether the session may not write to it.
        relabel: for hosts with SELinux: ``z`` gives all that is below the source the label that every container may
            use, ``Z`` the label of this one container alone; other hosts ignore it. None: the labels stay.
        type: ``bind`` for a path of the host, ``volume`` for a volume of the engine. The engine makes a volume that it
            does not have, owned by root unless the image has files at the target; the library never removes one.
        propagation: whether what is mounted below the source later, on the host or in the container, is seen on the
            other side, in the words of the kernel. ``rslave``: what the host mounts there is seen in the container;
            the engine refuses it where the source lies on no shared mount. None: the engine's ``rprivate``.

    ``start`` checks it, and raises :class:`OptionError`.
    """

    source: str
    target: str
    read_only: bool = False
    relabel: Literal["z", "Z"] | None = None
    type: Literal["bind", "volume"] = "bind"
    propagation: Literal["private", "rprivate", "shared", "rshared", "slave", "rslave"] | None = None


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume of the engine, in place of a directory of its host. ``str`` gives ``volume:NAME``.

    The engine makes one that is not there. Nothing of the library ever removes it: ``docker volume rm NAME`` does.

    Attributes:
        name: 2 to 255 letters, digits, ``_``, ``.`` and ``-``; the first is a letter or a digit.

    Raises:
        OptionError: it is no such name.
    """

    name: str

    def __post_init__(self) -> None:
        given: object = self.name
        if not isinstance(given, str) or not VOLUME_NAME.fullmatch(given):
            msg = f"volume is {show_value(given)}"
            hint = "give the name of a volume: 2 or more letters, digits, '_', '.' and '-'"
            raise OptionError(msg, hint=hint, option="volume")

    def __str__(self) -> str:
        return _VOLUME_PREFIX + self.name

    @classmethod
    def from_text(cls, text: str) -> Volume | None:
        """The volume for which ``str`` gives a text; None for any other text.

        Raises:
            OptionError: what follows ``volume:`` is no name of a volume.
        """
        return cls(text.removeprefix(_VOLUME_PREFIX)) if text.startswith(_VOLUME_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that no ``repr`` shows, such as a token.

    Raises:
        OptionError: it is no text.
    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        given: object = self.text
        if not isinstance(given, str):
            msg = f"a Secret is a value of type {type(given).__name__}"
            raise OptionError(msg, hint="give a text", option="secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a build of an image needs on the machine where it runs.

    Attributes:
        base_image: any image with ``python3`` (with venv), ``sh`` and ``update-ca-certificates``;
            None: the Dockerfile's own default, an official slim Python image.
        ca_certificates: PEM files (``*.crt``) that pip, and later the notebooks, must trust.
        index_url: the package index for pip; None: pip's default.
        require_hashes: whether pip installs only files whose hashes are in the image's ``requirements.txt``; it has
            those of the wheels for Python 3.13 on linux/amd64 and linux/arm64. False, for a base image with another
            Python or an index that packs its files anew: the versions alone count.
        requirements: more packages, for a layer upon our image: a file as pip takes it, without references to other
            files, or its lines. The launcher's default image is the one with them then.
        http_proxy, https_proxy, no_proxy: for the build alone; None: what the Docker client's
            configuration file says, unless the launcher has ``use_config_proxy=False``.

    Raises:
        OptionError: one is no text, ``ca_certificates`` is no sequence of paths, ``require_hashes`` is neither
            True nor False, or ``requirements`` is neither a path nor a sequence of lines.
    """

    base_image: str | None = None
    ca_certificates: tuple[Path, ...] = ()
    index_url: str | None = field(default=None, repr=False)
    http_proxy: str | None = field(default=None, repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    no_proxy: str | None = None
    require_hashes: bool = True
    requirements: str | os.PathLike[str] | Sequence[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ca_certificates", _check_paths(self.ca_certificates, "ca_certificates"))
        object.__setattr__(self, "requirements", _check_requirements(self.requirements, "requirements"))
        for name in ("base_image", "index_url", "http_proxy", "https_proxy", "no_proxy"):
            value = getattr(self, name)
            if value is not None and not is_text(value):
                # Without the value, which may hold a password.
                msg = f"{name} is no text that can be encoded"
                raise OptionError(msg, hint="give a text, in characters that UTF-8 has, without NUL", option=name)
        given: object = self.require_hashes
        if not isinstance(given, bool):
            msg = f"require_hashes is {show_value(given)}"
            raise OptionError(msg, hint="give True or False", option="require_hashes")

    def to_build_args(self, proxies: HiddenTexts | None = None) -> dict[str, str]:
        """The build arguments that the Dockerfiles know, and those that the engine knows for proxies.

        Args:
            proxies: more of these, by their names in upper and in lower case. An option here replaces both.
        """
        given = {
            "BASE_IMAGE": self.base_image,
            "PIP_INDEX_URL": self.index_url,
            "HTTP_PROXY": self.http_proxy,
            "HTTPS_PROXY": self.https_proxy,
            "NO_PROXY": self.no_proxy,
            "REQUIRE_HASHES": None if self.require_hashes else "0",
        }
        own = {name: value for name, value in given.items() if value is not None}
        more = {} if proxies is None else proxies.values
        return {**{name: value for name, value in more.items() if name.upper() not in own}, **own}


@dataclass(frozen=True, slots=True)
class HiddenTexts:
    """Texts by name, that no ``repr`` and no traceback's locals show."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)


def hide_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a start in which ``secrets`` are hidden; those that are stay as they are."""
    secrets = options.get("secrets")
    if secrets is None or isinstance(secrets, HiddenTexts):
        return dict(options)
    return {**options, "secrets": HiddenTexts(secrets)}


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the command spells an option.

    Attributes:
        flag: such as ``--memory``.
        metavar: what stands for its value in the help; empty where it has none.
        help: one sentence.
        reads: how its words become the value: a word that ``cli/values.py`` knows.
    """

    flag: str
    metavar: str
    help: str
    reads: str

    @classmethod
    def of(cls, line: str, text: str, reads: str = "text") -> Spelling:
        """The spelling with a line such as ``--memory SIZE``."""
        flag, _, metavar = line.partition(" ")
        return cls(flag=flag, metavar=metavar, help=text, reads=reads)


def _check_requirements(given: object, option: str) -> Path | tuple[str, ...] | None:
    """The path of a file, or its lines; None: none are asked for."""
    if given is None:
        return None
    is_path = isinstance(given, (str, os.PathLike))
    items: list[object] = [given] if is_path else list(given) if isinstance(given, Iterable) else [None]
    lines = tuple(text for item in items if is_text(text := os.fspath(item) if isinstance(item, os.PathLike) else item))
    if not lines or len(lines) != len(items) or not all(lines):
        msg = f"{option} is {show_value(given)}"
        raise OptionError(
            msg, hint="give the path of a file, or a sequence of lines such as 'pandas>=2'", option=option
        )
    return Path(lines[0]) if is_path else lines


def _check_paths(given: object, option: str) -> tuple[Path, ...]:
    # One text in place of a sequence would be taken letter by letter.
    items = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [None]
    texts = [os.fspath(item) if isinstance(item, os.PathLike) else item for item in items]
    if not all(map(is_text, texts)):
        msg = f"{option} is {show_value(given)}"
        raise OptionError(msg, hint="give a sequence of paths", option=option)
    return tuple(Path(text) for text in texts if text is not None)

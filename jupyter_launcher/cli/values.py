"""The options of ``start`` as the command takes them, by the table of ``SPELLINGS``: how their words become values.

An error names the option as it is spelled here.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import KernelImage, Mount, Secret, Timeouts, Volume
from jupyter_launcher.models.options import Spelling, show_value
from jupyter_launcher.spec.options import SPELLINGS

__all__ = ["KERNEL_FIELDS", "pick_options", "read_options", "start_options"]

_MOUNT_FIELDS = {
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "type": "type",
    "relabel": "relabel",
    "propagation": "propagation",
    "bind-propagation": "propagation",
}
KERNEL_FIELDS = {
    "memory": "memory",
    "cpus": "cpus",
    "gpus": "gpus",
    "shm-size": "shm_size",
    "env": "environment",
    "mount": "mounts",
    "display-name": "display_name",
    "argv": "argv",
    "entrypoint": "entrypoint",
}
"""How the command spells the fields of a ``KernelImage``."""
_READ_ONLY = ("readonly", "ro")
_FLAG_WORDS = {"": True, "true": True, "1": True, "false": False, "0": False}


def start_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of ``Launcher.start`` that the command can spell."""
    return pick_options(dict.fromkeys(SPELLINGS, ""))(command)


def pick_options(helps: Mapping[str, str]) -> Callable[..., Any]:
    """Give a command some of the options of ``Launcher.start``; ``helps``: their names, and a help of their own."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, text in reversed(tuple(helps.items())):
            spelling = SPELLINGS[name]
            command = _to_click(name, replace(spelling, help=text) if text else spelling)(command)
        return command

    return decorate


def _to_click(name: str, spelling: Spelling) -> Callable[..., Any]:
    if spelling.reads == "flag":
        return click.option(spelling.flag, name, is_flag=True, default=None, help=spelling.help)
    kind = {"whole": int, "number": float}.get(spelling.reads, str)
    multiple = spelling.reads in _MANY
    text = spelling.help.replace(".", "; may be given more than once.") if multiple else spelling.help
    return click.option(spelling.flag, name, metavar=spelling.metavar, type=kind, multiple=multiple, help=text)


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, with the values that ``Launcher.start`` takes.

    Raises:
        OptionError: one cannot be read.
    """
    found = {}
    for name, words in given.items():
        if words in (None, ()):
            continue
        reads = SPELLINGS[name].reads
        found[name] = _MANY[reads](name, words) if reads in _MANY else _ONE.get(reads, _keep)(words)
    return found


def _refuse(name: str, seen: str, hint: str) -> NoReturn:
    msg = f"{SPELLINGS[name].flag} {seen}"
    raise OptionError(msg, hint=hint, option=name) from None


def _split(name: str, words: Iterable[str]) -> dict[str, str | None]:
    """``NAME=TEXT`` as pairs; None where there is no ``=``."""
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key in found:
            _refuse(name, f"has {show_value(key)} twice", "give each name once")
        found[key] = text if equals else None
    return found


def _read_pairs(name: str, words: Iterable[str]) -> dict[str, str]:
    found = {}
    for key, text in _split(name, words).items():
        if text is None:
            _refuse(name, f"is {show_value(key)}", f"give {SPELLINGS[name].metavar}")
        found[key] = text
    return found


def _read_variables(name: str, words: Iterable[str]) -> dict[str, str]:
    return {key: _find_variable(name, key) if text is None else text for key, text in _split(name, words).items()}


def _find_variable(name: str, key: str) -> str:
    text = os.environ.get(key)
    if text is None:
        _refuse(name, f"is {show_value(key)}, and this environment has no such variable", "set it first")
    return text


def _read_secrets(name: str, words: Iterable[str]) -> dict[str, str]:
    return {
        key: _find_variable(name, key) if path is None else _read_file(name, path)
        for key, path in _split(name, words).items()
    }


def _read_file(name: str, path: str) -> str:
    try:
        return Path(path).read_bytes().decode()
    except (OSError, ValueError) as error:
        why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    # Outside of the handler, since an error about bytes shows them.
    return _refuse(name, f"cannot be read from {show_value(path)}: {why}", f"give {SPELLINGS[name].metavar}")


def _read_mounts(name: str, words: Iterable[str]) -> list[Mount]:
    return [_read_mount(name, word) for word in words]


def _read_mount(name: str, word: str) -> Mount:
    fields: dict[str, Any] = {}
    for part, key, equals, text in _read_fields(name, word, word):
        if key in _READ_ONLY and text in _FLAG_WORDS:
            fields["read_only"] = _FLAG_WORDS[text]
        elif key in _MOUNT_FIELDS and equals and _MOUNT_FIELDS[key] not in fields:
            fields[_MOUNT_FIELDS[key]] = text
        else:
            _refuse(name, f"has {show_value(part)}", f"give {SPELLINGS[name].metavar}, or readonly")
    if not {"source", "target"} <= set(fields):
        _refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}")
    return Mount(**fields)


def _read_fields(name: str, word: str, text: str) -> Iterator[tuple[str, str, str, str]]:
    """The items of a text between commas: each as a whole, and as what is before, at and after its ``=``."""
    try:
        parts = next(csv.reader([text]), [])
    except csv.Error:
        _refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}")
    for part in parts:
        yield part, *part.partition("=")


def _read_kernels(name: str, words: Iterable[str]) -> dict[str, str | KernelImage]:
    found: dict[str, str | KernelImage] = {}
    for word in words:
        kernel, equals, text = word.partition("=")
        image, *more = _read_fields(name, word, text) if text else (("", "", "", ""),)
        if not (kernel and equals and image[0]):
            _refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}")
        if kernel in found:
            _refuse(name, f"has {show_value(kernel)} twice", "give each name once")
        found[kernel] = KernelImage(image[0], **_read_kernel_fields(name, kernel, more)) if more else image[0]
    return found


def _read_kernel_fields(name: str, kernel: str, parts: Iterable[tuple[str, str, str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    several: dict[str, list[str]] = {"environment": [], "mounts": []}
    for part, key, equals, text in parts:
        field = KERNEL_FIELDS.get(key)
        if field == "entrypoint" and text in _FLAG_WORDS and field not in fields:
            fields[field] = _FLAG_WORDS[text]
        elif field in several and equals:
            several[field].append(text)
        elif field in _KERNEL_READS and equals and field not in fields:
            fields[field] = _KERNEL_READS[field](name, kernel, text)
        else:
            hint = f"give one of {', '.join(KERNEL_FIELDS)}, each with = and its value"
            _refuse(name, f"{kernel} has {show_value(part)}", hint)
    if several["environment"]:
        fields["environment"] = _read_variables(name, several["environment"])
    if several["mounts"]:
        fields["mounts"] = [_read_short_mount(name, kernel, text) for text in several["mounts"]]
    return fields


def _read_short_mount(name: str, kernel: str, text: str) -> Mount:
    """``SOURCE:TARGET[:ro]``, where a source without a slash is a volume, as ``docker run -v`` has it."""
    source, _, rest = text.partition(":")
    target, colon, mode = rest.partition(":")
    if not (source and target) or (colon and mode not in ("ro", "rw")):
        _refuse(name, f"{kernel} has mount {show_value(text)}", "give mount=SOURCE:TARGET, or mount=SOURCE:TARGET:ro")
    kind = "bind" if "/" in source else "volume"
    return Mount(source=source, target=target, type=kind, read_only=mode == "ro")


def _read_number(name: str, kernel: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return _refuse(name, f"{kernel} has cpus={show_value(text)}", "give a number of cores, such as cpus=1.5")


def _read_argv(name: str, kernel: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        return _refuse(name, f"{kernel} has argv={show_value(text)}: {error}", "write it as a shell reads it")


def _read_ports(name: str, words: Iterable[str]) -> dict[int | str, int | None]:
    found: dict[int | str, int | None] = {}
    for word in words:
        host, colon, inside = word.rpartition(":")
        if (colon and not host.isdecimal()) or inside in found or len(host) > 5:
            _refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}, each port once")
        found[inside] = int(host) if colon else None
    return found


def _read_documents(name: str, words: Iterable[str]) -> dict[str, Any]:
    found = {}
    for key, text in _read_pairs(name, words).items():
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError):
            _refuse(name, f"has {show_value(key)} with what is no JSON", "give JSON, a text in double quotes")
    return found


def _read_timeouts(name: str, words: Iterable[str]) -> Timeouts:
    found = {}
    for key, text in _read_pairs(name, words).items():
        if key not in Timeouts.__dataclass_fields__:
            _refuse(name, f"has {show_value(key)}", f"give one of {', '.join(Timeouts.__dataclass_fields__)}")
        try:
            found[key] = float(text)
        except ValueError:
            _refuse(name, f"has {show_value(text)} for {key}", "give a number of seconds")
    return Timeouts(**found)


def _read_texts(_: str, words: Iterable[str]) -> list[str]:
    return list(words)


def _read_gpus(word: str) -> int | str | Sequence[str]:
    if word == "all" or not word:
        return word
    return int(word) if word.isdecimal() and len(word) < 6 else tuple(word.removeprefix("device=").split(","))


def _read_place(word: str) -> str | Volume:
    try:
        return Volume.from_text(word) or word
    except OptionError as error:
        return _refuse("home", f"is {show_value(word)}: {error.message}", "give an absolute path, or volume:NAME")


def _read_token(word: str) -> Secret:
    return Secret(_read_file("token", word).strip())


def _read_size(word: str) -> str | None:
    return None if word == "none" else word


def _keep(value: object) -> object:
    return value


_KERNEL_READS: dict[str | None, Callable[[str, str, str], object]] = {
    "memory": lambda _, __, text: text,
    "cpus": _read_number,
    "gpus": lambda _, __, text: _read_gpus(text),
    "shm_size": lambda _, __, text: text,
    "display_name": lambda _, __, text: text,
    "argv": _read_argv,
}

_MANY: dict[str, Callable[[str, Iterable[str]], object]] = {
    "texts": _read_texts,
    "pairs": _read_pairs,
    "variables": _read_variables,
    "secrets": _read_secrets,
    "mounts": _read_mounts,
    "kernels": _read_kernels,
    "ports": _read_ports,
    "documents": _read_documents,
    "timeouts": _read_timeouts,
}
"""Options that may be given more than once."""

_ONE: dict[str, Callable[[Any], object]] = {
    "gpus": _read_gpus,
    "place": _read_place,
    "size": _read_size,
    "token": _read_token,
}

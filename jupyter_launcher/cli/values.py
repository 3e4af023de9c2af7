"""The options of ``start`` as the command takes them, by the table of ``SPELLINGS``: how their words become values.

An error names the option as it is spelled here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from jupyter_launcher.cli.words.common import (
    FLAG_WORDS,
    find_variable,
    read_fields,
    read_gpus,
    read_variables,
    refuse,
    split,
)
from jupyter_launcher.cli.words.kernels import read_kernels
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Mount, Secret, Timeouts, Volume
from jupyter_launcher.models.options import Spelling, show_value
from jupyter_launcher.spec.options import SPELLINGS

__all__ = ["pick_options", "read_options", "start_options"]

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
_READ_ONLY = ("readonly", "ro")


def start_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of ``Launcher.start`` that the command can spell."""
    decorate = pick_options(dict.fromkeys(SPELLINGS, ""))
    return decorate(command)


def pick_options(helps: Mapping[str, str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
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


def _read_pairs(name: str, words: Iterable[str]) -> dict[str, str]:
    found = {}
    for key, text in split(name, words).items():
        if text is None:
            refuse(name, f"is {show_value(key)}", f"give {SPELLINGS[name].metavar}")
        found[key] = text
    return found


def _read_secrets(name: str, words: Iterable[str]) -> dict[str, str]:
    return {
        key: find_variable(name, key) if path is None else _read_file(name, path)
        for key, path in split(name, words).items()
    }


def _read_file(name: str, path: str) -> str:
    try:
        return Path(path).read_bytes().decode()
    except (OSError, ValueError) as error:
        why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    # Outside of the handler, since an error about bytes shows them.
    return refuse(name, f"cannot be read from {show_value(path)}: {why}", f"give {SPELLINGS[name].metavar}")


def _read_mounts(name: str, words: Iterable[str]) -> list[Mount]:
    return [_read_mount(name, word) for word in words]


def _read_mount(name: str, word: str) -> Mount:
    fields: dict[str, Any] = {}
    for part, key, equals, text in read_fields(name, word, word):
        if key in _READ_ONLY and text in FLAG_WORDS:
            fields["read_only"] = FLAG_WORDS[text]
        elif key in _MOUNT_FIELDS and equals and _MOUNT_FIELDS[key] not in fields:
            fields[_MOUNT_FIELDS[key]] = text
        else:
            refuse(name, f"has {show_value(part)}", f"give {SPELLINGS[name].metavar}, or readonly")
    if not {"source", "target"} <= set(fields):
        refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}")
    return Mount(**fields)


def _read_ports(name: str, words: Iterable[str]) -> dict[int | str, int | None]:
    found: dict[int | str, int | None] = {}
    for word in words:
        host, colon, inside = word.rpartition(":")
        if (colon and not host.isdecimal()) or inside in found or len(host) > 5:
            refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}, each port once")
        found[inside] = int(host) if colon else None
    return found


def _read_documents(name: str, words: Iterable[str]) -> dict[str, Any]:
    found = {}
    for key, text in _read_pairs(name, words).items():
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError):
            refuse(name, f"has {show_value(key)} with what is no JSON", "give JSON, a text in double quotes")
    return found


def _read_timeouts(name: str, words: Iterable[str]) -> Timeouts:
    found = {}
    for key, text in _read_pairs(name, words).items():
        if key not in Timeouts.__dataclass_fields__:
            refuse(name, f"has {show_value(key)}", f"give one of {', '.join(Timeouts.__dataclass_fields__)}")
        try:
            found[key] = float(text)
        except ValueError:
            refuse(name, f"has {show_value(text)} for {key}", "give a number of seconds")
    return Timeouts(**found)


def _read_texts(_: str, words: Iterable[str]) -> list[str]:
    return list(words)


def _read_place(word: str) -> str | Volume:
    try:
        return Volume.from_text(word) or word
    except OptionError as error:
        return refuse("home", f"is {show_value(word)}: {error.message}", "give an absolute path, or volume:NAME")


def _read_token(word: str) -> Secret:
    return Secret(_read_file("token", word).strip())


def _read_size(word: str) -> str | None:
    return None if word == "none" else word


def _keep(value: object) -> object:
    return value


_MANY: dict[str, Callable[[str, Iterable[str]], object]] = {
    "texts": _read_texts,
    "pairs": _read_pairs,
    "variables": read_variables,
    "secrets": _read_secrets,
    "mounts": _read_mounts,
    "kernels": read_kernels,
    "ports": _read_ports,
    "documents": _read_documents,
    "timeouts": _read_timeouts,
}
"""Options that may be given more than once."""

_ONE: dict[str, Callable[[Any], object]] = {
    "gpus": read_gpus,
    "place": _read_place,
    "size": _read_size,
    "token": _read_token,
}

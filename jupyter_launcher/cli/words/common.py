"""What several options have in common: how their words are split, and how one that cannot be read is refused."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from jupyter_launcher.errors import OptionError
from jupyter_launcher.models.options import show_value
from jupyter_launcher.spec.options import SPELLINGS

__all__ = ["FLAG_WORDS", "find_variable", "read_fields", "read_gpus", "read_variables", "refuse", "split"]

FLAG_WORDS = {"": True, "true": True, "1": True, "false": False, "0": False}


def refuse(name: str, seen: str, hint: str) -> NoReturn:
    """Raise the error about an option: ``seen`` continues the sentence that begins with its flag."""
    msg = f"{SPELLINGS[name].flag} {seen}"
    raise OptionError(msg, hint=hint, option=name) from None


def split(name: str, words: Iterable[str]) -> dict[str, str | None]:
    """``NAME=TEXT`` as pairs; None where there is no ``=``."""
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key in found:
            refuse(name, f"has {show_value(key)} twice", "give each name once")
        found[key] = text if equals else None
    return found


def read_variables(name: str, words: Iterable[str]) -> dict[str, str]:
    """``NAME=TEXT`` as pairs; a text that is not there is that of this environment's variable."""
    return {key: find_variable(name, key) if text is None else text for key, text in split(name, words).items()}


def find_variable(name: str, key: str) -> str:
    """The text of a variable of this environment."""
    text = os.environ.get(key)
    if text is None:
        refuse(name, f"is {show_value(key)}, and this environment has no such variable", "set it first")
    return text


def read_fields(name: str, word: str, text: str) -> Iterator[tuple[str, str, str, str]]:
    """The items of a text between commas: each as a whole, and as what is before, at and after its ``=``."""
    try:
        parts = next(csv.reader([text]), [])
    except csv.Error:
        refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}")
    for part in parts:
        yield part, *part.partition("=")


def read_gpus(word: str) -> int | str | Sequence[str]:
    """``all``, a number, or ids."""
    if word == "all" or not word:
        return word
    return int(word) if word.isdecimal() and len(word) < 6 else tuple(word.removeprefix("device=").split(","))

"""Messages of the library as a user of the command reads them: ``--memory`` in place of ``memory=``."""

from __future__ import annotations

import re

from jupyter_launcher.cli.words.kernels import KERNEL_FIELDS
from jupyter_launcher.errors import KernelImageError, LauncherError, OptionError
from jupyter_launcher.spec.options import SPELLINGS

__all__ = ["respell"]

_FLAGS = {
    **{name: spelling.flag for name, spelling in SPELLINGS.items()},
    "allow_engine_socket": "--allow-engine-socket",
    "context": "--context",
    "cwd": "--cwd",
    "engine_socket": "--engine-socket",
    "gateway_id": "--id",
    "roots": "--root",
    "timeout": "--timeout",
}
_OF_SWARM = {
    "engines": "--swarm-engine",
    "publish": "--swarm-publish",
    "swarm": "--swarm",
    "weaker": "--swarm-weaker",
}
"""Options of the launcher, and of a ``Swarm``, whose names are English words too."""
_FLAGS |= _OF_SWARM
_FIELDS = {**_OF_SWARM, "network": "--swarm-network", "constraints": _FLAGS["constraints"]}

_OF_WORK = {"cell_timeout": "--cell-timeout", "output": "--output", "parameters": "--parameter", "timeout": "--timeout"}
"""Options whose names are English words too, so they are respelled only where a message begins with them."""

_NAMES = "|".join(sorted(_FLAGS, key=len, reverse=True))
# A name in a path, in an address or in quotation marks is none of these.
_BEFORE = r"(?<![\w/.'\"`=:@?&\0-])"
_ASSIGNED = re.compile(
    rf"{_BEFORE}(?P<class>Launcher\()?(?P<name>{_NAMES})="
    r"(?P<value>True|False|\.\.\.|'[^']*'|\"[^\"]*\"|\{'(?P<key>[^']*)': \.\.\.\}|[0-9]\w*|[A-Z]+\b)?(?(class)\))"
)
_WHOLE_SWARM = re.compile(rf"{_BEFORE}(?:Launcher\()?swarm=Swarm\((?:\.\.\.|…)\)\)?")
_MADE_SWARM = re.compile(
    rf"{_BEFORE}Swarm\((?P<field>[a-z]+)=(?P<value>True|'[^']*'|\"[^\"]*\"|\{{(?P<pairs>[^}}]*)\}}|\.\.\.|…)\)"
)
_OF_A_SWARM = re.compile(rf"{_BEFORE}swarm\.(?P<field>[a-z]+)")
_FIELD = re.compile(rf"{_BEFORE}timeouts\.(?P<field>[a-z]+)")
# Words that are no English, wherever they stand; all names where a difference is told.
_WORD = re.compile(
    rf"{_BEFORE}(?P<name>(?:{'|'.join(name for name in _FLAGS if '_' in name)}|cpus|gpus|umask|tmpfs)\b(?![=(/]|\.\w)"
    rf"|(?:{'|'.join(name for name in _FLAGS if name not in _OF_SWARM)})(?= was ))"
)
_PLACE = "{connection_file}"  # in the command of a kernel
_OF_A_KERNEL = re.compile(r"kernels\[(?P<quote>[\"'])(?P<kernel>[^\"']*)(?P=quote)\](?:\.(?P<field>[a-z_]+))?")
_KERNEL_WORDS = {field: word for word, field in KERNEL_FIELDS.items()}
# What has the name of an option, and is a field of a kernel.
_KERNEL_FIELD = re.compile(
    rf"{_BEFORE}(?P<class>KernelImage\()?\b(?P<field>{'|'.join(_KERNEL_WORDS)})\b(?(class)=(?P<value>[^()]*)\))"
)


def respell(error: LauncherError) -> None:
    """Spell the names of options in an error's message and hint as the command does."""
    message = error.message
    if isinstance(error, OptionError) and error.option in _FLAGS and message.startswith(f"{error.option} "):
        message = _flag_of(error.option) + message.removeprefix(error.option)
    elif isinstance(error, OptionError) and error.option in _OF_WORK and message.startswith(f"{error.option} "):
        message = _OF_WORK[error.option] + message.removeprefix(error.option)
    if isinstance(error, OptionError) and error.option in SPELLINGS and "{" in error.hint.replace(_PLACE, ""):
        # a mapping in Python
        error.hint = f"give {_flag_of(error.option)} {SPELLINGS[error.option].metavar}"
    if isinstance(error, KernelImageError) or (isinstance(error, OptionError) and error.option == "kernels"):
        message, error.hint = (_KERNEL_FIELD.sub(_hold_field, text) for text in (message, error.hint))
    error.message, error.hint = (_respell_text(text).replace("\0", "") for text in (message, error.hint))


def _hold_field(found: re.Match[str]) -> str:
    """A field of a kernel as the command writes it, behind a mark that keeps it from being taken for an option."""
    value = "" if found["value"] is None else f"={found['value'].replace('False', 'false')}"
    return f"\0{_KERNEL_WORDS[found['field']]}{value}"


def _respell_text(text: str) -> str:
    text = _OF_A_SWARM.sub(_spell_field, _MADE_SWARM.sub(_spell_swarm, _WHOLE_SWARM.sub("--swarm", text)))
    text = _ASSIGNED.sub(_spell_assigned, text)
    text = _FIELD.sub(lambda found: f"--timeout {found['field']}=", text)
    text = _WORD.sub(lambda found: _flag_of(found["name"]), text)
    return _OF_A_KERNEL.sub(_spell_kernel, text)


def _spell_kernel(found: re.Match[str]) -> str:
    """A field of a kernel, such as ``kernels["torch"].shm_size``."""
    flag = f"{_flag_of('kernels')} {found['kernel']}"
    return flag if found["field"] is None else f"{flag}: {_KERNEL_WORDS.get(found['field'], found['field'])}"


def _spell_swarm(found: re.Match[str]) -> str:
    """``Swarm(...)`` with one field, such as ``Swarm(engines={'node2': 'tcp://HOST:2376'})``."""
    flag, value = _FIELDS.get(found["field"]), found["value"].strip("'\"")
    if flag is None:
        return found[0]
    if found["field"] == "engines":
        host, _, address = (found["pairs"] or "").partition(": ")
        pair = f"{host}={address}".replace("'", "")
        return f"{flag} {pair if address else 'HOST=ADDRESS'}"
    return flag if value in ("True", "...", "…") else f"{flag} {value}"


def _spell_field(found: re.Match[str]) -> str:
    """A field of a ``Swarm``, such as ``swarm.engines``."""
    return _FIELDS.get(found["field"], found[0])


def _flag_of(name: str) -> str:
    return _FLAGS[name].partition("/")[0]


def _spell_assigned(found: re.Match[str]) -> str:
    flag, value = _FLAGS[found["name"]], found["value"]
    if value == "False" and "/" not in flag:
        return f"no {flag}"
    if value in ("True", "False"):
        return flag.partition("/")[0] if value == "True" else flag.rpartition("/")[2]
    if found["key"] is not None:
        return f"{flag.partition('/')[0]} {found['key']}=..."
    return flag.partition("/")[0] + (f" {value.strip(chr(34) + chr(39))}" if value and value != "..." else "")

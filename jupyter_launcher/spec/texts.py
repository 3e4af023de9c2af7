"""Checks of the texts that a session's processes and container carry: variables, arguments, labels, names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from jupyter_launcher.models.options import HiddenTexts, Secret, is_text, show_value
from jupyter_launcher.spec.checks import LABEL_PREFIX, LOOPBACK, refuse_option, refuse_own_address

__all__ = [
    "check_argument_size",
    "check_constraints",
    "check_embedding_arguments",
    "check_environment",
    "check_inner_path",
    "check_lab_args",
    "check_labels",
    "check_secrets",
    "check_token",
    "check_variables",
    "refuse_own_name",
]

# Linux takes at most 128 KiB for one argument or variable, with a NUL at its end, and 2 MiB for all of
# them with 8 bytes each. The image's variables and the server's own arguments need some of that too.
_MOST_TEXT = 128 * 2**10 - 1
_MOST_TEXTS = 2**21 - 96 * 2**10
_MOST_LABELS = 2**20
_SECRET = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
# All of them together fit into the environment of one process, and into the session's folder in memory.
_MOST_SECRET = 2**16
_MOST_SECRETS = 16
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")
# Only the launcher may set these. With other values it would not find the server, or the token would
# stand in the argv of a process.
_HELD_ARGUMENT = re.compile(
    r"--(ip|port|port-retries|sock|notebook-dir|gateway-url|certfile|keyfile|GatewayClient\.url"
    r"|(ServerApp|LabApp|NotebookApp|IdentityProvider|PasswordIdentityProvider)"
    r"\.(ip|port|port_retries|sock|root_dir|notebook_dir|base_url|token|password|hashed_password|certfile|keyfile"
    r"|ssl_options))"
)
# What allow_origin sets; given a second time it would replace that, and the policy against framing too.
_EMBEDDING_ARGUMENT = re.compile(
    r"--(ServerApp|LabApp)\.(allow_origin|allow_origin_pat|tornado_settings)"
    r"|--(IdentityProvider|ServerApp)\.cookie_options"
)
# As swarm parses them: a key, an operator, and a value that may be a pattern.
_CONSTRAINT = re.compile(
    r"(?i:(?:node\.(?:id|hostname|ip|role|platform\.(?:os|arch))|(?:node|engine)\.labels\.[a-z0-9][a-z0-9._-]*))"
    r"\s*(?:==|!=)\s*[A-Za-z0-9:_.*()?+\[\]\\^$|/ -]+"
)
_MOST_CONSTRAINTS = 100
_HELD_ENVIRONMENT = ("JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_RUNTIME_DIR", "JUPYTER_GATEWAY_URL")


def check_environment(given: Mapping[str, str] | None, option: str) -> dict[str, str]:
    """Variables for the server; those that the launcher itself sets are refused."""
    environment = check_variables(given, option)
    for name in environment:
        if name in _HELD_ENVIRONMENT:
            refuse_option(option, f"sets {name}, which the launcher itself sets", "leave it out")
    return environment


def check_variables(given: Mapping[str, str] | None, option: str) -> dict[str, str]:
    """Variables as Linux takes them."""
    environment = _check_mapping(given, option)
    for name, value in environment.items():
        if not name or "=" in name or not is_text(name + value):
            hint = "give a name that is not empty and has no '=', and characters that UTF-8 has, without NUL"
            refuse_option(option, f"has an unusable variable {show_value(name)}", hint)
        if len(f"{name}={value}".encode()) > _MOST_TEXT:
            seen = f"has the variable {show_value(name)} with more than {_MOST_TEXT} bytes, which Linux does not take"
            refuse_option(option, seen, "write it into a file of the pipeline, or of a mount")
    return environment


def check_secrets(given: HiddenTexts | Mapping[str, str] | None, option: str) -> HiddenTexts:
    """Secrets by the names of their files.

    Raises:
        OptionError: it names what is wrong, and shows no value.
    """
    hidden = given if isinstance(given, HiddenTexts) else HiddenTexts({} if given is None else given)
    del given  # what a traceback shows of this frame
    if fault := _find_secrets_fault(hidden):
        refuse_option(option, *fault)
    return HiddenTexts(dict(hidden.values))


def _find_secrets_fault(hidden: HiddenTexts) -> tuple[str, str] | None:
    """What is wrong, and a hint. Nothing is raised here, where values are in local variables."""
    values = hidden.values
    if not isinstance(values, Mapping) or not all(isinstance(item, str) for pair in values.items() for item in pair):
        return "is not a mapping of texts to texts", "give a name and a text for each secret"
    for name, value in values.items():
        if not _SECRET.fullmatch(name):
            hint = "give 1 to 64 of A-Z a-z 0-9 _ . -, and no dot at the beginning"
            # Without the name: somebody may have exchanged the names and the texts.
            return f"has an unusable name of {len(name)} characters", hint
        if not is_text(value):
            seen = f"has a value for {name!r} that cannot be encoded"
            return seen, "give characters that UTF-8 has, without NUL; write other bytes as base64"
        if len(value.encode()) > _MOST_SECRET:
            return f"has a value for {name!r} with more than {_MOST_SECRET} bytes", "put it into a file of a mount"
    if len(values) > _MOST_SECRETS:
        return f"has {len(values)} secrets", f"give at most {_MOST_SECRETS}"
    return None


def check_token(given: object, option: str, *, is_needed: bool = False) -> Secret | None:
    """A token of the caller's, as it may stand in a URL; ``is_needed``: what a function returned, a text too.

    Raises:
        OptionError: it says what is wrong, and shows nothing of it.
    """
    if is_needed and isinstance(given, str):
        given = Secret(given)
    if not isinstance(given, Secret) and (is_needed or given is not None):
        del given  # what a traceback shows of this frame
        refuse_option(option, "is no Secret", "give Secret('…'), or a function that returns the text")
    if given is not None and not _TOKEN.fullmatch(given.text):
        seen = f"has {len(given.text)} characters, or others than A-Z a-z 0-9 _ -"
        refuse_option(option, seen, "give 32 to 128 of these, such as secrets.token_urlsafe(32)")
    return given


def refuse_own_name(gateway: str | None, options: Mapping[str, Any], extra_hosts: Mapping[str, str]) -> None:
    """Refuse a gateway's URL whose host is a name that the container takes for itself, by its other options.

    Args:
        gateway: as it was checked.
        options: by the engine's names, of which two name the container.
        extra_hosts: a name → its address, or ``host-gateway``.

    Raises:
        OptionError: it is one.
    """
    if gateway is not None and "://" in gateway:
        own = str(options.get("Hostname", "localhost"))
        known = {**extra_hosts, own: LOOPBACK, f"{own}.{options.get('Domainname')}": LOOPBACK}
        refuse_own_address(gateway, "gateway", {name.lower(): address for name, address in known.items()})


def check_labels(given: Mapping[str, str] | None, option: str) -> dict[str, str]:
    """Labels of the caller; those with the launcher's own prefix are refused."""
    labels = _check_mapping(given, option)
    if not all(map(is_text, (*labels, *labels.values()))):
        refuse_option(option, "has a text that cannot be encoded", "give characters that UTF-8 has, without NUL")
    if any(name.startswith(LABEL_PREFIX) for name in labels):
        seen = f"sets one that begins with {LABEL_PREFIX!r}, which is the launcher's"
        refuse_option(option, seen, "take another name")
    size = sum(len((name + value).encode()) for name, value in labels.items())
    if size > _MOST_LABELS:
        hint = f"give at most {_MOST_LABELS}: labels are in each answer of the engine about the session"
        refuse_option(option, f"has {size} bytes", hint)
    return labels


def _check_mapping(given: Mapping[str, str] | None, option: str) -> dict[str, str]:
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(item, str) for pair in given.items() for item in pair):
        refuse_option(option, "is not a mapping of texts to texts", "write numbers as texts too")
    return dict(given)


def check_lab_args(given: Iterable[str], option: str) -> tuple[str, ...]:
    """Arguments for ``jupyter lab``; those that the launcher itself sets are refused."""
    args = tuple(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else (None,)
    if not all(map(is_text, args)):
        hint = "give a sequence of texts, one per argument, such as ['--LabApp.default_url=/lab/tree/report.ipynb']"
        refuse_option(option, f"is {show_value(given)}", hint)
    texts = tuple(map(str, args))
    for arg in texts:
        flag = arg.partition("=")[0]
        if _HELD_ARGUMENT.fullmatch(flag):
            refuse_option(option, f"has {flag}, which the launcher itself sets", "leave it out")
        if len(arg.encode()) > _MOST_TEXT:
            seen = f"has {show_value(flag)} with more than {_MOST_TEXT} bytes, which Linux does not take"
            refuse_option(option, seen, "write it into a configuration file that the server reads")
    return texts


def check_constraints(given: object, option: str) -> tuple[str, ...]:
    """Where in a swarm something may run, as ``docker service create --constraint`` takes it."""
    hint = "give a list of texts such as node.hostname==NAME or node.labels.NAME!=TEXT"
    if given is None:
        return ()
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Collection) or len(given) > _MOST_CONSTRAINTS:
        refuse_option(option, f"is {show_value(given)}", hint)
    for item in given:
        if not isinstance(item, str) or not _CONSTRAINT.fullmatch(item):
            refuse_option(option, f"has {show_value(item)}", hint)
    return tuple(sorted({re.sub(r"\s*(==|!=)\s*", r"\1", item, count=1) for item in given}))


def check_argument_size(environment: Mapping[str, str], lab_args: Iterable[str], secrets: HiddenTexts) -> None:
    """Refuse variables and arguments of which there are too many together for one process.

    Raises:
        OptionError: naming the largest of the three.
    """
    sizes = {
        "environment": sum(len(f"{name}={value}".encode()) + 9 for name, value in environment.items()),
        "lab_args": sum(len(arg.encode()) + 9 for arg in lab_args),
        "secrets": sum(len(value.encode()) + 32 for value in secrets.values.values()),
    }
    if sum(sizes.values()) > _MOST_TEXTS:
        largest = max(sizes, key=lambda name: sizes[name])
        seen = f"has {sizes[largest]} bytes; with the other variables and arguments that is more than Linux takes"
        hint = f"give at most {_MOST_TEXTS} bytes of environment, lab_args and secrets together"
        refuse_option(largest, seen, hint)


def check_embedding_arguments(lab_args: Iterable[str]) -> None:
    """Refuse arguments that would replace what ``allow_origin`` sets.

    Raises:
        OptionError: naming the argument.
    """
    for arg in lab_args:
        flag = arg.partition("=")[0]
        if _EMBEDDING_ARGUMENT.fullmatch(flag):
            refuse_option("lab_args", f"has {flag}, which allow_origin sets", "leave one of them out")


def check_inner_path(value: object, option: str) -> str:
    """A path in the pipeline directory, relative to it; returned with single slashes. Empty: the directory itself."""
    text = str(value) if isinstance(value, PurePath) else value
    if not is_text(text) or not text or text.startswith("/") or ".." in text.split("/"):
        hint = "give a path relative to the pipeline directory, such as 'steps/train.ipynb'"
        refuse_option(option, f"is {show_value(value)}", hint)
    return "/".join(step for step in text.split("/") if step not in ("", "."))

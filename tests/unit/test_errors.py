"""Every error: one root, a hint, typed fields, a copy in another process, an exit code of the command."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    ExecError,
    GatewayNotFoundError,
    ImageBuildError,
    LauncherError,
    OptionError,
    PipelineDirError,
    ServerStartError,
    ServerTimeoutError,
    SessionConflictError,
    SessionUnreadableError,
    StartCancelledError,
    errors,
)

KINDS: list[type[LauncherError]] = [getattr(errors, name) for name in errors.__all__]


def made(kind: type[LauncherError], **fields: Any) -> LauncherError:
    return kind("what happened", hint="what next", **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_of_the_one_root_and_survives_pickle(kind: type[LauncherError]) -> None:
    assert issubclass(kind, LauncherError)
    fields = [name for name in inspect.signature(kind).parameters if name not in ("message", "hint")]
    error = made(kind, **dict.fromkeys(fields, "value"))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy)) == (kind, str(error))
    assert (copy.message, copy.hint) == ("what happened", "what next")
    assert [getattr(copy, name) for name in fields] == ["value"] * len(fields)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_hint_there_is_no_error(kind: type[LauncherError]) -> None:
    with pytest.raises(TypeError, match="hint"):
        kind("what happened")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        kind("what happened", "what next")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_the_message_and_the_hint(kind: type[LauncherError]) -> None:
    assert str(made(kind)) == "what happened; what next"


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if "log_tail" in {item.name for item in dataclasses.fields(kind)}]
)
def test_the_text_ends_with_the_end_of_the_log(kind: type[LauncherError]) -> None:
    assert str(made(kind, log_tail="one\ntwo")) == "what happened; what next. The log ends:\none\ntwo"


def test_errors_are_compared_by_identity() -> None:
    error = made(EngineError)
    assert error == error  # noqa: PLR0124 - that is what is shown
    assert error != made(EngineError)
    assert len({error, made(EngineError)}) == 2


def test_the_kinds_that_python_knows_too() -> None:
    assert issubclass(OptionError, ValueError)
    assert issubclass(ServerTimeoutError, TimeoutError)
    with pytest.raises(TimeoutError, match="what happened"):
        raise made(ServerTimeoutError, seconds=3.0)


def test_fields_have_their_empty_values() -> None:
    error = made(ExecError)
    assert isinstance(error, ExecError)
    assert (error.started, error.exit_code, error.output) == (None, None, "")
    conflict = made(SessionConflictError)
    assert isinstance(conflict, SessionConflictError)
    assert (conflict.session_id, conflict.container_id, conflict.differences) == ("", "", ())


def test_the_hierarchy_is_drawn_as_it_is() -> None:
    """Each line of the drawing in the docstring stands below its class's base."""
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in errors.__doc__.splitlines():
        name = line.strip("│├└─ ").partition(" ")[0]
        if name in errors.__all__:
            depth = line.index(name)
            drawn[name] = next((above[level] for level in sorted(above, reverse=True) if level < depth), "Exception")
            above = {level: other for level, other in above.items() if level < depth} | {depth: name}
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (LauncherError, 1),
        (OptionError, 2),
        (PipelineDirError, 3),
        (EngineError, 4),
        (EngineUnavailableError, 4),
        (ImageBuildError, 4),
        (ExecError, 5),
        (GatewayNotFoundError, 6),
        (ServerTimeoutError, 7),
        (ServerStartError, 7),
        (SessionConflictError, 8),
        (SessionUnreadableError, 8),
        (StartCancelledError, 8),
    ],
)
def test_exit_codes(kind: type[LauncherError], code: int) -> None:
    assert made(kind).command_exit_code == code


def test_every_branch_has_a_code_of_its_own() -> None:
    branches = LauncherError.__subclasses__()
    codes = {branch.command_exit_code for branch in branches}
    assert len(codes) == len(branches)
    assert all("command_exit_code" in vars(branch) for branch in branches)
    assert not codes & {0, 1, 130}

"""What ``Launcher.start`` was given, parsed: one start, which is made at once or in the background."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Timeouts
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.phases import StartLimit
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.sessions.start import StartRequest, cancelled_start, remove_session, start_session
from jupyter_launcher.spec.checks import check_instance
from jupyter_launcher.spec.options import SessionOptions
from jupyter_launcher.spec.texts import check_constraints, check_token

__all__ = ["StartCall", "takes_what"]

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCall:
    """One call of ``Launcher.start``.

    Attributes:
        context: the launcher's, with the time-outs of this start.
        limit: of the launcher's starts.
        request: what the start needs besides the options.
        options: those that make a session what it is, as the caller gave them.
        cancel: another thread sets it to end the start; None: nobody does.
    """

    context: Context
    limit: StartLimit
    request: StartRequest
    options: Mapping[str, Any] = field(repr=False)
    cancel: threading.Event | None

    @classmethod
    def from_arguments(cls, given: Mapping[str, Any], *, context: Context, limit: StartLimit, image: str) -> StartCall:
        """From the arguments of ``Launcher.start`` by their names; ``image``: the launcher's.

        Raises:
            OptionError: ``cancel``, ``timeouts``, ``token`` or ``constraints`` cannot be. The other options are looked
                at by the start.
        """
        cancel, timeouts, token = given["cancel"], given["timeouts"], given["token"]
        if cancel is not None and not callable(getattr(cancel, "is_set", None)):
            msg = f"cancel is {cancel!r}"
            raise OptionError(msg, hint="give a threading.Event", option="cancel")
        if callable(token):
            token = check_token(token(), "token", is_needed=True)
        timeouts = context.timeouts if timeouts is None else check_instance(timeouts, Timeouts, "timeouts")
        return cls(
            context=context.for_start(timeouts, check_constraints(given["constraints"], "constraints")),
            limit=limit,
            request=StartRequest(
                pipeline_dir=given["pipeline_dir"],
                user=given["user"],
                session_id=given["session_id"],
                image=image if given["image"] is None else given["image"],
                pull=given["pull"],
            ),
            # By their names, so that a new one is written in the launcher only once.
            options={
                name: token if name == "token" else value
                for name, value in given.items()
                if name in SessionOptions.__annotations__
            },
            cancel=cancel,
        )

    def run(self) -> Session:
        """Start the session, as ``Launcher.start`` says."""
        return run_act(
            lambda: start_session(self.context, self.limit, self.request, self.options),
            undo=lambda session: remove_session(self.context, session),
            cancel=self.cancelled(),
        )

    def cancelled(self) -> Cancel | None:
        """What cancels it, and the error then; None where the caller gave no ``cancel``."""
        session_id = self.request.session_id or ""
        return None if self.cancel is None else Cancel(self.cancel, lambda left: cancelled_start(session_id, left))


def takes_what(
    start: Callable[Concatenate[S, P], object],
) -> Callable[[Callable[..., T]], Callable[Concatenate[S, P], T]]:
    """A method takes what ``start`` takes: its signature is that of ``start``, for people and for type checkers."""

    def decorate(method: Callable[..., T]) -> Callable[Concatenate[S, P], T]:
        returned = method.__annotations__["return"]
        method.__signature__ = inspect.signature(start).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return method

    return decorate

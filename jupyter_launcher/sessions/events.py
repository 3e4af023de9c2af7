"""What happens to sessions, as the engine tells it."""

from __future__ import annotations

from types import TracebackType

from jupyter_launcher.engine.protocol import Events
from jupyter_launcher.engine.shapes import ContainerEvent
from jupyter_launcher.errors import SessionUnreadableError
from jupyter_launcher.models import SessionEvent, SessionEventKind
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.spec.labels import SessionLabels

__all__ = ["SessionEvents", "follow_sessions"]

_KILLED = 137
# Docker's words, and Podman's.
_KINDS = {
    "oom": SessionEventKind.OUT_OF_MEMORY,
    **dict.fromkeys(("die", "died"), SessionEventKind.ENDED),
    **dict.fromkeys(("destroy", "remove"), SessionEventKind.REMOVED),
}


class SessionEvents:
    """An iterator of what happens to sessions. Leaving its ``with`` block closes it, and so may any thread."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __enter__(self) -> SessionEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> SessionEvents:
        return self

    def __next__(self) -> SessionEvent:
        """Wait for the next event.

        Raises:
            StopIteration: it was closed.
            EngineUnavailableError: the engine has ended the stream.
        """
        while True:
            found = _to_session_event(next(self._events))
            if found is not None:
                return found

    def close(self) -> None:
        """End it. A thread that waits for the next event gets none."""
        self._events.close()


def follow_sessions(context: Context, since: float | None) -> SessionEvents:
    """What happens to the sessions of the namespace, as ``Launcher.events`` says."""
    context.refuse_in_swarm("events")
    return SessionEvents(context.engine.events(*SessionLabels.filters(context.namespace), since=since))


def _to_session_event(event: ContainerEvent) -> SessionEvent | None:
    """None: what happened is no matter of sessions, or the container is none."""
    kind = _KINDS.get(event.action)
    if kind is None:
        return None
    try:
        if not SessionLabels.is_session(event.labels, event.name):
            return None
        labels = SessionLabels.of_session(event.labels, event.name)
    except SessionUnreadableError:
        return None
    exit_code = event.exit_code if kind is SessionEventKind.ENDED else None
    return SessionEvent(
        kind=SessionEventKind.KILLED if exit_code == _KILLED else kind,
        session_id=labels.session_id,
        container_id=event.id,
        owner=labels.owner,
        time=event.time,
        exit_code=exit_code,
    )

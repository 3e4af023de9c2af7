"""A container's log."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterable, Iterator

from docker import APIClient

from jupyter_launcher.engine.errors import translate_errors
from jupyter_launcher.engine.streams import open_stream, raise_for_status, read_frames
from jupyter_launcher.errors import EngineError
from jupyter_launcher.waiting import Deadline

__all__ = ["decode_log", "read_log"]

_HINT = (
    "`docker info -f '{{.LoggingDriver}}'`, or `podman info -f '{{.Host.LogDriver}}'`, shows the engine's logging "
    "driver; not every one can be read"
)


def decode_log(frames: Iterable[tuple[int, bytes]]) -> Iterator[str]:
    """A log's frames as text; a character that two frames share is put together."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for _, piece in frames:
        yield decoder.decode(piece)
    if rest := decoder.decode(b"", final=True):
        yield rest


def read_log(
    api: APIClient,
    endpoint: str,
    container: str,
    tail: int | None = None,
    *,
    follow: bool = False,
    deadline: Deadline | None = None,
) -> Iterator[str]:
    """A container's log in pieces, as the protocol's ``read_log`` says; an error at the deadline, also in a piece."""
    # Not the SDK's call, which would give up after a minute without a line.
    action = f"read the log of container {container[:12]}"
    try:
        with translate_errors(action, endpoint):
            response = api.get(
                f"{api.base_url}/v{api.api_version}/containers/{container}/logs",
                params={"stdout": 1, "stderr": 1, "follow": int(follow), "tail": "all" if tail is None else tail},
                stream=True,
                timeout=None if follow else api.timeout if deadline is None else deadline.remaining(),
            )
            if response.status_code >= 400:
                with contextlib.closing(response):
                    raise_for_status(response)
    except EngineError as error:
        # Podman answers 500, and only its text tells.
        if error.status == 501 or (error.status == 500 and "cannot read logs" in error.message):
            raise EngineError(error.message, hint=_HINT, status=501) from error
        raise

    def read_pieces() -> Iterator[str]:
        with translate_errors(action, endpoint), open_stream(response):
            yield from decode_log(read_frames(response, deadline))

    return read_pieces()

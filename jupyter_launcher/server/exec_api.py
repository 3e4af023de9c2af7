"""The REST API of a gateway that this process does not reach: asked from inside a container."""

from __future__ import annotations

import re

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import EngineUnavailableError, ExecError
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.server.api import SHOWN, JupyterApi, NoAnswerError, Response, parse_json, untracked
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline

__all__ = ["ExecApi"]

_NOT_CONNECTED = 7
"""The exit code of request.py where no connection could be made."""


class ExecApi(JupyterApi):
    """The REST API of a gateway, asked from inside a container: for one that this process does not reach.

    Over https only from inside the gateway's own container: nobody looks whose certificate it is.
    """

    def __init__(self, engine: Engine, container: str, url: str, token: str | None = None) -> None:
        super().__init__(url, token)
        self._engine = engine
        self._container = container

    def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        authenticated: bool = True,  # noqa: ARG002 - without a token of ours, that of the container's environment is taken
        read_body: bool = True,  # noqa: ARG002 - its size is bounded
    ) -> Response | NoAnswerError:
        if deadline.expired():
            return NoAnswerError(TimeoutError.__name__)
        url, seconds = untracked(self.url + path, method), f"{max(deadline.remaining(), 0.001):.3f}"
        # The gateway's container asks itself.
        trust = ["any-certificate"] if url.startswith("https:") else []
        script = read_script("request.py")
        command = ("sh", "-c", read_script("run_python.sh"), "run", script, method, url, seconds, *trust)
        try:
            token = HiddenTexts({"KG_AUTH_TOKEN": self._token} if self._token else {})
            result = self._engine.exec(self._container, command, deadline, environment=token)
        except ExecError as error:
            if error.exit_code == _NOT_CONNECTED:
                return NoAnswerError(error.output.strip()[-SHOWN:], connected=False)
            return NoAnswerError(error.message)
        except EngineUnavailableError as error:  # the node of a swarm is away
            return NoAnswerError(error.message, connected=False)
        status, _, body = result.stdout.partition("\n")
        if not re.fullmatch(r"[1-9][0-9]{2}", status):
            return NoAnswerError(result.stdout[:SHOWN])
        return Response(int(status), parse_json(body))

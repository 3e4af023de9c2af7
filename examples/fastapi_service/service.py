"""An orchestrator's service: a JupyterLab beside each of its pipelines, started, found and stopped over HTTP.

    service.py ROOT [--gateway NAME] [--port 8000] [--namespace NAME]

The operations of the Flask service beside this one, with FastAPI, which describes them at /openapi.json, and one
event loop. Each folder of ROOT is a pipeline. The service holds no state: killed and started again it finds all
sessions, and a start that is asked for twice gives the same one. It listens on loopback, and whoever may ask it gets
tokens: put it behind the orchestrator's own authentication.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from jupyter_launcher import (
    AsyncLauncher,
    AsyncSession,
    EngineUnavailableError,
    GatewayError,
    LauncherError,
    OptionError,
    PipelineDirError,
    ServerNotRunningError,
    ServerTimeoutError,
    SessionConflictError,
    SessionNotFoundError,
)

# The first that fits. What is in none of these rows is this service's own failure: 500.
STATUS: tuple[tuple[type[LauncherError], int], ...] = (
    (SessionNotFoundError, 404),
    (ServerNotRunningError, 404),
    (PipelineDirError, 404),
    (OptionError, 400),
    (SessionConflictError, 409),
    (GatewayError, 502),
    (EngineUnavailableError, 503),
    (ServerTimeoutError, 504),
)


@dataclass
class Server:
    """What a front end needs to show JupyterLab."""

    pipeline: str
    server_info: dict[str, Any]
    lab_url: str
    internal_url: str


@dataclass
class Listed:
    """A server in a list."""

    pipeline: str
    state: str


@dataclass
class Stopped:
    """How a server ended."""

    method: str
    kernels_gone: list[str]
    seconds: float


def described(session: AsyncSession) -> Server:
    return Server(session.id, session.server_info.to_dict(), session.lab_url, session.internal_url)


def create_app(root: Path, *, gateway: str | None = None, namespace: str = "fastapi-service") -> FastAPI:
    """The service for the pipelines below ``root``; the sessions' ids are the pipelines' names."""
    launcher = AsyncLauncher(namespace=namespace)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with launcher:
            await launcher.reap()  # what died while nobody looked
            yield

    app = FastAPI(title="JupyterLab beside pipelines", lifespan=lifespan)

    @app.get("/api/servers/")
    async def list_servers() -> dict[str, list[Listed]]:
        return {"servers": [Listed(item.session_id, item.state.value) for item in await launcher.list()]}

    @app.post("/api/servers/{pipeline}", status_code=201, responses={200: {"model": Server}})
    async def start(pipeline: str, response: Response) -> Server:
        session = await launcher.start(root / pipeline, session_id=pipeline, gateway=gateway)
        response.status_code = 200 if session.joined else 201
        return described(session)

    @app.get("/api/servers/{pipeline}")
    async def get(pipeline: str) -> Server:
        return described(await launcher.get(pipeline))

    @app.delete("/api/servers/{pipeline}")
    async def stop(pipeline: str) -> Stopped:
        report = await launcher.stop(pipeline)
        return Stopped(report.method.value, list(report.kernels_gone), report.seconds)

    @app.exception_handler(LauncherError)
    async def failed(_: Request, error: LauncherError) -> JSONResponse:
        status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
        return JSONResponse({"message": str(error)}, status)

    return app


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--gateway")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--namespace", default="fastapi-service")
    given = parser.parse_args()
    uvicorn.run(create_app(given.root, gateway=given.gateway, namespace=given.namespace), port=given.port)


if __name__ == "__main__":
    main()

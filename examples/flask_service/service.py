"""An orchestrator's service: a JupyterLab beside each of its pipelines, started, found and stopped over HTTP.

    service.py ROOT [--gateway NAME] [--port 8000] [--namespace NAME]

Each folder of ROOT is a pipeline. The service holds no state: killed and started again it finds all
sessions, and a start that is asked for twice gives the same one. It listens on loopback, and whoever
may ask it gets tokens: put it behind the orchestrator's own authentication.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from flask import Flask, send_file

from jupyter_launcher import (
    EngineUnavailableError,
    GatewayError,
    Launcher,
    LauncherError,
    OptionError,
    PipelineDirError,
    ServerNotRunningError,
    ServerTimeoutError,
    Session,
    SessionConflictError,
    SessionNotFoundError,
)

# The first that fits. What is in none of these rows is this service's own failure: 500.
STATUS: tuple[tuple[type[LauncherError], int], ...] = (
    (PipelineDirError, 404),
    (OptionError, 400),
    (SessionConflictError, 409),
    (GatewayError, 502),
    (EngineUnavailableError, 503),
    (ServerTimeoutError, 504),
)

Answer = tuple[dict[str, Any], int]


def described(session: Session) -> dict[str, Any]:
    """What a front end needs to show JupyterLab."""
    return {
        "pipeline": session.id,
        "server_info": session.server_info.to_dict(),
        "lab_url": session.lab_url,
        "internal_url": session.internal_url,
    }


def create_app(root: Path, *, gateway: str | None = None, namespace: str = "flask-service") -> Flask:
    """The service for the pipelines below ``root``; the sessions' ids are the pipelines' names."""
    app = Flask(__name__)
    launcher = Launcher(namespace=namespace)
    launcher.reap()  # what died while nobody looked

    @app.get("/api/openapi.json")
    def openapi() -> Any:
        return send_file(Path(__file__).with_name("openapi.json"))

    @app.get("/api/servers/")
    def list_servers() -> Answer:
        servers = [{"pipeline": item.session_id, "state": item.state.value} for item in launcher.list()]
        return {"servers": servers}, 200

    @app.post("/api/servers/<pipeline>")
    def start(pipeline: str) -> Answer:
        session = launcher.start(root / pipeline, session_id=pipeline, gateway=gateway)
        return described(session), 200 if session.joined else 201

    @app.get("/api/servers/<pipeline>")
    def get(pipeline: str) -> Answer:
        return described(launcher.get(pipeline)), 200

    @app.delete("/api/servers/<pipeline>")
    def stop(pipeline: str) -> Answer:
        report = launcher.stop(pipeline)
        return {
            "method": report.method.value,
            "kernels_gone": list(report.kernels_gone),
            "seconds": report.seconds,
        }, 200

    @app.errorhandler(SessionNotFoundError)
    @app.errorhandler(ServerNotRunningError)
    def none_runs(_: LauncherError) -> Answer:
        return {"message": "No running server"}, 404

    @app.errorhandler(LauncherError)
    def failed(error: LauncherError) -> Answer:
        status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
        return {"message": str(error)}, status

    return app


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--gateway")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--namespace", default="flask-service")
    given = parser.parse_args()
    create_app(given.root, gateway=given.gateway, namespace=given.namespace).run(port=given.port, threaded=True)


if __name__ == "__main__":
    main()

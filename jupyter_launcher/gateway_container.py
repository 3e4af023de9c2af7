"""A gateway in a container of our own, for trials, for tests, for machines that have none yet."""

from __future__ import annotations

import uuid

from jupyter_launcher.container import OWNER, isolation
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.errors import GatewayNotRunningError, GatewayUnreachableError
from jupyter_launcher.pipeline_dir import PipelineDir
from jupyter_launcher.server import JupyterApi, wait_for_kernelspecs
from jupyter_launcher.spec import PIPELINE_TARGET, SERVER_PORT

__all__ = ["GATEWAY_OF", "start"]

GATEWAY_OF = "jupyter-launcher.gateway-of"
_PORT_KEY = f"{SERVER_PORT}/tcp"


def start(
    engine: Engine,
    pipeline_dir: PipelineDir,
    *,
    image: str,
    namespace: str,
    owner: str,
    network: str | None,
    seconds: float,
) -> str:
    """Start a gateway that sees the pipeline at the same path as the server; gives its name.

    Raises:
        GatewayNotRunningError: it ended at once.
        GatewayUnreachableError: it gave no kernel specs within ``seconds``.
    """
    name = f"enterprise-gateway.{namespace}.{uuid.uuid4().hex[:12]}"
    config = {
        "Image": image,
        "User": pipeline_dir.user,
        "WorkingDir": PIPELINE_TARGET,
        "Labels": {GATEWAY_OF: namespace, OWNER: owner},
        "ExposedPorts": {_PORT_KEY: {}},
        "HostConfig": {
            **isolation(),
            "Mounts": [{"Type": "bind", "Source": str(pipeline_dir.path), "Target": PIPELINE_TARGET}],
            # For the look from this host alone; servers use the container's IP.
            "PortBindings": {_PORT_KEY: [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "NetworkMode": network or "bridge",
        },
    }
    try:
        container = engine.create(config, name)
        engine.start(container)
        info = engine.inspect(container)
        port = info.ports[_PORT_KEY][0] if info and info.ports.get(_PORT_KEY) else 0
        if not wait_for_kernelspecs(JupyterApi(f"http://{engine.host}:{port}"), Deadline(seconds)):
            raise _failure(engine, name, container, seconds)
    except BaseException:
        engine.remove(name)
        raise
    return name


def _failure(engine: Engine, name: str, container: str, seconds: float) -> Exception:
    info = engine.inspect(container)
    log = engine.logs(container, 40)
    if info is None or not info.running:
        code = info.exit_code if info else None
        msg = f"the gateway {name} ended with exit code {code}; its log ends:\n{log}"
        return GatewayNotRunningError(msg, gateway=name, state=info.state if info else "gone", exit_code=code)
    msg = f"the gateway {name} gave no kernel specs within {seconds:g} s; its log ends:\n{log}"
    return GatewayUnreachableError(msg, gateway=name, log_tail=log)

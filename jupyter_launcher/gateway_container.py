"""A gateway in a container of our own, for trials, for tests, for machines that have none yet."""

from __future__ import annotations

import uuid

from jupyter_launcher import place
from jupyter_launcher.container import HOST_IP, OWNER, PORT_KEY, isolation
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.errors import GatewayNotRunningError, GatewayUnreachableError
from jupyter_launcher.pipeline_dir import PipelineDir
from jupyter_launcher.server import JupyterApi, wait_for_kernelspecs
from jupyter_launcher.spec import PIPELINE_TARGET

__all__ = ["GATEWAY_OF", "start"]

GATEWAY_OF = "jupyter-launcher.gateway-of"


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
    host_ip = place.publish_ip(engine, None)
    name = f"enterprise-gateway.{namespace}.{uuid.uuid4().hex[:12]}"
    config = {
        "Image": image,
        "User": pipeline_dir.user,
        "WorkingDir": PIPELINE_TARGET,
        "Labels": {GATEWAY_OF: namespace, OWNER: owner, HOST_IP: host_ip},
        "ExposedPorts": {PORT_KEY: {}},
        "HostConfig": {
            **isolation(),
            "Mounts": [{"Type": "bind", "Source": str(pipeline_dir.path), "Target": PIPELINE_TARGET}],
            # For the look from here alone; servers use the container's IP.
            "PortBindings": {PORT_KEY: [{"HostIp": host_ip, "HostPort": ""}]},
            "NetworkMode": place.network(engine, network),
        },
    }
    try:
        container = engine.create(config, name)
        engine.start(container)
        info = engine.inspect(container)
        if info is None or not wait_for_kernelspecs(JupyterApi(place.url(engine, info)), Deadline(seconds)):
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

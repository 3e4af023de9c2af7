"""What a session's container is: its name, its labels, its configuration. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jupyter_launcher.engine_types import ListedContainer
from jupyter_launcher.models import Gateway, SessionState, SessionSummary
from jupyter_launcher.spec import LABEL_PREFIX, PIPELINE_TARGET, SERVER_PORT, SessionSpec

__all__ = [
    "ATTEMPT",
    "BASE_URL",
    "DEFAULT_NETWORK",
    "GATEWAY",
    "HOST_IP",
    "KERNEL_MARK",
    "NAMESPACE",
    "OPTIONS",
    "OWNER",
    "PIPELINE_DIR",
    "PORT_KEY",
    "RUN_DIR",
    "SESSION_ID",
    "config",
    "isolation",
    "name_of",
    "script",
    "summary",
]

KERNEL_MARK = "KERNEL_JUPYTER_LAUNCHER"
"""In the environment of each kernel that a session starts on a gateway: the session's attempt."""
DEFAULT_NETWORK = "bridge"
PORT_KEY = f"{SERVER_PORT}/tcp"
RUN_DIR = "/run/jupyter-launcher"

# Labels are the only registry. Whoever may ask the engine may read them, so: no secrets.
NAMESPACE = LABEL_PREFIX + "namespace"
SESSION_ID = LABEL_PREFIX + "session-id"
ATTEMPT = LABEL_PREFIX + "attempt"
PIPELINE_DIR = LABEL_PREFIX + "pipeline-dir"
GATEWAY = LABEL_PREFIX + "gateway"
BASE_URL = LABEL_PREFIX + "base-url"
HOST_IP = LABEL_PREFIX + "host-ip"
OWNER = LABEL_PREFIX + "owner"
OPTIONS = LABEL_PREFIX + "options"

# `docker stop` must give the supervisor time to let the server shut its kernels down: one that
# ignores signals costs the server 5 s.
_STOP_SECONDS = 30
# Between the container's start and the exec lies one call to the engine; a busy one takes its time.
_SERVER_PATIENCE = 60
_PIDS = 4096
_MIB = 2**20


def name_of(namespace: str, session_id: str) -> str:
    """The container's name: unique on the engine, so it is the lock between launchers too."""
    return f"jupyter-server.{namespace}.{session_id}"


def script(name: str) -> str:
    """The text of a script that runs inside the container."""
    return (resources.files("jupyter_launcher") / "scripts" / name).read_text(encoding="utf-8")


def labels(spec: SessionSpec, gateway: Gateway | None, attempt: str, owner: str) -> dict[str, str]:
    """All that ``get`` and ``list`` will need. ``attempt`` tells one start from another."""
    known = {} if gateway is None else {"name": gateway.name, "url": gateway.url, "id": gateway.container_id}
    return {
        **spec.labels,
        NAMESPACE: spec.namespace,
        SESSION_ID: spec.session_id,
        ATTEMPT: attempt,
        OWNER: owner,
        PIPELINE_DIR: str(spec.pipeline_dir),
        GATEWAY: json.dumps(known) if known else "",
        BASE_URL: spec.base_url,
        HOST_IP: spec.host_ip,
        OPTIONS: json.dumps(spec.to_options()),
    }


def summary(listed: ListedContainer, state: SessionState, *, oom_killed: bool = False) -> SessionSummary:
    """A session as the engine's list knows it, with what was found out about its state."""
    gateway = listed.labels.get(GATEWAY)
    return SessionSummary(
        session_id=listed.labels[SESSION_ID],
        container_id=listed.id,
        container_name=listed.name,
        pipeline_dir=Path(listed.labels[PIPELINE_DIR]),
        gateway=json.loads(gateway)["name"] if gateway else None,
        image=listed.image,
        created=listed.created,
        owner=listed.labels.get(OWNER, ""),
        status=listed.status,
        state=state,
        exit_code=listed.exit_code,
        oom_killed=oom_killed,
    )


def config(
    spec: SessionSpec, gateway: Gateway | None, attempt: str, owner: str, network: str = DEFAULT_NETWORK
) -> dict[str, Any]:
    """The body of the engine's container create call."""
    uid, _, gid = spec.user.partition(":")
    ids = f",uid={uid}" * uid.isdigit() + f",gid={gid}" * gid.isdigit()
    # Of the server's user alone; where the image has to look up the user's name, of all.
    mode = "0700" if uid.isdigit() else "1777"
    tmpfs = {RUN_DIR: f"rw,nosuid,nodev,noexec,size={16 * _MIB},mode={mode}{ids}"}
    if spec.read_only:
        tmpfs["/tmp"] = "rw,nosuid,nodev,mode=1777"  # noqa: S108 - in the container
    return {
        "Image": spec.image,
        "Entrypoint": [
            *("sh", "-c", script("supervise.sh"), "supervise"),
            *(RUN_DIR, str(_SERVER_PATIENCE)),
        ],
        "Cmd": [],
        "User": spec.user,
        "WorkingDir": PIPELINE_TARGET,
        "Env": [f"{name}={value}" for name, value in _environment(spec.environment, gateway, attempt).items()],
        "Labels": labels(spec, gateway, attempt, owner),
        "ExposedPorts": {PORT_KEY: {}},
        "StopSignal": "SIGTERM",
        "StopTimeout": _STOP_SECONDS,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            **isolation(),
            "Mounts": [_bind(str(spec.pipeline_dir), PIPELINE_TARGET, read_only=False)]
            + [_bind(mount.source, mount.target, read_only=mount.read_only) for mount in spec.mounts],
            "Tmpfs": tmpfs,
            "PortBindings": {PORT_KEY: [{"HostIp": spec.host_ip, "HostPort": str(spec.host_port or "")}]},
            "NetworkMode": network,
            "ReadonlyRootfs": spec.read_only,
            "Memory": spec.memory or 0,
            "NanoCpus": int((spec.cpus or 0) * 1e9),
            "ShmSize": spec.shm_size or 0,
            "DeviceRequests": _gpus(spec.gpus),
        },
    }


def isolation() -> dict[str, Any]:
    """What every container of ours is denied; the engine's default seccomp profile holds besides."""
    return {"Init": True, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "PidsLimit": _PIDS}


def _environment(given: Mapping[str, str], gateway: Gateway | None, attempt: str) -> dict[str, str]:
    if gateway is None:
        return dict(given)
    # The gateway refuses kernels for the user name root, and a uid without a name has none. It
    # hands what begins with KERNEL_ on to the kernels, and by that they are found again.
    return {"KERNEL_USERNAME": "jupyter", **given, KERNEL_MARK: attempt}


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    # The long form: it takes any path, and refuses one that is missing instead of making it as root.
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def _gpus(gpus: int | str | None) -> list[dict[str, Any]]:
    if gpus is None:
        return []
    return [{"Driver": "", "Count": -1 if gpus == "all" else gpus, "Capabilities": [["gpu"]]}]

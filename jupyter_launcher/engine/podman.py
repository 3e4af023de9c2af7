"""Podman's dialect of Docker's API: its words for states and networks, and what it takes for a container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docker import APIClient
from docker.errors import APIError

from jupyter_launcher.engine.types import BindMount, ContainerConfig, Tmpfs
from jupyter_launcher.errors import EngineError

__all__ = ["inspect_to_docker", "kill", "listing_to_docker", "read_conflict", "to_podman"]

# Docker uses none of these words, so the mapping is safe for both.
_STATES = {"stopped": "exited", "configured": "created", "initialized": "created", "stopping": "running"}


def inspect_to_docker(answer: object) -> Mapping[str, Any]:
    """An inspected container in Docker's words; one of Docker's stays as it is. Empty where the answer is no object."""
    raw = _mapping(answer)
    settings, host, state = (_section(raw, name) for name in ("NetworkSettings", "HostConfig", "State"))
    networks = _rename_default_network(settings.get("Networks"))
    mode = host.get("NetworkMode", "")
    if mode == "bridge" and networks and mode not in networks:  # Podman calls every network of this kind so
        mode = next(iter(networks))
    return {
        **raw,
        "State": {**state, "Status": _to_docker_state(state.get("Status"))},
        "HostConfig": {**host, "NetworkMode": mode},
        "NetworkSettings": {**settings, "Networks": networks},
    }


def listing_to_docker(answer: object) -> Mapping[str, Any]:
    """A listed container in Docker's words; one of Docker's stays as it is. Empty where the answer is no object."""
    raw = _mapping(answer)
    settings = _section(raw, "NetworkSettings")
    networks = {**settings, "Networks": _rename_default_network(settings.get("Networks"))}
    return {**raw, "State": _to_docker_state(raw.get("State")), "NetworkSettings": networks}


def _section(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(raw.get(name))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _to_docker_state(word: object) -> object:
    return _STATES.get(word, word) if isinstance(word, str) else word


def _rename_default_network(networks: object) -> dict[str, Any]:
    # Podman's default network is `bridge` in its list of networks, and `podman` in its containers.
    return {"bridge" if name == "podman" else name: item for name, item in _mapping(networks).items()}


def kill(api: APIClient, container: str) -> None:
    """Kill a container that may run. Podman's removal would send SIGTERM first, and wait for the stop time-out."""
    try:
        api.kill(container)
    except APIError as error:
        if error.status_code not in (404, 409, 500):  # it does not run; anything else the removal reports
            raise


def to_podman(config: ContainerConfig, *, limits_pids: bool = True) -> dict[str, Any]:
    """The body of the call that creates a container, as Podman takes it; ``limits_pids`` as for Docker.

    Raises:
        EngineError: Podman cannot mount one of the paths.
    """
    body = config.to_docker(limits_pids=limits_pids)
    long, short = _split_mounts(config.mounts)
    body["HostConfig"] |= {
        "Mounts": [mount for mount in body["HostConfig"]["Mounts"] if mount["Target"] in long],
        "Binds": short,
        "Tmpfs": {item.target: _tmpfs_options(item) for item in config.tmpfs},
        "DeviceRequests": _device_requests(config.gpus),
        "LogConfig": _log_config(config),
    }
    return config.add_engine_options(body)


def _log_config(config: ContainerConfig) -> dict[str, Any]:
    # Podman does not tell its logging driver. It takes the size without a driver, and only k8s-file heeds it.
    size = {} if config.log_size is None else {"max-size": str(config.log_size)}
    return {"Type": "k8s-file" if config.log_is_read else "", "Config": size}


def _tmpfs_options(item: Tmpfs) -> str:
    # Podman takes no owner of a tmpfs by number, but has an option that gives it to the container's user.
    options = item.to_options().split(",")
    owned = [option for option in options if not option.startswith(("uid=", "gid="))]
    return ",".join(owned if len(owned) == len(options) else [*owned, "U"])


def _split_mounts(mounts: tuple[BindMount, ...]) -> tuple[set[str], list[str]]:
    """The targets that go in the long form, and the others in the short form."""
    # Podman writes the long form as a line of comma-separated values without quoting; the short form
    # takes everything but colons.
    long, short = set(), []
    for mount in mounts:
        paths = mount.source + mount.target
        if not mount.needs_short_form and not set(paths) & set(',"\n'):
            long.add(mount.target)
        elif ":" not in paths:
            short.append(mount.to_short_form())
        else:
            msg = f"Podman cannot mount {mount.source}: its path has ':' beside ',' or a quote"
            raise EngineError(msg, hint="rename the directory")
    return long, short


def _device_requests(gpus: int | str | tuple[str, ...] | None) -> list[dict[str, Any]]:
    # Podman takes GPUs by their CDI names, and ignores Docker's form.
    if gpus is None:
        return []
    if isinstance(gpus, tuple):
        names = gpus
    else:
        names = ("all",) if gpus == "all" else tuple(str(number) for number in range(int(gpus)))
    return [{"Driver": "cdi", "DeviceIDs": [name if "=" in name else f"nvidia.com/gpu={name}" for name in names]}]


def read_conflict(error: EngineError) -> EngineError | None:
    """The error of a create or a rename whose name another container has; None: it is another error.

    Podman gives HTTP 500 where another one took the name at the same time, and for each rename.
    """
    texts = ("name is already in use", "UNIQUE constraint failed: ContainerConfig.Name")
    if error.status == 500 and any(text in error.message for text in texts):
        return EngineError(error.message, hint=error.hint, status=409)
    return None

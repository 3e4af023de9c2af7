"""The body of the call that creates a service, from the configuration of a container. Pure functions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from jupyter_launcher.engine.shapes import format_log_options
from jupyter_launcher.engine.swarm.shapes import IMAGE_LABEL, NAME_LABEL, service_name
from jupyter_launcher.engine.types import PIDS_LIMIT, BindMount, ContainerConfig, Tmpfs
from jupyter_launcher.errors import UnsupportedOptionError

__all__ = ["Placement", "format_service", "refuse_config"]

_PRIVILEGES_API = (1, 44)
"""From this version of the API on, Docker 25's, a service can have ``no-new-privileges``."""
_TMPFS_OPTIONS_API = (1, 46)
_NANO = 10**9
_STICKY = 0o1777
_SHM = "/dev/shm"  # noqa: S108 - in the container
_OWN_NETWORKS = ("", "none", "bridge", "default")
"""Networks of one engine: in a swarm, a container that names one of these has its node's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a swarm needs to know of a container besides its configuration.

    Attributes:
        image_id: of the image that it is made from.
        api: the version of the API that the manager speaks.
        constraints: of the nodes that it may run on.
        network: an overlay that it joins if it has a server; None: none.
        publish: its ports are published, on all addresses of its node.
        log_driver: the default logging driver; only ``json-file`` is given a size.
    """

    image_id: str
    api: tuple[int, ...]
    constraints: tuple[str, ...] = ()
    network: str | None = None
    publish: bool = False
    log_driver: str | None = None


def refuse_config(config: ContainerConfig) -> None:
    """Refuse what no service can have.

    Raises:
        UnsupportedOptionError: naming the option.
    """
    relabels = any(mount.relabel for mount in config.mounts)
    found = {
        "gpus": (config.gpus is not None, "leave it out: a swarm gives out only what its nodes' engines advertise"),
        "container_options": (bool(config.engine_options), "leave it out: a service takes other names"),
        "pipeline_relabel": (relabels, "leave it out, and label the directories on the nodes with `chcon`"),
    }
    for option, (is_given, hint) in found.items():
        if is_given:
            msg = f"{option} cannot be given to a session in a swarm"
            raise UnsupportedOptionError(msg, hint=hint, option=option)


def format_service(config: ContainerConfig, name: str, placement: Placement) -> dict[str, Any]:
    """The service that stands for a container: one task, which is never run again."""
    labels = {**config.labels, NAME_LABEL: name, IMAGE_LABEL: config.image}
    container: dict[str, Any] = {
        "Image": placement.image_id,
        "User": config.user,
        "Dir": config.working_dir,
        "Env": [f"{key}={value}" for key, value in config.environment.items()],
        "Labels": labels,
        "Init": True,
        "Healthcheck": {"Test": ["NONE"]},
        "CapabilityDrop": ["ALL"],
        "CapabilityAdd": list(config.capabilities),
        "ReadOnly": config.read_only,
        "Groups": list(config.groups),
        "Hosts": [f"{address} {host}" for host, address in config.extra_hosts.items()],
        "Mounts": [*map(_format_mount, config.mounts), *_format_tmpfs(config, placement.api)],
    }
    if config.entrypoint is not None:
        argv = list(config.entrypoint)
        container |= {"Args": argv} if config.keep_entrypoint else {"Command": argv, "Args": []}
    if placement.api >= _PRIVILEGES_API:
        container["Privileges"] = {"NoNewPrivileges": True}
    if config.stop_signal is not None:
        container["StopSignal"] = config.stop_signal
    if config.stop_seconds is not None:
        container["StopGracePeriod"] = config.stop_seconds * _NANO
    limits = {"Pids": PIDS_LIMIT, "MemoryBytes": config.memory, "NanoCPUs": int((config.cpus or 0) * _NANO)}
    template: dict[str, Any] = {
        "ContainerSpec": container,
        "Resources": {"Limits": {key: value for key, value in limits.items() if value}},
        "RestartPolicy": {"Condition": "none", "MaxAttempts": 0},  # nobody would start a server in another container
        "Placement": {"Constraints": list(placement.constraints)},
        "Networks": [{"Target": network} for network in _choose_networks(config, placement.network)],
    }
    if config.log_is_read or (config.log_size is not None and placement.log_driver == "json-file"):
        template["LogDriver"] = {"Name": "json-file", "Options": format_log_options(config.log_size)}
    return {
        "Name": service_name(name),
        "Labels": labels,
        "TaskTemplate": template,
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "dnsrr", "Ports": _format_ports(config) if placement.publish else []},
    }


def _choose_networks(config: ContainerConfig, overlay: str | None) -> Collection[str]:
    own = [] if config.network in _OWN_NETWORKS else [config.network]
    # A short-lived container that looks at something needs none.
    return dict.fromkeys([*own, *([overlay] if overlay and config.network != "none" else [])])


def _format_mount(mount: BindMount) -> dict[str, Any]:
    found = mount.to_long_form()
    return {**found, "VolumeOptions": {"NoCopy": True}} if mount.no_copy else found


def _format_tmpfs(config: ContainerConfig, api: tuple[int, ...]) -> list[dict[str, Any]]:
    shm = config.shm_size or config.default_shm_size
    items = [*config.tmpfs, *([Tmpfs(target=_SHM, mode="1777", size=shm)] if shm else [])]
    return [{"Type": "tmpfs", "Target": item.target, "TmpfsOptions": _format_options(item, api)} for item in items]


def _format_options(item: Tmpfs, api: tuple[int, ...]) -> dict[str, Any]:
    # A swarm gives it no owner, so it is everybody's in the container, as /tmp is.
    options: dict[str, Any] = {"Mode": _STICKY}
    if item.size is not None:
        options["SizeBytes"] = item.size
    if item.executable and api >= _TMPFS_OPTIONS_API:
        options["Options"] = [["exec"]]
    return options


def _format_ports(config: ContainerConfig) -> list[dict[str, Any]]:
    if config.container_port is None:
        return []
    ports = {f"{config.container_port}/tcp": config.host_port, **config.ports}
    found = []
    for inside, on_node in ports.items():
        number, _, protocol = inside.partition("/")
        chosen = {} if on_node is None else {"PublishedPort": on_node}
        found.append({"Protocol": protocol, "TargetPort": int(number), "PublishMode": "host", **chosen})
    return found

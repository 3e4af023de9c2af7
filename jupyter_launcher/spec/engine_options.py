"""Checks of the options that the engine gets as they are: ports, hosts, groups, GPUs, and others by its names."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.spec.checks import SERVER_PORT, check_host_port, refuse_option

__all__ = [
    "check_container_options",
    "check_extra_hosts",
    "check_gpus",
    "check_groups",
    "check_ports",
    "find_unknown",
    "refuse_host_ports",
    "refuse_unsafe",
]

_PORT = re.compile(r"(?P<number>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}[$]?")
_MOST_GPUS = 1024
_GPU = re.compile(
    r"(?P<number>[0-9]{1,4})|(GPU|MIG)-[A-Za-z0-9/-]{1,80}|(?P<name>[A-Za-z][A-Za-z0-9_.-]*/[A-Za-z0-9_-]+=[A-Za-z0-9_.:-]+)"
)
_LAST_GID = 2**31 - 1
_HOST_GATEWAY = "host-gateway"
_KEEP_GROUPS = "keep-groups"  # Podman's word for all groups of its own process
_MOST_ITEMS = 256
_MOST_JSON = 2**16
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")

_OUR_OWN = "leave it out: the launcher itself sets it"
_REMEDIES = {
    "Binds": "give mounts=",
    "Cmd": _OUR_OWN,
    "CpuPeriod": "give cpus=",
    "CpuQuota": "give cpus=",
    "DeviceRequests": "give gpus=",
    "Entrypoint": _OUR_OWN,
    "Env": "give environment=",
    "ExposedPorts": "give ports=",
    "ExtraHosts": "give extra_hosts=",
    "GroupAdd": "give groups=",
    "Image": "give image=",
    "Init": _OUR_OWN,
    "Labels": "give labels=",
    "Memory": "give memory=",
    "Mounts": "give mounts=",
    "NanoCpus": "give cpus=",
    "NetworkDisabled": "give network=",
    "NetworkMode": "give network=",
    "NetworkingConfig": "give network=",
    "PortBindings": "give ports=",
    "PublishAllPorts": "give ports=",
    "ReadonlyRootfs": "give read_only=",
    "ShmSize": "give shm_size=",
    "Tmpfs": "give tmpfs=",
    "User": "give user=",
    "Volumes": "give mounts=",
    "AttachStderr": _OUR_OWN,
    "AttachStdin": _OUR_OWN,
    "AttachStdout": _OUR_OWN,
    "AutoRemove": "leave it out: how a session ended is read from its container",
    "HostConfig": "write what is in it, such as {'Ulimits': [...]}",
    "OpenStdin": _OUR_OWN,
    "RestartPolicy": "leave it out: `start` with the same session_id starts a session anew",
    "StdinOnce": _OUR_OWN,
    "StopSignal": _OUR_OWN,
    "StopTimeout": _OUR_OWN,
    "Tty": _OUR_OWN,
    "WorkingDir": _OUR_OWN,
}
"""What the launcher holds, by the engine's name, and what to do in place of it."""

_SAFE = {
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "CgroupnsMode",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Domainname",
    "Healthcheck",
    "Hostname",
    "IpcMode",
    "KernelMemory",
    "KernelMemoryTCP",
    "MacAddress",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "OomScoreAdj",
    "PidsLimit",
    "StorageOpt",
    "Sysctls",
    "Ulimits",
}
"""What concerns the container alone."""

_OPENS = {
    "Annotations",
    "CapAdd",
    "CapDrop",
    "Cgroup",
    "CgroupParent",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "DeviceCgroupRules",
    "Devices",
    "Links",
    "LogConfig",
    "MaskedPaths",
    "OomKillDisable",
    "PidMode",
    "Privileged",
    "ReadonlyPaths",
    "Runtime",
    "SecurityOpt",
    "UTSMode",
    "UsernsMode",
    "VolumeDriver",
    "VolumesFrom",
}
"""What opens the engine's host, or may do so. So may names that are not known, such as those of later engines."""

_SAFE_VALUES: dict[str, tuple[object, ...]] = {
    "CgroupnsMode": ("", "private"),
    "IpcMode": ("", "none", "private", "shareable"),
}
_LEAST = {"OomScoreAdj": 0, "PidsLimit": 1}
_KNOWN = {name.lower(): name for name in (*_REMEDIES, *_SAFE, *_OPENS)}


def check_ports(given: object, option: str) -> dict[str, int | None]:
    """Ports of the container, ``6006`` or ``"5000/udp"``, and the host's port; None: the engine chooses a free one."""
    hint = "give {6006: None} for a free port of the host, {6006: 7006} or {'5000/udp': 7000} for a certain one"
    if given is None:
        return {}
    if not isinstance(given, Mapping) or len(given) > _MOST_ITEMS:
        refuse_option(option, f"is {show_value(given)}", hint)
    found: dict[str, int | None] = {}
    for port, on_host in given.items():
        inside = spell_port(port)
        if inside is None or inside in found:
            refuse_option(option, f"has {show_value(port)}", hint)
        if inside == f"{SERVER_PORT}/tcp":
            refuse_option(option, f"has {SERVER_PORT}, which is the server's", "give host_port=")
        found[inside] = check_host_port(on_host, option)
    refuse_host_ports(found, None, option)
    return dict(sorted(found.items()))


def spell_port(port: object) -> str | None:
    """A port of the container as the engine has it, ``6006/tcp``; None: it is no port."""
    is_one = isinstance(port, str) or (isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536)
    parts = _PORT.fullmatch(str(port)) if is_one else None
    if parts is None or not 0 < int(parts["number"]) < 65536:
        return None
    return f"{int(parts['number'])}/{parts['protocol'] or 'tcp'}"


def refuse_host_ports(ports: Mapping[str, int | None], host_port: int | None, option: str) -> None:
    """Refuse a port of the host that is asked for twice, ``host_port`` included."""
    taken = {("tcp", host_port)}
    for inside, on_host in ports.items():
        wanted = (inside.partition("/")[2], on_host)
        if on_host is not None and wanted in taken:
            refuse_option(
                option, f"has the port {on_host} of the host twice", "take another one, or None for a free one"
            )
        taken.add(wanted)


def check_extra_hosts(given: object, option: str) -> dict[str, str]:
    """Names, and their IP addresses or ``host-gateway``."""
    if given is None:
        return {}
    hint = "give {'a.name': 'an IP address'}, or 'host-gateway' for the engine's host"
    if not isinstance(given, Mapping) or len(given) > _MOST_ITEMS:
        refuse_option(option, f"is {show_value(given)}", hint)
    found: dict[str, str] = {}
    for name, address in given.items():
        if not isinstance(name, str) or not _HOST.fullmatch(name) or not isinstance(address, str):
            refuse_option(option, f"has {show_value(name)}: {show_value(address)}", hint)
        if address != _HOST_GATEWAY:
            try:
                address = str(ipaddress.ip_address(address))  # noqa: PLW2901 - spelled one way
            except ValueError:
                refuse_option(option, f"has {show_value(name)}: {show_value(address)}", hint)
        if name.lower() in {known.lower() for known in found}:
            refuse_option(option, f"has {show_value(name)} twice", "names that differ in case alone are one name")
        found[name] = address
    return dict(sorted(found.items()))


def check_gpus(value: object, option: str) -> int | str | tuple[str, ...] | None:
    """``all``, a number of GPUs, or their ids: numbers as texts, UUIDs, or names of CDI devices."""
    if value is None or (isinstance(value, str) and value == "all"):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_GPUS:
        return value
    hint = "give 'all', how many, or ids such as ('0', '3') or ('GPU-...',)"
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Collection) or not value:
        if isinstance(value, str) and value.startswith("device="):
            hint = f"give the ids: {tuple(value.removeprefix('device=').split(','))!r}"
        refuse_option(option, f"is {show_value(value)}", hint)
    found = [_GPU.fullmatch(item) if isinstance(item, str) else None for item in _in_order(value)]
    ids = tuple(str(int(item["number"])) if item["number"] else item[0] for item in found if item is not None)
    if len(ids) != len(found) or len(ids) > _MOST_GPUS or len(set(ids)) != len(ids):
        refuse_option(option, f"is {show_value(value)}", f"{hint}, each once")
    if len({bool(item["name"]) for item in found if item is not None}) > 1:
        refuse_option(option, f"is {show_value(value)}", "give names of CDI devices alone, or none of them")
    return ids


def _in_order(given: Collection[Any]) -> Iterable[Any]:
    """The items of a set in the same order in each process: the options of two starts are compared."""
    return sorted(given, key=str) if isinstance(given, (set, frozenset)) else given


def check_groups(given: object, option: str) -> tuple[str, ...]:
    """Groups by number, or by a name that the image knows."""
    hint = "give a sequence of gids, or of names that the image knows"
    if given is None:
        return ()
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Collection) or len(given) > _MOST_ITEMS:
        refuse_option(option, f"is {show_value(given)}", hint)
    found = []
    for item in _in_order(given):
        text = str(item) if isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= _LAST_GID else item
        if not isinstance(text, str) or not _GROUP.fullmatch(text) or text == _KEEP_GROUPS:
            refuse_option(option, f"has {show_value(item)}", hint)
        if text.isdecimal():
            text = text.lstrip("0") or "0"
            if len(text) > len(str(_LAST_GID)) or int(text) > _LAST_GID:
                refuse_option(option, f"has {show_value(item)}", f"give gids from 0 to {_LAST_GID}")
        found.append(text)
    return tuple(dict.fromkeys(found))


def check_container_options(given: object, option: str) -> dict[str, Any]:
    """Options by the engine's own names, but for those that the launcher holds; the values as JSON has them."""
    if given is None:
        return {}
    hint = "give the names of the engine's API, such as {'Ulimits': [{'Name': 'nofile', 'Soft': 4096, 'Hard': 4096}]}"
    if not isinstance(given, Mapping) or len(given) > _MOST_ITEMS:
        refuse_option(option, f"is {show_value(given)}", hint)
    for name in given:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            refuse_option(option, f"has the name {show_value(name)}", hint)
        known = _KNOWN.get(name.lower(), name)
        if known in _REMEDIES:
            refuse_option(option, f"has {name}, which the launcher holds", _REMEDIES[known])
        if known != name:  # the engine takes both
            refuse_option(option, f"has {name}", f"write {known}")
    try:
        text = json.dumps(dict(given), allow_nan=False, ensure_ascii=False)
        plain: dict[str, Any] = json.loads(text)
    except (RecursionError, TypeError, ValueError):
        refuse_option(option, "has a value that is none of JSON", hint)
    if not is_text(text) or len(text.encode()) > _MOST_JSON:
        refuse_option(option, "has a text that cannot be encoded, or is too long", f"give at most {_MOST_JSON} bytes")
    return dict(sorted(plain.items()))


def refuse_unsafe(options: Mapping[str, Any], option: str) -> None:
    """Refuse options that open the engine's host, or may do so because their names are not known.

    Raises:
        OptionError: naming the first of them.
    """
    for name, value in options.items():
        if name not in _KNOWN.values():
            near = difflib.get_close_matches(name, _SAFE | _OPENS, n=1)
            hint = f"give {near[0]!r}" if near else "see the engine's API"
            refuse_option(option, f"has {name}, which is not known", f"{hint}, or unsafe=True if the engine knows it")
        if name in _LEAST and (isinstance(value, bool) or not isinstance(value, int)):
            refuse_option(option, f"has {name}: {show_value(value)}", "give a whole number")
        if name in _SAFE_VALUES and not isinstance(value, str):
            refuse_option(option, f"has {name}: {show_value(value)}", "give a text")
        if name not in _SAFE or not _is_safe(name, value):
            shown = name if name not in _SAFE else f"{name}: {show_value(value)}"
            seen = f"has {shown}, which opens the engine's host to the session, or may do so"
            refuse_option(option, seen, "give unsafe=True if that is meant")


def find_unknown(options: Iterable[str]) -> list[str]:
    """The names among the engine's own that are not known here, so that the engine may not know them either."""
    return [name for name in options if name not in _KNOWN.values()]


def _is_safe(name: str, value: object) -> bool:
    if name in _SAFE_VALUES:
        return value in _SAFE_VALUES[name]
    least = _LEAST.get(name)
    return least is None or (isinstance(value, int) and value >= least)

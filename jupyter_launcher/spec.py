"""What a caller asked for, checked and made plain: ``SessionSpec``."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jupyter_launcher import origin
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Mount
from jupyter_launcher.pipeline_dir import PipelineDir

__all__ = ["LABEL_PREFIX", "MIN_LEASE", "PIPELINE_TARGET", "SERVER_PORT", "SessionSpec", "check_name"]

PIPELINE_TARGET = "/pipeline-dir"
SERVER_PORT = 8888
LABEL_PREFIX = "jupyter-launcher."
MIN_LEASE = 3

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,46}[a-z0-9])?")
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
# Settings that the launcher holds: with another value it would look for the server in vain, or
# the token would stand in the argv of a process.
_HELD_ARGUMENT = re.compile(
    r"--(ip|port|port-retries|sock|notebook-dir|gateway-url|GatewayClient\.url"
    r"|(ServerApp|LabApp|IdentityProvider|PasswordIdentityProvider)"
    r"\.(ip|port|port_retries|sock|root_dir|notebook_dir|base_url|token|password|hashed_password))"
)
# What allow_origin sets; given a second time it would replace that, the policy against framing too.
_EMBEDDING_ARGUMENT = re.compile(
    r"--(ServerApp|LabApp)\.(allow_origin|allow_origin_pat|tornado_settings)|--IdentityProvider\.cookie_options"
)
_HELD_ENVIRONMENT = ("JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_RUNTIME_DIR", "JUPYTER_GATEWAY_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """One session as it is to be: every field checked, paths absolute, sizes in bytes.

    ``user`` is ``uid:gid``, or what the caller gave. ``environment`` may hold secrets of the
    caller, so it stays out of the ``repr`` and only its digest goes into a label.
    """

    session_id: str
    namespace: str
    pipeline_dir: Path
    gateway: str | None
    network: str | None
    image: str
    host_ip: str
    host_port: int | None
    base_url: str
    allow_origin: str | None
    user: str
    environment: Mapping[str, str] = field(repr=False)
    mounts: tuple[Mount, ...]
    memory: int | None
    cpus: float | None
    shm_size: int | None
    gpus: int | str | None
    read_only: bool
    tune: bool
    lease: int | None
    labels: Mapping[str, str]
    lab_args: tuple[str, ...]

    @classmethod
    def from_options(
        cls,
        pipeline_dir: str | os.PathLike[str],
        *,
        namespace: str,
        image: str,
        session_id: str | None = None,
        gateway: str | None = None,
        network: str | None = None,
        host_ip: str = "127.0.0.1",
        host_port: int | None = None,
        base_url: str = "/",
        allow_origin: str | None = None,
        user: str | int | None = None,
        environment: Mapping[str, str] | None = None,
        mounts: Iterable[Mount] = (),
        memory: int | str | None = None,
        cpus: float | None = None,
        shm_size: int | str | None = None,
        gpus: int | str | None = None,
        read_only: bool = False,
        tune: bool = True,
        lease: int | None = None,
        labels: Mapping[str, str] | None = None,
        lab_args: Iterable[str] = (),
        located: Callable[[str | os.PathLike[str], str | int | None], PipelineDir] = PipelineDir.from_path,
    ) -> SessionSpec:
        """Check the options of ``Launcher.start``; ``located`` finds the directory on the engine's host.

        Raises:
            OptionError: naming the option and what it may be.
            PipelineDirError: missing, no directory, not readable by the server's user, or a
                directory that must not be mounted.
        """
        folder = located(pipeline_dir, user)
        return cls(
            session_id=check_name(uuid.uuid4().hex[:12] if session_id is None else session_id, "session_id"),
            namespace=check_name(namespace, "namespace"),
            pipeline_dir=folder.path,
            gateway=gateway,
            network=network,
            image=image,
            host_ip=_host_ip(host_ip),
            host_port=_host_port(host_port),
            base_url=_base_url(base_url),
            allow_origin=origin.checked(allow_origin),
            user=folder.user,
            environment=_environment(environment or {}),
            mounts=_mounts(mounts),
            memory=None if memory is None else _bytes(memory, "memory"),
            cpus=_cpus(cpus),
            shm_size=None if shm_size is None else _bytes(shm_size, "shm_size"),
            gpus=_gpus(gpus),
            read_only=read_only,
            tune=tune,
            lease=_lease(lease),
            labels=_labels(labels or {}),
            lab_args=_lab_args(lab_args, embedded=allow_origin is not None),
        )

    def to_options(self) -> dict[str, object]:
        """What makes two starts of the same session id the same, as plain JSON values.

        The values of the environment are replaced by a digest: labels are for all to read.
        """
        pairs = "\0".join(f"{name}={value}" for name, value in sorted(self.environment.items()))
        return {
            "pipeline_dir": str(self.pipeline_dir),
            "gateway": self.gateway,
            "network": self.network,
            "image": self.image,
            "host_ip": self.host_ip,
            "host_port": self.host_port,
            "base_url": self.base_url,
            "allow_origin": self.allow_origin,
            "user": self.user,
            "environment": hashlib.sha256(pairs.encode()).hexdigest()[:16] if pairs else "",
            "mounts": [f"{m.source}:{m.target}:{'ro' if m.read_only else 'rw'}" for m in self.mounts],
            "memory": self.memory,
            "cpus": self.cpus,
            "shm_size": self.shm_size,
            "gpus": self.gpus,
            "read_only": self.read_only,
            "tune": self.tune,
            "lease": self.lease,
            "labels": dict(sorted(self.labels.items())),
            "lab_args": list(self.lab_args),
        }


def check_name(value: object, option: str) -> str:
    """A session id or a namespace: they become part of a container's name.

    Raises:
        OptionError: naming ``option``.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        msg = (
            f"{option} is {value!r}; use 1 to 48 of the characters a-z, 0-9, '-' and '_', "
            "beginning and ending with a letter or a digit"
        )
        raise OptionError(msg, option=option)
    return value


def _host_ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        msg = f"host_ip is {value!r}; give an IP address of the host, '127.0.0.1' for this host alone"
        raise OptionError(msg, option="host_ip") from None


def _host_port(value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536):
        msg = f"host_port is {value!r}; give a number from 1 to 65535, or None for a free one"
        raise OptionError(msg, option="host_port")
    return value


def _base_url(value: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9/_.~@%-]*", value) or "//" in value:
        msg = f"base_url is {value!r}; give a URL path such as '/' or '/pipelines/one/'"
        raise OptionError(msg, option="base_url")
    return "/" + f"{value.strip('/')}/".lstrip("/")


def _environment(given: Mapping[str, str]) -> Mapping[str, str]:
    environment = _strings(given, "environment")
    for name in environment:
        if name in _HELD_ENVIRONMENT:
            msg = f"environment sets {name}, which the launcher itself sets; leave it out"
            raise OptionError(msg, option="environment")
        if not name or "=" in name or "\0" in name + environment[name]:
            msg = f"environment has the name {name!r}; a name is not empty and has no '=', and no NUL is allowed"
            raise OptionError(msg, option="environment")
    return environment


def _labels(given: Mapping[str, str]) -> Mapping[str, str]:
    labels = _strings(given, "labels")
    if any(name.startswith(LABEL_PREFIX) for name in labels):
        msg = f"labels sets one that begins with {LABEL_PREFIX!r}, which are the launcher's own; take another name"
        raise OptionError(msg, option="labels")
    return labels


def _strings(given: Mapping[str, str], option: str) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(item, str) for pair in given.items() for item in pair):
        msg = f"{option} is not a mapping of texts to texts; write numbers as texts too"
        raise OptionError(msg, option=option)
    return dict(given)


def _mounts(given: Iterable[Mount]) -> tuple[Mount, ...]:
    mounts = tuple(given)
    targets = {PIPELINE_TARGET}
    for mount in mounts:
        if not isinstance(mount, Mount) or not PurePosixPath(mount.source).is_absolute():
            msg = f"mounts has {mount!r}; give Mount(source='/absolute/on/the/host', target='/in/the/container')"
            raise OptionError(msg, option="mounts")
        target = os.path.normpath(mount.target)
        if not target.startswith("/") or target == "/" or target in targets:
            msg = f"mounts has the target {mount.target!r}; give an absolute path that nothing else is mounted at"
            raise OptionError(msg, option="mounts")
        targets.add(target)
    return mounts


def _bytes(value: int | str, option: str) -> int:
    """Bytes from 512, '512m', '1.5g': units of 1024, as the docker command reads them."""
    text = str(value).strip().lower().removesuffix("ib").removesuffix("b")
    unit = _UNITS.get(text[-1:], 1)
    try:
        size = int(float(text[:-1] if text[-1:] in _UNITS else text) * unit)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        msg = f"{option} is {value!r}; give a number of bytes, or a text such as '512m' or '2g'"
        raise OptionError(msg, option=option)
    return size


def _cpus(value: float | None) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0.01):
        msg = f"cpus is {value!r}; give a number of cores from 0.01 up, such as 1.5"
        raise OptionError(msg, option="cpus")
    return value


def _gpus(value: int | str | None) -> int | str | None:
    count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if value is not None and value != "all" and not count:
        msg = f"gpus is {value!r}; give 'all' or how many"
        raise OptionError(msg, option="gpus")
    return value


def _lease(value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < MIN_LEASE):
        msg = f"lease is {value!r}; give whole seconds from {MIN_LEASE} up, or None for a session without one"
        raise OptionError(msg, option="lease")
    return value


def _lab_args(given: Iterable[str], *, embedded: bool) -> tuple[str, ...]:
    args = () if isinstance(given, str) else tuple(given)
    if isinstance(given, str) or not all(isinstance(arg, str) and "\0" not in arg for arg in args):
        msg = "lab_args is a sequence of texts, one per argument, such as ['--LabApp.collaborative=True']"
        raise OptionError(msg, option="lab_args")
    for arg in args:
        flag = arg.partition("=")[0]
        if _HELD_ARGUMENT.fullmatch(flag):
            msg = f"lab_args has {flag}, which the launcher itself sets; leave it out"
            raise OptionError(msg, option="lab_args")
        if embedded and _EMBEDDING_ARGUMENT.fullmatch(flag):
            msg = f"lab_args has {flag}, which allow_origin sets; leave one of them out"
            raise OptionError(msg, option="lab_args")
    return args

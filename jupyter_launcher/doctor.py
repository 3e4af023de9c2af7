"""Looks whether a session could be started, from the engine up to a published port, and says how to mend it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from jupyter_launcher import place
from jupyter_launcher.container import HOST_IP, PORT_KEY, isolation
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_image import DEFAULT_IMAGE, image_id
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.gateway import resolve
from jupyter_launcher.host_dir import located
from jupyter_launcher.models import Gateway
from jupyter_launcher.pipeline_dir import PipelineDir
from jupyter_launcher.server import JupyterApi, NotYetError, attempts
from jupyter_launcher.spec import LABEL_PREFIX, PIPELINE_TARGET, SERVER_PORT

__all__ = ["Check", "CheckState", "examine"]

_OLDEST_API = (1, 41)
_DISK_NEEDED, _DISK_WANTED = 0.5, 3.0  # GB: one session's files; a build of the image
_SECONDS = 10.0

# Answers 200 at /api, as a server would; an image without python3 lets the other checks go on.
_SERVE = "mkdir /tmp/answer && cd /tmp/answer && : >api && python3 -m http.server {port} 2>&1 || exec sleep 600"
_WRITE = 'file="$1/.jupyter-launcher-doctor-$$"; : >"$file" && rm -f "$file"'
_ASK = (
    "import sys, urllib.error, urllib.request as request\n"
    "try:\n    print(request.build_opener(request.ProxyHandler({})).open(sys.argv[1], timeout=5).status)\n"
    "except urllib.error.HTTPError as error:\n    print(error.code)\n"
    "except OSError as error:\n    sys.exit(str(error))"
)


class CheckState(str, Enum):
    """How a check ended. The values are what the command prints."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a start needs: what was seen, and what to do where it is not so."""

    name: str
    state: CheckState
    detail: str
    mend: str = ""


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, state=CheckState.OK, detail=detail)


def _warning(name: str, detail: str, mend: str) -> Check:
    return Check(name=name, state=CheckState.WARNING, detail=detail, mend=mend)


def _failed(name: str, detail: str, mend: str) -> Check:
    return Check(name=name, state=CheckState.FAILED, detail=detail, mend=mend)


def _skipped(name: str, why: str) -> Check:
    return Check(name=name, state=CheckState.SKIPPED, detail=why)


def _by_error(name: str, error: LauncherError) -> Check:
    # Every message of ours ends with what to do next.
    detail, _, mend = str(error).rpartition("; ")
    return _failed(name, detail, mend)


def examine(
    connect: Callable[[], Engine],
    *,
    pipeline_dir: str | os.PathLike[str] | None = None,
    gateway: str | None = None,
    network: str | None = None,
    image: str = DEFAULT_IMAGE,
) -> Iterator[Check]:
    """Check after check, in the order in which a start needs them.

    Looks from inside a container are made in one that does nothing, and is removed at the end.
    """
    try:
        engine = connect()
    except LauncherError as error:
        yield _by_error("engine", error)
        yield _skipped("everything else", "without an engine there is nothing to look at")
        return
    with contextlib.closing(engine):
        yield from _of_engine(engine)
        there = image_id(engine, image) is not None
        yield _of_image(image, there=there)
        yield _of_disk(engine)
        folder: PipelineDir | None = None
        if pipeline_dir is not None:
            try:
                folder = located(engine, pipeline_dir, None, image=image)
                yield _ok("pipeline dir", f"{folder.path}, the server will run as {folder.user}")
            except LauncherError as error:
                yield _by_error("pipeline dir", error)
        found: Gateway | None = None
        if gateway is not None:
            try:
                found = resolve(engine, gateway, network)
                yield _ok("gateway", f"{gateway} is {found.url}" + (f" on {found.network}" if found.network else ""))
            except LauncherError as error:
                yield _by_error("gateway", error)
        if there:
            yield from _from_inside(engine, image, folder, found, (found.network if found else None) or network)
        else:
            yield _skipped("from inside a container", "needs the image")


def _of_engine(engine: Engine) -> Iterator[Check]:
    version = engine.version()
    yield _ok("engine", f"{version.name} {version.version} at {engine.endpoint}")
    api = tuple(int(part) for part in version.api_version.split("."))
    if api < _OLDEST_API:
        yield _failed("API version", f"{version.api_version} is too old", "update Docker to 20.10 or newer")
    else:
        yield _ok("API version", version.api_version)


def _of_image(image: str, *, there: bool) -> Check:
    if there:
        return _ok("image", image)
    mend = "`jupyter-launcher build` makes it" if image == DEFAULT_IMAGE else f"`docker pull {image}` fetches it"
    return _warning("image", f"{image} is not on the engine", f"{mend}, or the first start does")


def _of_disk(engine: Engine) -> Check:
    root = engine.data_root()
    try:
        free = shutil.disk_usage(root).free / 1e9
    except OSError:
        return _skipped("free disk", f"{root} is not on this machine, or may not be read")
    detail, mend = f"{free:.1f} GB at {root}", "`docker system df` shows what fills it, `docker system prune` frees it"
    if free < _DISK_NEEDED:
        return _failed("free disk", detail, mend)
    return _warning("free disk", detail, mend) if free < _DISK_WANTED else _ok("free disk", detail)


def _from_inside(
    engine: Engine, image: str, folder: PipelineDir | None, gateway: Gateway | None, network: str | None
) -> Iterator[Check]:
    name = f"jupyter-launcher-doctor.{uuid.uuid4().hex[:12]}"
    try:
        try:
            container = engine.create(_probe(engine, image, folder, network), name)
            engine.start(container)
        except LauncherError as error:
            yield _by_error("container", error)
            return
        if folder is not None:
            yield _of_writing(engine, container, folder)
        if gateway is not None:
            yield _of_reaching(engine, container, gateway)
        yield _of_port(engine, container)
    finally:
        engine.remove(name)


def _probe(engine: Engine, image: str, folder: PipelineDir | None, network: str | None) -> dict[str, Any]:
    host_ip = place.publish_ip(engine, None)
    mounts = [] if folder is None else [{"Type": "bind", "Source": str(folder.path), "Target": PIPELINE_TARGET}]
    return {
        "Image": image,
        "Entrypoint": ["sh", "-c", _SERVE.format(port=SERVER_PORT)],
        "Cmd": [],
        "User": folder.user if folder else "",
        "Labels": {f"{LABEL_PREFIX}doctor": "probe", HOST_IP: host_ip},
        "ExposedPorts": {PORT_KEY: {}},
        "HostConfig": {
            **isolation(),
            "Mounts": mounts,
            "PortBindings": {PORT_KEY: [{"HostIp": host_ip, "HostPort": ""}]},
            "NetworkMode": place.network(engine, network),
        },
    }


def _of_writing(engine: Engine, container: str, folder: PipelineDir) -> Check:
    what = "write to the pipeline dir"
    try:
        result = engine.exec(container, ["sh", "-c", _WRITE, "write", PIPELINE_TARGET], Deadline(_SECONDS))
    except LauncherError as error:
        return _by_error(what, error)
    if result.exit_code == 0:
        return _ok(what, f"user {folder.user} can")
    seen = result.stderr.strip().rpartition(": ")[2] or f"exit code {result.exit_code}"
    mend = f"`chmod u+rwx {folder.path}`, or start with a user that may"
    return _failed(what, f"user {folder.user} can't: {seen}", mend)


def _of_reaching(engine: Engine, container: str, gateway: Gateway) -> Check:
    what, url = "reach the gateway", f"{gateway.url}/api/kernelspecs"
    try:
        result = engine.exec(container, ["python3", "-c", _ASK, url], Deadline(_SECONDS))
    except LauncherError as error:
        return _by_error(what, error)
    status = result.stdout.strip()
    if status == "200":
        return _ok(what, url)
    if status in ("401", "403"):
        mend = "start with JUPYTER_GATEWAY_AUTH_TOKEN in the environment"
        return _warning(what, f"{url} wants a token (HTTP {status})", mend)
    seen = f"HTTP {status}" if status else (result.stderr.strip() or f"exit code {result.exit_code}").splitlines()[-1]
    mend = f"see `docker logs {gateway.name}`, its port, and that both are on one network"
    return _failed(what, f"{url}: {seen}", mend)


def _of_port(engine: Engine, container: str) -> Check:
    what = "published port"
    info = engine.inspect(container)
    if info is None or not info.ports.get(PORT_KEY):
        mend = "take a bridge network that can publish: not `none`, not `host`, not an internal one"
        return _failed(what, "the network publishes none", mend)
    url = place.url(engine, info)
    api = JupyterApi(url)
    for attempt in attempts(Deadline(_SECONDS), NotYetError):
        with attempt:
            if api.is_alive(timeout=2.0):
                return _ok(what, f"{url} answers")
            raise NotYetError
    mend = "a firewall, a VPN or a proxy is between; see `iptables -L DOCKER-USER`, and that this host is the engine's"
    return _failed(what, f"{url} did not answer within {_SECONDS:g} s", mend)

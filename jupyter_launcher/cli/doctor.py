"""Checks whether a session could be started, from the engine to a published port, and says how to fix what fails."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jupyter_launcher.cli import checks
from jupyter_launcher.cli.checks import Check, CheckState
from jupyter_launcher.cli.looks.engine import check_engine
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.images import DEFAULT_IMAGE
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import EngineError, EngineUnavailableError, LauncherError
from jupyter_launcher.gateway.find import resolve_gateway
from jupyter_launcher.gateway.service import resolve_service
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.pipeline_dir import PipelineDir, resolve_pipeline_dir
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.rules import DirectoryRules, parse_roots
from jupyter_launcher.models import Gateway, Swarm
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.ready import TOKEN_HINT
from jupyter_launcher.spec.checks import PIPELINE_TARGET
from jupyter_launcher.spec.container import PORT_KEY, probe_config
from jupyter_launcher.spec.labels import helper_labels, helper_name
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from jupyter_launcher.warm.mount import RefusedError, try_mount

if TYPE_CHECKING:
    from jupyter_launcher.engine.swarm.engine import SwarmEngine

__all__ = ["examine"]

_DISK_NEEDED, _DISK_WANTED = 0.5, 3.0  # GB: one session's files; a build of the image
_SECONDS = 10.0
_DF = re.compile(r"^\S.*\s(\d+)\s+\d+%\s+/$", re.MULTILINE)  # the blocks of 1024 bytes that are free
_WRITE = 'file="$1/.jupyter-launcher-doctor-$$"; : >"$file" && rm -f "$file"'


def examine(
    connect: Callable[[], DockerEngine | SwarmEngine],
    *,
    swarm: Swarm | None = None,
    pipeline_dir: str | os.PathLike[str] | None = None,
    gateway: str | None = None,
    network: str | None = None,
    image: str = DEFAULT_IMAGE,
    user: str | None = None,
    roots: Sequence[Path] | None = None,
    allow_engine_socket: bool = False,
) -> Generator[Check, None, None]:
    """Check after check, in the order in which a start needs them.

    What has to be seen from inside a container is checked in one that does nothing, and is removed at the end,
    also where the caller closes the generator before its end.
    """
    try:
        engine = connect()
    except LauncherError as error:
        yield checks.from_error("engine", error)
        yield checks.skipped("everything else", "without an engine there is nothing to check")
        return
    with contextlib.closing(engine):
        address = EngineAddress(engine)
        yield from check_engine(engine, "" if swarm is None else "a manager of a swarm")
        if swarm is not None:
            from jupyter_launcher.cli.looks.swarm import examine_swarm
            from jupyter_launcher.swarm.address import SwarmAddress

            network = network or swarm.network
            address = SwarmAddress(engine, swarm)
            yield from examine_swarm(cast("SwarmEngine", engine), address, swarm, image=image, network=network)
        found_image = checks.attempt("image", lambda: _check_image(engine, image))
        yield found_image
        folder: PipelineDir | None = None
        if pipeline_dir is not None:
            try:
                rules = DirectoryRules(roots=parse_roots(address, roots), allow_engine_socket=allow_engine_socket)
                folder = resolve_pipeline_dir(engine, address, pipeline_dir, user, image=image, rules=rules)
                yield checks.ok("pipeline dir", f"{folder.path}, the server will run as {folder.user}")
            except LauncherError as error:
                yield checks.from_error("pipeline dir", error)
        found: Gateway | None = None
        if gateway is not None:
            try:
                find = resolve_gateway if swarm is None else resolve_service
                found = find(cast("SwarmEngine", engine), gateway, network)
                yield checks.ok(
                    "gateway", f"{gateway} is {found.url}" + (f" on {found.network}" if found.network else "")
                )
            except LauncherError as error:
                yield checks.from_error("gateway", error)
        if found_image.state is not CheckState.WARNING:  # it is there, or nobody may look
            yield from _check_from_inside(
                engine,
                address,
                image,
                folder,
                found,
                (found.network if found else None) or network,
                publishes=swarm is None or swarm.publish is not None,
            )
        else:
            yield checks.attempt("free disk", lambda: _check_disk_here(engine))
            yield checks.skipped("from inside a container", "needs the image")


def _check_image(engine: Engine, image: str) -> Check:
    if engine.images.find(image) is not None:
        return checks.ok("image", image)
    way = "`jupyter-launcher build` makes it" if image == DEFAULT_IMAGE else f"`docker pull {image}` fetches it"
    return checks.warning("image", f"{image} is not on the engine", f"{way}, or the first start does")


def _check_disk(engine: Engine, container: str) -> Check:
    """The disk of the engine's machine, as a container sees it: its own files are on it."""
    with contextlib.suppress(LauncherError):  # this machine may know it too
        result = engine.exec(container, ["df", "-Pk", "/"], Deadline(_SECONDS))
        if found := _DF.search(result.stdout):
            return _judge_disk(int(found[1]) * 1024, "the engine")
    return _check_disk_here(engine)


def _check_disk_here(engine: Engine) -> Check:
    traits = engine.traits
    if traits.data_root is None or not traits.same_kernel:
        return checks.skipped("free disk", "the engine's disk is not on this machine, or the engine does not tell")
    try:
        free = shutil.disk_usage(traits.data_root).free
    except OSError:
        return checks.skipped("free disk", f"{traits.data_root} is not on this machine, or may not be read")
    return _judge_disk(free, str(traits.data_root))


def _judge_disk(size: int, place: str) -> Check:
    free = size / 1e9
    detail = f"{free:.1f} GB at {place}"
    hint = "`docker system df` shows what uses it, `docker system prune` frees it"
    if free < _DISK_NEEDED:
        return checks.failed("free disk", detail, hint)
    return checks.warning("free disk", detail, hint) if free < _DISK_WANTED else checks.ok("free disk", detail)


def _check_from_inside(
    engine: Engine,
    address: EngineAddress,
    image: str,
    folder: PipelineDir | None,
    gateway: Gateway | None,
    network: str | None,
    *,
    publishes: bool,
) -> Iterator[Check]:
    try:
        host_ip = address.choose_publish_ip(None)
        config = probe_config(
            folder.path if folder else None,
            folder.user if folder else "",
            image=image,
            labels=helper_labels("doctor", process_mark()),
            host_ip=host_ip,
            network=address.choose_network(network),
        )
        if not publishes:
            config = replace(config, container_port=None)
        with engine.temporary(config, helper_name("doctor", uuid.uuid4().hex)) as container:
            node = info.node if address.has_nodes and (info := engine.inspect(container)) else ""

            def named(name: str, check: Callable[[], Check]) -> Check:
                """A check, with the node of a swarm that it was made on."""
                found = checks.attempt(name, check)
                return replace(found, detail=f"on node {node}: {found.detail}") if node else found

            yield named("free disk", lambda: _check_disk(engine, container))
            yield named("log", lambda: _check_log(engine, container))
            if folder is not None:
                yield named("write to the pipeline dir", lambda: _check_writing(engine, container, folder))
            if gateway is not None:
                yield named("reach the gateway", lambda: _check_gateway(engine, container, gateway))
            yield named("published port", lambda: _check_port(engine, address, container, host_ip))
            if address.has_nodes:  # a swarm has no pools, and its nodes' own bridges are nobody's here
                return
            yield checks.attempt("container IPs", lambda: _check_ips(address, config.network))
            yield checks.attempt("pool", lambda: _check_pool(engine, container))  # last: it changes the container
    except LauncherError as error:
        yield checks.from_error("container", error)


def _check_log(engine: Engine, container: str) -> Check:
    driver = f"logging driver {engine.traits.log_driver or 'unknown'}"
    try:
        engine.logs(container, 1)
    except EngineError as error:
        if error.status != 501:
            raise
        hint = "give the engine a logging driver that can be read, such as json-file"
        return checks.warning("log", f"{driver} cannot be read: errors have no end of a server's log", hint)
    return checks.ok("log", f"{driver}, can be read")


def _check_ips(address: EngineAddress, network: str) -> Check:
    if address.reaches_network(network):
        return checks.ok("container IPs", f"reached from here on network {network}")
    detail = f"not reached from here on network {network}: gateways are asked at published ports, or from inside"
    return checks.ok("container IPs", detail)


def _check_pool(engine: Engine, container: str) -> Check:
    """How a pool would give a directory to a server that runs: it is tried."""
    info = engine.inspect(container)
    try:
        if info is None or not info.running:
            return checks.skipped("pool", "the container has ended")
        way = try_mount(engine, engine.images.find(DEFAULT_IMAGE), info)
    except EngineUnavailableError:
        raise
    except (RefusedError, EngineError) as error:
        hint = f"a session of a pool is then started as any other; it needs Linux 5.12 and the image {DEFAULT_IMAGE}"
        return checks.warning("pool", f"no directory can be mounted in a server that runs: {error}", hint)
    return checks.ok("pool", f"a directory is mounted in a server that runs {way}")


def _check_writing(engine: Engine, container: str, folder: PipelineDir) -> Check:
    name = "write to the pipeline dir"
    command = ["sh", "-c", _WRITE, "write", PIPELINE_TARGET]
    result = engine.exec(container, command, Deadline(_SECONDS), check=False)
    if result.exit_code == 0:
        return checks.ok(name, f"user {folder.user} can")
    seen = result.stderr.strip().rpartition(": ")[2] or f"exit code {result.exit_code}"
    return checks.failed(
        name, f"user {folder.user} can't: {seen}", f"`chmod u+rwx {folder.path}`, or start with another user"
    )


def _check_gateway(engine: Engine, container: str, gateway: Gateway) -> Check:
    name, url = "reach the gateway", f"{gateway.url.rstrip('/')}/api/kernelspecs"
    command = ["python3", "-c", read_script("request.py"), "GET", url, "5"]
    # request.py takes the gateway's token from this variable.
    token = HiddenTexts({"KG_AUTH_TOKEN": gateway.token} if gateway.token else {})
    result = engine.exec(container, command, Deadline(_SECONDS), check=False, environment=token)
    status = result.stdout.partition("\n")[0].strip()
    if status == "200":
        return checks.ok(name, url)
    if status in ("401", "403"):
        return checks.warning(name, f"{url} wants a token (HTTP {status})", TOKEN_HINT)
    seen = f"HTTP {status}" if status else (result.stderr.strip() or f"exit code {result.exit_code}").splitlines()[-1]
    hint = f"see `docker logs {gateway.name}`, its port, and that both are on one network"
    return checks.failed(name, f"{url}: {seen}", hint)


def _check_port(engine: Engine, address: EngineAddress, container: str, host_ip: str) -> Check:
    name = "published port"
    info = engine.inspect(container)
    if info is None or not (info.ports.get(PORT_KEY) or (address.has_nodes and address.reaches(info))):
        hint = "use a bridge network that can publish: not `none`, not `host`, not an internal one"
        return checks.failed(name, "the network publishes none", hint)
    url = address.server_url(info, host_ip)
    for attempt in attempts(Deadline(_SECONDS), NotYetError):
        with attempt:
            if JupyterApi(url).is_alive(Deadline(2.0)):
                return checks.ok(name, f"{url} answers")
            raise NotYetError
    hint = "see whether a firewall, a VPN or a proxy blocks the port, for example with `iptables -L DOCKER-USER`"
    return checks.failed(name, f"{url} did not answer within {_SECONDS:g} s", hint)

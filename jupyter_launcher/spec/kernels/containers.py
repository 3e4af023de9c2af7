"""The containers of a gateway's parts, and what the gateway is told of its kernels. Pure functions."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_launcher.engine.types import BindMount, ContainerConfig, Tmpfs
from jupyter_launcher.models import KernelImage, Volume
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.checks import PIPELINE_TARGET, RUN_DIR, check_size
from jupyter_launcher.spec.container import NO_PROXIES, to_mount
from jupyter_launcher.spec.engine_options import check_gpus
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import KERNEL_NAME
from jupyter_launcher.spec.kernels.options import CONNECTION_FILE, KernelOptions
from jupyter_launcher.spec.mounts import to_bind
from jupyter_launcher.spec.server import read_script

__all__ = ["BROKER_DIR", "agent_config", "broker_config", "gateway_environment", "kernel_config"]

BROKER_DIR = "/run/jupyter-launcher-broker"
"""In the broker's container and the gateway's: the volume with the broker's socket ``broker.sock``."""

_ENGINE_SOCKET = "/run/jupyter-launcher-engine.sock"  # in the broker's container
_FILE = "/run/jupyter-launcher-kernel/connection.json"  # in a kernel's; the broker writes it
_FOLDER = "{folder}"  # the word that the broker replaces
_HOME = f"{RUN_DIR}/home"
_HOME_SIZE = 2 * 2**30
_SHM_SIZE = 2**30
_STOP_SECONDS = 10
_BROKER_STOP_SECONDS = 60  # a kernel's removal takes a tenth of a second, and a busy engine its time
_PIECE = 100_000  # bytes; Linux takes 128 KiB for a variable
_LONGEST = 120_000
# The engine would make a working directory that is missing, as root and inside the pipeline: the shell goes there.
_ENTER = 'cd -- "$0" 2>/dev/null; exec "$@"'
_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\})")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def agent_config(
    name: str,
    image: KernelImage,
    found: FoundKernel,
    *,
    pipeline_dir: Path | Volume,
    relabel: str | None,
    user: str,
    gateway: str,
    secret: str,
    labels: Mapping[str, str],
    proxies: HiddenTexts = NO_PROXIES,
) -> ContainerConfig:
    """The container of an environment: an agent as its main process, in the network of its gateway's container.

    Args:
        name: of the kernel in ``kernels=``.
        image: as it was checked.
        found: in it.
        pipeline_dir: as of the gateway.
        relabel: as of the gateway.
        user: as of the gateway, ``uid:gid``.
        gateway: the id of the gateway's container.
        secret: that the gateway says to the agent: whoever is in the same network reaches that socket.
        labels: of an agent.
        proxies: variables that the engine's containers get.
    """
    policy = {
        "address": _agent_address(name, secret),
        "name": name,
        "argv": list(found.argv),
        "env": _spec_environment(image, found),
        "secret": secret,
    }
    return _environment_config(
        image,
        found,
        # Neither the environment nor the working directory is where Python looks for anything of the agent's.
        entrypoint=(found.python, "-I", "-S", "-c", read_script("kernels/agent.py")),
        environment={**proxies.values, **(image.environment or {}), "JUPYTER_LAUNCHER_AGENT": json.dumps(policy)},
        pipeline=to_mount(pipeline_dir, PIPELINE_TARGET, relabel=relabel),
        user=user,
        network=f"container:{gateway}",
        labels={**labels, KERNEL_NAME: name},
    )


def kernel_config(
    name: str,
    image: KernelImage,
    found: FoundKernel,
    *,
    pipeline_dir: Path | Volume,
    relabel: str | None,
    user: str,
    network: str,
    labels: Mapping[str, str],
    proxies: HiddenTexts = NO_PROXIES,
) -> ContainerConfig:
    """The container of each kernel of an image, without what differs from kernel to kernel, which the broker adds.

    Args:
        name: of the kernel in ``kernels=``.
        image: as it was checked.
        found: in it.
        pipeline_dir: as of the gateway.
        relabel: as of the gateway.
        user: as of the gateway, ``uid:gid``.
        network: that the gateway is on too.
        labels: of a kernel.
        proxies: variables that the engine's containers get.
    """
    exports, plain = [], dict[str, str]()
    for variable, value in _spec_environment(image, found).items():
        if "$" not in value:
            plain[variable] = value
        elif _VARIABLE.fullmatch(variable):
            exports.append(f"export {variable}={_expand(value)}; ")
    argv = [word.replace(CONNECTION_FILE, _FILE) for word in found.argv]
    # Most shells drop what is no variable to them.
    given = {**plain, **(image.environment or {})}
    odd = [f"{variable}={value}" for variable, value in given.items() if not _VARIABLE.fullmatch(variable)]
    again = ("env", "--", *odd) if odd else ()
    return _environment_config(
        image,
        found,
        entrypoint=("sh", "-c", "".join(exports) + _ENTER, _FOLDER, *again, *argv),
        environment={
            **proxies.values,
            **plain,
            # The engine's init sends a signal to its child alone; with this, also to what a cell has started.
            "TINI_KILL_PROCESS_GROUP": "1",
            **(image.environment or {}),
        },
        pipeline=to_mount(pipeline_dir, PIPELINE_TARGET, relabel=relabel),
        user=user,
        network=network,
        labels={**labels, KERNEL_NAME: name},
    )


def _environment_config(
    image: KernelImage,
    found: FoundKernel,
    *,
    entrypoint: tuple[str, ...],
    environment: Mapping[str, str],
    pipeline: BindMount,
    user: str,
    network: str,
    labels: Mapping[str, str],
) -> ContainerConfig:
    uid, _, gid = user.partition(":")
    has_home = found.home_is_writable or "HOME" in (image.environment or {})
    home = Tmpfs(target=_HOME, mode="0700", size=_HOME_SIZE, uid=int(uid), gid=int(gid), executable=True)
    memory = check_size(image.memory, "kernels")
    return ContainerConfig(
        image=image.image,
        entrypoint=entrypoint,
        keep_entrypoint=image.entrypoint,
        user=user,
        working_dir=PIPELINE_TARGET,
        environment={**environment} if has_home else {**environment, "HOME": _HOME},
        labels=labels,
        mounts=(pipeline, *(to_bind(item) for item in image.mounts)),
        tmpfs=() if has_home else (home,),
        network=network,
        memory=memory,
        cpus=image.cpus,
        shm_size=check_size(image.shm_size, "kernels"),
        default_shm_size=_SHM_SIZE if memory is None else memory // 2,
        gpus=check_gpus(image.gpus, "kernels"),
        stop_signal="SIGTERM",
        stop_seconds=_STOP_SECONDS,
    )


def _spec_environment(image: KernelImage, found: FoundKernel) -> dict[str, str]:
    """The variables of the image's kernel spec, without those that the caller gave."""
    given = image.environment or {}
    return {name: value for name, value in found.environment.items() if name not in given}


def _expand(text: str) -> str:
    """A value of a kernel spec as a word of the shell: its references as jupyter_client's, the rest as it is.

    What is not set stays as it stands, and ``$$`` is a dollar.
    """
    words, end = [], 0
    for found in _REFERENCE.finditer(text):
        words.append(shlex.quote(text[end : found.start()]) if found.start() > end else "")
        name = found["name"] or found["braced"]
        # `-` without a colon: an empty variable is set. The default is a literal, in which `$` and `}` are quoted.
        words.append("'$'" if found["dollar"] else '"${' + name + "-" + _quote_default(found[0]) + '}"')
        end = found.end()
    return "".join([*words, shlex.quote(text[end:]) if end < len(text) else ""])


def _quote_default(reference: str) -> str:
    return reference.replace("$", r"\$").replace("}", r"\}")


def broker_config(
    image: str,
    kernels: Mapping[str, Mapping[str, Any]],
    *,
    socket: str,
    volume: str,
    max_kernels: int,
    namespace: str,
    gateway_start: str,
    labels: Mapping[str, str],
    user: str,
    host_users: bool,
) -> ContainerConfig:
    """The container of a broker: no network, read-only, no capability; it alone mounts the engine's socket.

    Args:
        image: the gateway's, whose Python runs it.
        kernels: the name of a kernel → the body with which the engine creates its container.
        socket: the engine's, on the engine's host.
        volume: the name of the gateway's anonymous volume for the broker's socket.
        max_kernels: how many kernels may run at once.
        namespace: of the gateway.
        gateway_start: of the gateway.
        labels: of a broker.
        user: of the kernels, ``uid:gid``.
        host_users: the engine remaps users, and the broker is to have those of the host.
    """
    policy = {
        "engine": _ENGINE_SOCKET,
        "socket": _broker_address(),
        "namespace": namespace,
        "gateway_start": gateway_start,
        "max_kernels": max_kernels,
        "user": user,
        "kernels": {name: dict(body) for name, body in kernels.items()},
    }
    return ContainerConfig(
        image=image,
        # Neither the environment nor the working directory is where Python looks for anything.
        entrypoint=("python3", "-I", "-S", "-c", read_script("kernels/broker.py")),
        user="0:0",
        working_dir="/",
        environment={f"JUPYTER_LAUNCHER_BROKER_{n}": piece for n, piece in enumerate(_cut(json.dumps(policy)))},
        labels=labels,
        mounts=(
            BindMount(source=socket, target=_ENGINE_SOCKET),
            BindMount(type="volume", source=volume, target=BROKER_DIR),
        ),
        read_only=True,
        stop_signal="SIGTERM",
        stop_seconds=_BROKER_STOP_SECONDS,
        # The host's root is not who owns a volume of remapped users.
        capabilities=("DAC_OVERRIDE",) if host_users else (),
        engine_options={
            # SELinux keeps containers from the engine's socket.
            "SecurityOpt": ["no-new-privileges", "label=disable"],
            **({"UsernsMode": "host"} if host_users else {}),
        },
    )


def _cut(text: str) -> Iterator[str]:
    """An ASCII text in pieces, each of which fits into a variable."""
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def gateway_environment(
    options: KernelOptions, found: Mapping[str, FoundKernel], secrets: Mapping[str, str]
) -> dict[str, str]:
    """What the gateway is told: a variable ``JUPYTER_LAUNCHER_KERNEL_<n>`` for each kernel, and the limits.

    Args:
        options: as they were checked.
        found: the name of a kernel → what its image has.
        secrets: the name of a kernel → its agent's secret; a broker has none.
    """
    told = {"JUPYTER_LAUNCHER_MAX_KERNELS": str(options.max_kernels)}
    if options.idle is not None:
        told["JUPYTER_LAUNCHER_KERNEL_IDLE"] = str(options.idle)
    for number, name in enumerate(options.images):
        if options.isolation == "kernel":
            reached = {"address": _broker_address()}
        else:
            reached = {"address": f"@{_agent_address(name, secrets[name])}", "secret": secrets[name]}
        told[f"JUPYTER_LAUNCHER_KERNEL_{number}"] = _kernel_text(name, found[name], reached)
    return told


def _kernel_text(name: str, found: FoundKernel, reached: Mapping[str, str]) -> str:
    known = {
        "name": name,
        **reached,
        "argv": list(found.argv),
        "display_name": found.display_name,
        "language": found.language,
        "interrupt_mode": found.interrupt_mode,
        "metadata": dict(found.metadata),
        "encrypts": found.encrypts,
    }
    more = {
        "env": dict(found.environment),
        "logos": {file: base64.b64encode(data).decode() for file, data in found.logos.items()},
    }
    # The pictures go first: without them JupyterLab shows the kernel's first letter.
    for left_out in ((), ("logos",), ("logos", "env")):
        text = json.dumps({**known, **{key: value for key, value in more.items() if key not in left_out}})
        if len(text) <= _LONGEST:
            break
    return text


def _agent_address(name: str, secret: str) -> str:
    """An abstract name of at most 107 bytes that nobody knows before the agent listens.

    What an image runs before its agent is in the same network, and would be given another agent's secret there.
    """
    return f"jupyter-launcher-agent/{name}/{hashlib.sha256(secret.encode()).hexdigest()[:32]}"


def _broker_address() -> str:
    return f"{BROKER_DIR}/broker.sock"

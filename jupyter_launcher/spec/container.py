"""The configurations of all containers of ours: sessions, gateways, and short-lived helpers. Pure functions."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from jupyter_launcher.engine.types import BindMount, ContainerConfig, ContainerInfo, Tmpfs
from jupyter_launcher.models import Gateway, Volume
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.checks import HOME_TARGET, LOOPBACK, PIPELINE_TARGET, SERVER_PORT
from jupyter_launcher.spec.engine_options import find_unknown
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.spec.mounts import MountPoint, to_bind
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.server import RUN_DIR, read_script

__all__ = [
    "DEFAULT_NETWORK",
    "KERNEL_MARK",
    "LOOK_TARGET",
    "NO_PROXIES",
    "PORT_KEY",
    "find_unenforced",
    "gateway_config",
    "late_mount_config",
    "look_config",
    "mount_points_config",
    "probe_config",
    "record_config",
    "session_config",
    "to_mount",
    "volume_config",
]

KERNEL_MARK = "KERNEL_JUPYTER_LAUNCHER"
"""In the environment of each kernel that a session starts on a gateway: the session's start_id."""
DEFAULT_NETWORK = "bridge"
NO_PROXIES = HiddenTexts()
PORT_KEY = f"{SERVER_PORT}/tcp"
# No image has this path, so the engine creates it as what is mounted there, a file or a directory.
LOOK_TARGET = "/jupyter-launcher-look"

# `docker stop` must give the supervisor time to let the server shut its kernels down: one that
# ignores signals costs the server 5 s.
_STOP_SECONDS = 30
# Between the container's start and the exec lies one call to the engine; a busy engine takes its time.
_SERVER_PATIENCE = 60
_MIB = 2**20
_ROUNDED = 0.01  # Podman rounds cpus to a hundred-thousandth of a core
_RUN_SIZE = 16 * _MIB
_GATEWAY_RUN_SIZE = _MIB
_TMP = "/tmp"  # noqa: S108 - in the container
_TMP_SIZE = 2 * 2**30
_SHM_SIZE = 2**30
# Answers 200 at /api, as a server would; in an image without python3 the other checks go on.
_PROBE = "mkdir /tmp/answer && cd /tmp/answer && : >api && python3 -m http.server {port} 2>&1 || exec sleep 600"

_GIVE_AND_LOOK = """
if [ "$(stat -c %u:%g "$1")" = 0:0 ] && names=$(ls -A "$1"); then
  case $names in "" | lost+found) chown "$2" "$1" || exit ;; esac
fi
stat -c '%F %d:%i %u:%g' "$1"
"""
_LOOK_AT_EACH = 'for path; do stat -c %F "$path" 2>/dev/null || echo nothing; done'


def session_config(
    spec: SessionSpec,
    gateway: Gateway | None,
    labels: SessionLabels,
    network: str,
    proxies: HiddenTexts = NO_PROXIES,
) -> ContainerConfig:
    """A session's container: a supervisor as its main process; the server comes by exec."""
    home = {} if spec.home is None else {"HOME": HOME_TARGET}
    return ContainerConfig(
        image=spec.image,
        entrypoint=("sh", "-c", read_script("supervise.sh"), "supervise", RUN_DIR, str(_SERVER_PATIENCE)),
        keep_entrypoint=spec.entrypoint,
        user=spec.user,
        working_dir=PIPELINE_TARGET,
        environment=_environment({**proxies.values, **home, **spec.environment}, gateway, labels.start_id),
        labels={**spec.labels, **labels.to_labels()},
        mounts=(
            to_mount(
                spec.pipeline_dir, PIPELINE_TARGET, read_only=spec.pipeline_read_only, relabel=spec.pipeline_relabel
            ),
            *(to_bind(item) for item in spec.mounts),
            *([] if spec.home is None else [to_mount(spec.home, HOME_TARGET)]),
        ),
        tmpfs=_tmpfs(spec),
        container_port=SERVER_PORT,
        host_ip=spec.host_ip,
        host_port=spec.host_port,
        ports=spec.ports,
        network=network,
        extra_hosts=spec.extra_hosts,
        groups=spec.groups,
        read_only=spec.read_only,
        memory=spec.memory,
        cpus=spec.cpus,
        shm_size=spec.shm_size,
        default_shm_size=_SHM_SIZE if spec.memory is None else spec.memory // 2,
        gpus=spec.gpus,
        stop_signal="SIGTERM",
        stop_seconds=_STOP_SECONDS,
        log_size=spec.log_size,
        engine_options=spec.container_options,
    )


def to_mount(
    place: Path | Volume | str, target: str, *, read_only: bool = False, relabel: str | None = None
) -> BindMount:
    """A directory of the engine's host, or a volume, as it is mounted."""
    is_volume = isinstance(place, Volume)
    return BindMount(
        source=place.name if isinstance(place, Volume) else str(place),
        target=target,
        read_only=read_only,
        relabel=relabel,
        type="volume" if is_volume else "bind",
        no_copy=is_volume,
    )


def _read_place(text: str) -> str | Volume:
    return Volume.from_text(text) or text


def _environment(given: Mapping[str, str], gateway: Gateway | None, start_id: str) -> dict[str, str]:
    if gateway is None:
        return dict(given)
    # Enterprise Gateway refuses kernels for the user name root, and a uid without a name has none. It
    # hands what begins with KERNEL_ on to the kernels, and by that they are found again.
    return {"KERNEL_USERNAME": "jupyter", **given, KERNEL_MARK: start_id}


def _tmpfs(spec: SessionSpec) -> tuple[Tmpfs, ...]:
    sizes = dict(spec.tmpfs)
    if spec.read_only and not any(mount.target == _TMP for mount in spec.mounts):
        sizes.setdefault(_TMP, _TMP_SIZE)
    # Packages with compiled parts are built and loaded there.
    more = (Tmpfs(target=path, mode="1777", size=size, executable=True) for path, size in sizes.items())
    return (_run_dir(spec.user, _RUN_SIZE), *more)


def _run_dir(user: str, size: int) -> Tmpfs:
    uid, _, gid = user.partition(":")
    return Tmpfs(
        target=RUN_DIR,
        size=size,
        # For this user alone; where the image has to look up the user's name, for all.
        mode="0700" if uid.isdecimal() else "1777",
        uid=int(uid) if uid.isdecimal() else None,
        gid=int(gid) if gid.isdecimal() else None,
    )


def find_unenforced(config: ContainerConfig, info: ContainerInfo) -> list[str]:
    """The options of a session that its container does not hold, by the engine's own word. What is not told is held."""
    pairs = {
        "memory": (config.memory, info.memory),
        "cpus": (config.cpus, info.cpus),
        "shm_size": (config.shm_size, info.shm_size),
        "read_only": (config.read_only or None, info.read_only),
    }
    names = {
        "extra_hosts": (config.extra_hosts, info.extra_hosts),
        "groups": (config.groups, info.groups),
        # The engine ignores the names that it does not know.
        "container_options": (find_unknown(config.engine_options), info.option_names),
        # An engine that does not tell of the session's own folder does not tell at all.
        "tmpfs": ([item.target for item in config.tmpfs], info.tmpfs if RUN_DIR in (info.tmpfs or ()) else None),
    }
    return [
        *(
            name
            for name, (asked, found) in pairs.items()
            if asked is not None and found is not None and not math.isclose(asked, found, rel_tol=_ROUNDED)
        ),
        *(name for name, (wanted, told) in names.items() if told is not None and not set(wanted) <= set(told)),
    ]


def gateway_config(
    pipeline_dir: Path | Volume,
    user: str,
    *,
    image: str,
    argv: tuple[str, ...],
    pipeline_dir_id: str | None,
    relabel: str | None,
    labels: Mapping[str, str],
    publish_ip: str | None,
    network: str,
    proxies: HiddenTexts = NO_PROXIES,
) -> ContainerConfig:
    """A gateway of ours: its kernels see the pipeline at the same path as the server.

    Args:
        pipeline_dir: on the engine's host, or a volume.
        user: of the gateway and its kernels.
        image: the gateway's.
        argv: what a container of the image runs by itself.
        pipeline_dir_id: ``<device>:<inode>`` of the directory that was looked at; None: not known.
        relabel: of the directory, for SELinux.
        labels: of a gateway.
        publish_ip: where the port is published for the look from here; servers use the container's IP. None: it is not.
        network: that the container joins.
        proxies: variables that the engine's containers get.
    """
    values = (RUN_DIR, PIPELINE_TARGET, pipeline_dir_id or "")
    return ContainerConfig(
        image=image,
        entrypoint=("sh", "-c", read_script("start_gateway.sh"), "gateway", *values, *argv),
        environment=proxies.values,
        user=user,
        working_dir=PIPELINE_TARGET,
        labels=labels,
        mounts=(to_mount(pipeline_dir, PIPELINE_TARGET, relabel=relabel),),
        tmpfs=(_run_dir(user, _GATEWAY_RUN_SIZE),),
        container_port=None if publish_ip is None else SERVER_PORT,
        host_ip=publish_ip or LOOPBACK,
        network=network,
        default_shm_size=_SHM_SIZE,
    )


def look_config(path: Path, image: str) -> ContainerConfig:
    """A container that prints the type, the identity and the owner of a path on the engine's host."""
    return ContainerConfig(
        image=image,
        entrypoint=("stat", "-c", "%F %d:%i %u:%g", LOOK_TARGET),
        mounts=(BindMount(source=str(path), target=LOOK_TARGET, read_only=True),),
        log_is_read=True,
    )


def volume_config(volume: Volume, owner: str, image: str) -> ContainerConfig:
    """A container that gives a volume to an owner if nobody has used it, and prints what ``look_config`` prints of it.

    Nobody has used one that is root's and holds nothing, or only what a new file system holds.
    """
    return ContainerConfig(
        image=image,
        entrypoint=("sh", "-c", _GIVE_AND_LOOK, "look", LOOK_TARGET, owner),
        user="0:0",
        mounts=(to_mount(volume, LOOK_TARGET),),
        capabilities=("CHOWN",),
        log_is_read=True,
    )


def record_config(
    labels: SessionLabels, image: str, container_id: str, claim: str, more: Mapping[str, str]
) -> ContainerConfig:
    """The record of who has claimed a container of a pool: it holds labels, and is never started.

    Args:
        labels: of the session.
        image: that is there; nothing of it runs.
        container_id: the session's.
        claim: unique to this attempt to claim it.
        more: the caller's own labels for the session.
    """
    return ContainerConfig(
        image=image, entrypoint=("true",), labels={**more, **labels.to_record_labels(container_id, claim)}
    )


def late_mount_config(image: str, container_id: str, source: Path | None, arguments: Sequence[str]) -> ContainerConfig:
    """A container that mounts a directory in another container that runs.

    It has the processes of that container and its network, so that none has to be made, and sees nothing of the
    engine's host but that directory.

    Args:
        image: ours, by its id: what runs in it may enter the other container.
        container_id: of the other container.
        source: the directory on the engine's host; None: it only tries whether it could mount one.
        arguments: of ``late_mount.py``, after the directory.
    """
    shared = f"container:{container_id}"
    words = arguments if source is None else (LOOK_TARGET, *arguments)
    return ContainerConfig(
        image=image,
        # Neither the environment nor the working directory is where Python looks for anything.
        entrypoint=("python3", "-I", "-S", "-c", read_script("late_mount.py"), *words),
        user="0:0",
        working_dir="/",
        mounts=() if source is None else (BindMount(source=str(source), target=LOOK_TARGET),),
        network=shared,
        log_is_read=True,
        # To enter a mount namespace, to look at processes of another user, and to write to that user's own folder.
        capabilities=("SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT", "DAC_OVERRIDE"),
        engine_options={
            "Init": False,
            "PidMode": shared,
            # The engine's own profiles forbid the calls that mount, also to who has the capability.
            "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined"],
        },
    )


def mount_points_config(points: Sequence[MountPoint], user: str, image: str) -> ContainerConfig:
    """A container that prints a line for each mount point: what is at the mount's source, then at each step to it.

    It looks as the session's user, to whom the directories belong.
    """
    mounts: list[BindMount] = []
    lines: list[str] = []
    for number, point in enumerate(points):
        source, outer = f"{LOOK_TARGET}/{number}/source", f"{LOOK_TARGET}/{number}/outer"
        if point.mount.type == "volume":  # a look makes none
            source = "/"
        else:
            mounts.append(to_mount(_read_place(point.mount.source), source, read_only=True))
        mounts.append(to_mount(_read_place(point.outer), outer, read_only=True))
        lines += [source, *(posixpath.join(outer, *point.steps[: end + 1]) for end in range(len(point.steps)))]
    return ContainerConfig(
        image=image,
        entrypoint=("sh", "-c", _LOOK_AT_EACH, "look", *lines),
        user=user,
        mounts=tuple(mounts),
        log_is_read=True,
    )


def probe_config(
    pipeline_dir: Path | Volume | None, user: str, *, image: str, labels: Mapping[str, str], host_ip: str, network: str
) -> ContainerConfig:
    """The probe of the command ``doctor``: a container that answers on the server's port, and sees the pipeline."""
    mounts = () if pipeline_dir is None else (to_mount(pipeline_dir, PIPELINE_TARGET),)
    return ContainerConfig(
        image=image,
        entrypoint=("sh", "-c", _PROBE.format(port=SERVER_PORT)),
        user=user,
        labels=labels,
        mounts=mounts,
        container_port=SERVER_PORT,
        host_ip=host_ip,
        network=network,
    )

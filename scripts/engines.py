"""The engines that other_engine.py can run: what each one is made of, and how it is set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = ["ENGINES", "USER", "Packaged"]

USER = 1001
"""Who runs a rootless engine, and the command beside it."""
MAPPED = 200000
"""Which uid of the machine is 0 in a container of a remapped engine."""

CGROUP = "jupyter-launcher-{name}"

# A device that is a variable alone, for the tests of GPUs by name.
CDI_SETUP = """
mkdir -p /etc/cdi
cat >/etc/cdi/jupyter-launcher.json <<'END'
{"cdiVersion": "0.6.0", "kind": "jupyter-launcher.test/gpu",
 "devices": [{"name": "7", "containerEdits": {"env": ["GPU_SEEN=7"]}}]}
END
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """An engine as a Debian suite has it, and one setting of it.

    ``{name}`` and ``{socket}`` in ``command`` and ``cgroup`` are filled in.

    Attributes:
        suite: of Debian.
        packages: from it; engines with the same ones share ``folder``.
        folder: in which the packages are.
        command: that is the engine.
        environment: more of it, for the engine.
        cgroup: of its containers; empty: it makes none.
        files: to put beside the packages.
        setup: shell lines for root in the engine's folder, before the engine starts.
        network: shell lines for root in the network namespace of the command and the engine.
        user: who runs the command: 0, or somebody whom the engine's containers know.
        rootless: the same user runs the engine.
        proxy: switches of socket_proxy.cfg, which is before the engine then; empty: none is.
    """

    suite: str
    packages: tuple[str, ...]
    folder: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cgroup: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    network: str = ""
    user: int = 0
    rootless: bool = False
    proxy: tuple[str, ...] = ()


DOCKER = ("docker.io", "iptables", "iproute2", "ca-certificates")
PODMAN = ("podman", "crun", "netavark", "aardvark-dns", "catatonit", "nftables", "iptables", "ca-certificates")

# No systemd there to ask for control groups or to write the journal for.
PODMAN_FILES = {
    "etc/containers/containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    '[containers]\nlog_driver = "k8s-file"\n'
}

# On some machines these devices are root's alone, so the engine gets nodes of its own.
ROOTLESS_SETUP = f"""
id -u engine >/dev/null 2>&1 || useradd --create-home --uid {USER} --shell /bin/sh engine
mknod -m 666 /run/tun c 10 200
mount --bind /run/tun /dev/net/tun
mknod -m 666 /run/fuse c 10 229
mount --bind /run/fuse /dev/fuse
mkdir -p /run/user/{USER}
chown {USER}:{USER} /run/user/{USER}
mount --make-rshared /
"""

# What is sent there is lost without an answer, as with most default routes.
NOWHERE = """
ip link add nowhere type veth peer name nowhere-end
ip link set nowhere up
ip link set nowhere-end up
ip address add 192.0.2.2/24 dev nowhere
ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev nowhere nud permanent
ip route add default via 192.0.2.1
"""


def _docker(version: int, suite: str) -> Packaged:
    return Packaged(
        suite=suite,
        packages=DOCKER,
        folder=f"docker-{version}",
        command=("dockerd", "--host", "unix://{socket}", "--cgroup-parent", f"/{CGROUP}"),
        cgroup=CGROUP,
    )


def _docker_28(*arguments: str, **more: object) -> Packaged:
    """Docker 28 with some settings, and data of its own."""
    plain = _docker(28, "sid")
    return replace(plain, command=(*plain.command, "--data-root", "/var/lib/{name}", *arguments), **more)  # type: ignore[arg-type]


def _docker_28_rootless(**more: object) -> Packaged:
    engine = Packaged(
        suite="sid",
        packages=(*DOCKER, "rootlesskit", "slirp4netns", "uidmap"),
        folder="docker-28-rootless",
        command=(
            *("/usr/share/docker.io/contrib/dockerd-rootless.sh", "--host", "unix://{socket}"),
            *("--data-root", "/home/engine/{name}"),
        ),
        setup=ROOTLESS_SETUP,
        user=USER,
        rootless=True,
    )
    return replace(engine, **more)  # type: ignore[arg-type]


def _podman_5(**more: object) -> Packaged:
    engine = Packaged(
        suite="trixie",
        packages=PODMAN,
        folder="podman-5",
        command=("podman", "system", "service", "--time=0", "unix://{socket}"),
        cgroup="libpod_parent",
        files=PODMAN_FILES,
    )
    return replace(engine, **more)  # type: ignore[arg-type]


ENGINES = {
    "docker-20": _docker(20, "bookworm"),
    "docker-26": _docker(26, "trixie"),
    "docker-28": _docker_28("--feature", "cdi=true", setup=CDI_SETUP),
    "docker-28-rootless": _docker_28_rootless(),
    "docker-28-desktop": _docker_28_rootless(network=NOWHERE),
    "docker-28-remap": _docker_28(
        *("--userns-remap", "default", "--group", str(MAPPED + USER)),
        setup="id -u dockremap >/dev/null 2>&1 || useradd --system dockremap\n",
        files={f"etc/{name}": f"dockremap:{MAPPED}:65536\n" for name in ("subuid", "subgid")},
        user=MAPPED + USER,
    ),
    "docker-28-nolog": _docker_28("--log-driver", "none"),
    "docker-28-containerd": _docker_28("--feature", "containerd-snapshotter=true"),
    "docker-28-live": _docker_28("--live-restore"),
    "docker-28-api144": _docker_28(environment={"DOCKER_MIN_API_VERSION": "1.44"}),
    # INFO is off, as tecnativa's proxy has it; so is all that the library has no need of.
    "docker-28-proxied": _docker_28(proxy=("PING", "VERSION", "CONTAINERS", "EXEC", "IMAGES", "NETWORKS", "POST")),
    "podman-5": _podman_5(),
    "podman-5-rootless": _podman_5(
        packages=(*PODMAN, "passt", "slirp4netns", "uidmap"),
        folder="podman-5-rootless",
        cgroup="",
        setup=ROOTLESS_SETUP,
        user=USER,
        rootless=True,
    ),
}

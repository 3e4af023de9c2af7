"""Three nodes of a Docker swarm on this machine, and a command beside them. Needs root.

    swarm_nodes.py [--engine ENGINE] [--name NAME] COMMAND...   e.g. swarm_nodes.py docker node ls
    swarm_nodes.py --node N ACTION                              within such a command, of node N:
        cable-out, cable-in         its network cable
        down, up                    its power is cut; it is on again, and its engine starts
        kill-engine, engine         SIGKILL to its dockerd; dockerd starts
        x COMMAND...                run a command in it, as a shell on it would

ENGINE is ``machine`` (this machine's own dockerd; the default) or a Docker of engines.py, such as ``docker-28``.
NAME makes a run of its own: runs of one name and engine wait for each other, others go on side by side.

Nodes are node1 (a manager), node2 and node3 at 10.77.0.1 to 3; the command is at 10.77.0.254, and has the manager in
DOCKER_HOST, with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, and in SWARM_NODES a folder with, for each node,
``nodeN/docker.sock``, ``nodeN/srv`` (its /srv) and ``nodeN/log``. Each has our images, and no other network. A registry
of this network, such as one that the command starts, needs no TLS.

A node is a set of namespaces with a root file system of its own: /srv, /run, /tmp and the engine's data are no other
node's. All of it lives in one outer set of namespaces, so whatever happens to this script, the kernel ends it all: no
process, mount, link or rule of the firewall stays. The data of the engines stay as a cache, without swarm, containers,
networks and volumes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import other_engine
from docker.errors import DockerException, ImageNotFound
from engines import ENGINES
from other_engine import CHECKOUT, IMAGES, OWN, locked, remove_cgroups

__all__ = ["Node", "main", "nodes"]

CACHE = Path(os.environ.get("SWARM_DIR", "/var/cache/jupyter-launcher/swarm"))
RUN = Path("/run/jupyter-launcher-swarm")
COUNT = 3
NETWORK = "10.77.0.0/24"
SECONDS = 60.0
FOLDER = "SWARM_NODES"
"""The variable in which the command has the folder of its nodes."""
# Others than the nodes are not reached, so a proxy of this machine is none of theirs.
NOT_THEIRS = ("DOCKER_CONTEXT", *(f"{kind}_proxy" for kind in ("http", "https", "all", "no")))

# $1: the folder that becomes the root, $2: the hostname, $3: the folder of the node, $4: of the engine's data,
# $5: of the certificates; the rest: folders of this machine that are seen at their places.
# The shell's own root is this machine's, so nothing mounted here is seen outside the node.
BOOT = """
set -e
root=$1 folder=$3 data=$4 certificates=$5
hostname "$2"
shift 5
mkdir -p "$folder/root"
mount --bind "$root" "$folder/root"
cd "$folder/root"
mkdir -p srv var/lib/docker
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
! mountpoint -q sys/fs/cgroup/unified || umount sys/fs/cgroup/unified
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$folder/srv" srv
mount --bind "$data" var/lib/docker
for seen in "$folder" "$certificates" "$@"; do
  mkdir -p ".$seen"
  mount --bind "$seen" ".$seen"
done
pivot_root . .
umount -l .
touch "$folder/on"
exec docker-init -- sleep infinity
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One node: what can happen to it. Each method returns when it has happened."""

    number: int
    run: Path
    """The folder of all nodes of this run."""

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def folder(self) -> Path:
        return self.run / self.name

    @property
    def srv(self) -> Path:
        """Its /srv."""
        return self.folder / "srv"

    @property
    def url(self) -> str:
        """Of its engine, past all cables."""
        return f"unix://{self.folder}/docker.sock"

    @property
    def _link(self) -> str:
        return f"hsw{self.number}"

    def client(self) -> docker.DockerClient:
        """Docker's own client of its engine; to be closed."""
        return docker.DockerClient(base_url=self.url, timeout=300)

    @property
    def is_on(self) -> bool:
        return (self.folder / "on").exists()

    @property
    def answers(self) -> bool:
        """Whether its engine does."""
        with contextlib.suppress(DockerException):
            self.client().close()
            return True
        return False

    def on(self) -> None:
        """Give it power; its engine does not start yet."""
        given = json.loads((self.run / "run.json").read_text())
        for folder in (self.srv, Path(given["data"]) / self.name):
            folder.mkdir(parents=True, exist_ok=True)
        boot = [given["root"], self.name, str(self.folder), f"{given['data']}/{self.name}", str(self.run / "tls")]
        boot += [str(CHECKOUT), sys.prefix]
        line = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        # The shell becomes unshare, which is in all namespaces of the node but that of its processes.
        noted = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(self._pid_file), *line]
        background([*noted, "sh", "-c", BOOT, "boot", *boot], self.folder / "log")
        eventually(lambda: self.is_on, f"{self.name} does not start", self.folder / "log")
        pid = self._pid_file.read_text().strip()
        call("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", pid)
        call("ip", "link", "set", self._link, "master", "br0", "up")
        inside = f"""ip link set lo up; ip address add {self.address}/24 dev eth0; ip link set eth0 up
        ip route add default via 10.77.0.254"""
        call(*self.in_network("sh", "-ec", inside))

    def engine(self) -> None:
        """Start its dockerd, and wait until that answers."""
        given = json.loads((self.run / "run.json").read_text())
        # Of one that was killed: a file may name a process that is no engine.
        self.x("rm", "-f", "/run/docker.pid", "/run/docker/containerd/containerd.pid")
        tls = self.run / "tls"
        certificate = ("--tlscert", f"{tls}/{self.name}.pem", "--tlskey", f"{tls}/{self.name}-key.pem")
        line = ["dockerd", "--host", self.url, "--host", f"tcp://{self.address}:2376"]
        line += ["--tlsverify", "--tlscacert", f"{tls}/ca.pem", *certificate]
        line += ["--pidfile", "/run/docker.pid", "--exec-root", "/run/docker"]
        line += ["--insecure-registry", NETWORK]
        line += ["--cgroup-parent", f"/{given['cgroup']}/{self.name}"]
        background(self._enter(*line), self.folder / "log")
        eventually(lambda: self.answers, f"the engine of {self.name} does not answer", self.folder / "log")

    def kill_engine(self) -> None:
        """SIGKILL to its dockerd. Containers go on."""
        self.x(
            "sh",
            "-c",
            'pid=$(cat /run/docker.pid); kill -KILL "$pid"; while kill -0 "$pid"; do sleep 0.05; done 2>/dev/null',
        )

    def down(self) -> None:
        """Cut its power."""
        (self.folder / "on").unlink()
        os.kill(int(self._pid_file.read_text()), 9)
        gone = ["ip", "link", "show", self._link]
        eventually(lambda: subprocess.run(gone, capture_output=True, check=False).returncode != 0, "it stays up")

    def up(self) -> None:
        """Give it power again, and its engine starts."""
        self.on()
        self.engine()

    def cable_out(self) -> None:
        """Pull its network cable."""
        call("ip", "link", "set", self._link, "down")

    def cable_in(self) -> None:
        """Plug it in again."""
        call("ip", "link", "set", self._link, "up")

    def x(self, *command: str) -> str:
        """Run a command in it; gives what it printed."""
        return subprocess.run(self._enter(*command), check=True, stdout=subprocess.PIPE, text=True).stdout

    def in_network(self, *command: str) -> list[str]:
        """The command line for a program of this machine in the node's network alone."""
        return ["nsenter", "--target", self._pid_file.read_text().strip(), "--net", *command]

    @property
    def _pid_file(self) -> Path:
        return self.folder / "pid"

    def _enter(self, *command: str) -> list[str]:
        pid = self._pid_file.read_text().strip()
        line = ["nsenter", "--target", pid, "--mount", "--uts", "--ipc", "--net"]
        line += [f"--pid=/proc/{pid}/ns/pid_for_children"]
        # Not this machine's proxies: a pull is to fail at once where nothing answers.
        return [*line, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", *command]


def nodes() -> list[Node]:
    """The nodes beside which this process runs."""
    return [Node(number, Path(os.environ[FOLDER])) for number in range(1, COUNT + 1)]


def run(name: str, engine: str, command: list[str]) -> int:
    """Run a command beside the nodes; gives its exit code."""
    own = f"{name}-{engine}"
    cgroup = f"jupyter-launcher-swarm-{own}"
    other_engine.CACHE.mkdir(parents=True, exist_ok=True)
    with locked(f"swarm-{own}"):
        if engine != "machine":
            with locked(f"{ENGINES[engine].folder}.make"):
                other_engine.make(ENGINES[engine])
        remove_cgroups(cgroup)
        # The shell is the first process of the namespace, so it also waits for what others leave.
        inside = [
            "sh",
            "-c",
            '"$@"; exit $?',
            "sh",
            sys.executable,
            __file__,
            "--inside",
            own,
            "--engine",
            engine,
            *command,
        ]
        line = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        try:
            return subprocess.run([*line, "--mount-proc", *inside], check=False).returncode
        finally:
            remove_cgroups(cgroup)
            shutil.rmtree(RUN / own, ignore_errors=True)


def inside(own: str, engine: str, command: list[str]) -> int:
    """Within the outer namespaces: make the nodes and the swarm, and run the command."""
    folder = RUN / own
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tls").mkdir(parents=True)
    root = "/" if engine == "machine" else str(other_engine.CACHE / ENGINES[engine].folder)
    given = {"root": root, "data": str(CACHE / own), "cgroup": f"jupyter-launcher-swarm-{own}"}
    (folder / "run.json").write_text(json.dumps(given))
    os.environ[FOLDER] = str(folder)
    call(
        "sh",
        "-ec",
        "ip link set lo up; ip link add br0 type bridge; ip address add 10.77.0.254/24 dev br0; ip link set br0 up",
    )
    make_certificates(folder / "tls", nodes())
    for node in nodes():
        forget(Path(given["data"]) / node.name)
        node.on()
    with ThreadPoolExecutor() as pool:
        list(pool.map(Node.engine, nodes()))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(node.client())) for node in nodes()]
        for client in clients:
            empty(client)
        load(Path(given["data"]), clients)
        join(clients)
    environment = {key: value for key, value in os.environ.items() if key.lower() not in map(str.lower, NOT_THEIRS)}
    manager = nodes()[0]
    environment |= {"DOCKER_HOST": f"tcp://{manager.address}:2376", "DOCKER_TLS_VERIFY": "1"}
    environment |= {"DOCKER_CERT_PATH": str(folder / "tls")}
    return subprocess.run(command, check=False, env=environment).returncode


def make_certificates(folder: Path, nodes: list[Node]) -> None:
    """An authority, a certificate of each node's engine, and one of their clients, by the names that Docker wants."""
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    by_authority = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-addext", "basicConstraints=CA:FALSE"]
    authority = ["-keyout", "ca-key.pem", "-out", "ca.pem"]
    call(*new, "-subj", "/CN=swarm nodes", "-addext", "keyUsage=critical,keyCertSign", *authority, cwd=folder)
    of_nodes = [(node.name, f"{node.name}-", ("serverAuth", f"IP:{node.address}")) for node in nodes]
    for name, key, (usage, subject) in (*of_nodes, ("cert", "", ("clientAuth", "DNS:client"))):
        extensions = ["-addext", f"subjectAltName={subject}", "-addext", f"extendedKeyUsage={usage}"]
        files = ["-keyout", f"{key}key.pem", "-out", f"{name}.pem"]
        call(*new, "-subj", f"/CN={name}", *by_authority, *extensions, *files, cwd=folder)


def forget(data: Path) -> None:
    """Remove what an engine's data hold of a former swarm and its networks."""
    for path in (data / "swarm", data / "network"):
        shutil.rmtree(path, ignore_errors=True)


def empty(client: docker.DockerClient) -> None:
    """Remove what the former run left in an engine, but for images."""
    for container in client.containers.list(all=True):
        container.remove(force=True)
    for volume in client.volumes.list():
        volume.remove()


def load(data: Path, clients: list[docker.DockerClient]) -> None:
    """Load our images into each engine that has others, or none."""
    with contextlib.closing(docker.DockerClient(base_url=OWN)) as own:
        wanted = {image: own.images.get(image).id for image in IMAGES}

    def has(client: docker.DockerClient) -> bool:
        with contextlib.suppress(ImageNotFound):
            return all(client.images.get(image).id == id_ for image, id_ in wanted.items())
        return False

    without = [client for client in clients if not has(client)]
    if not without:
        return
    say("loading our images")
    file = data / "images.tar"
    call("docker", "-H", OWN, "save", "--output", str(file), *IMAGES)

    def fill(client: docker.DockerClient) -> None:
        with file.open("rb") as archive:
            client.images.load(archive)
        client.images.prune()  # those of former runs

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, without))
    file.unlink()


def join(clients: list[docker.DockerClient]) -> None:
    """Make a swarm of the engines, the first its manager, and wait until all nodes are ready."""
    first, *others = nodes()
    manager = clients[0]
    manager.swarm.init(advertise_addr=first.address, listen_addr=f"{first.address}:2377")
    token = manager.swarm.attrs["JoinTokens"]["Worker"]
    for node, client in zip(others, clients[1:], strict=True):
        listen: dict[str, Any] = {"advertise_addr": node.address, "listen_addr": f"{node.address}:2377"}
        client.swarm.join(remote_addrs=[f"{first.address}:2377"], join_token=token, **listen)

    def ready() -> bool:
        found = [node.attrs["Status"]["State"] for node in manager.nodes.list()]
        return found == ["ready"] * COUNT

    eventually(ready, "not all nodes are ready")


def background(line: list[str], log: Path) -> None:
    """Start something that nobody waits for; it ends with the namespaces."""
    with log.open("ab") as file:
        subprocess.run(["setsid", "--fork", *line], check=True, stdin=subprocess.DEVNULL, stdout=file, stderr=file)


def call(*line: str, cwd: Path | None = None) -> None:
    """Run a command that has to work."""
    done = subprocess.run(line, check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        sys.exit(f"swarm nodes: {' '.join(line)} ended with {done.returncode}: {done.stderr}")


def eventually(what: Callable[[], bool], message: str, log: Path | None = None) -> None:
    """Wait until something becomes true."""
    deadline = time.monotonic() + SECONDS
    while not what():
        if time.monotonic() > deadline:
            sys.exit(f"swarm nodes: {message}" + (f"; {log} ends:\n{log.read_text()[-3000:]}" if log else ""))
        time.sleep(0.05)


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"swarm nodes: {text}", file=sys.stderr, flush=True)


ACTIONS: dict[str, Callable[[Node], None]] = {
    "cable-out": Node.cable_out,
    "cable-in": Node.cable_in,
    "down": Node.down,
    "up": Node.up,
    "kill-engine": Node.kill_engine,
    "engine": Node.engine,
}


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--engine", default="machine", choices=("machine", *ENGINES))
    parser.add_argument("--name", default="default")
    parser.add_argument("--inside")
    parser.add_argument("--node", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if not given.command:
        parser.error("no command")
    if given.inside:
        return inside(given.inside, given.engine, given.command)
    if given.node is None:
        return run(given.name, given.engine, given.command)
    node = Node(given.node, Path(os.environ[FOLDER]))
    action, *rest = given.command
    if action == "x":
        print(node.x(*rest), end="")
    else:
        ACTIONS[action](node)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

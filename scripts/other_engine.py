"""Run a command on another engine than the machine's own: of another version, or Podman.

    other_engine.py NAME COMMAND...      e.g. docker-28 docker version

The engine comes from Debian packages in a folder of its own, which stays as a cache together with the
images that were loaded. It runs, and the command beside it, in namespaces of their own: mounts,
processes, network. Whatever happens to this script, the kernel ends all of it with them: no process,
no mount, no bridge and no rule of the firewall stays. The command sees the machine's files, and has
the engine in DOCKER_HOST; the engine sees /tmp, this checkout and Python's packages at their places.
Neither reaches any other network. Beside a rootless engine, the command runs as the engine's own user, and
beside a remapped one as a user whom its containers know; it has a home of its own then.

Needs root, Debian, and a Docker engine to take the images from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from base_image import mirror
from docker.errors import DockerException, ImageNotFound
from engines import ENGINES, USER, Packaged

from jupyter_launcher import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE

__all__ = ["MORE_IMAGES", "run"]

CACHE = Path(os.environ.get("ENGINES_DIR", "/var/cache/jupyter-launcher/engines"))
RUN = Path("/run/jupyter-launcher-engines")
IMAGES = (DEFAULT_IMAGE, DEFAULT_GATEWAY_IMAGE)
OWN = "unix:///var/run/docker.sock"
CGROUPS = Path("/sys/fs/cgroup")
SECONDS = 60.0
BEHIND_PROXY = "ENGINE_BEHIND_PROXY"
"""The variable in which the tests have the engine itself, where DOCKER_HOST is a proxy before it."""
MORE_IMAGES = "MORE_IMAGES"
"""The variable with more images that the engine gets, separated by spaces."""
PLAIN = str.maketrans("/:", "--")
CHECKOUT = Path(__file__).resolve().parent.parent

# $1: the folder that becomes the root, $2: where the socket will be, $3: this checkout, $4: Python's packages,
# $5: lines to run then; the rest: the engine's command.
# pivot_root, and not chroot: containerd looks its data up among the mounts. A /sys of its own shows
# the bridges of its own network. crun takes the old control groups or the new ones, never both.
ENTER = """
set -e
root=$1 run=$2 checkout=$3 packages=$4 setup=$5
shift 5
mount --bind "$root" "$root"
cd "$root"
mount --rbind /proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
! mountpoint -q sys/fs/cgroup/unified || umount sys/fs/cgroup/unified
mount --rbind /tmp tmp
for seen in "$checkout" "$packages"; do
  mkdir -p ".$seen"
  mount --bind "$seen" ".$seen"
done
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p ".$run"
mount --bind "$run" ".$run"
pivot_root . .
umount -l .
eval "$setup"
exec "$@"
"""

# What the command mounts below /tmp, the engine sees too.
SHARE_TMP = """
mount --bind /tmp /tmp
mount --make-shared /tmp
"""

# $1: a folder that others may not go through, $2: one inside it that they need, $3: where that is kept meanwhile.
UNCOVER = """
set -e
mkdir -p "$3"
mount --bind "$2" "$3"
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir -p "$2"
mount --move "$3" "$2"
"""


def run(name: str, command: list[str]) -> int:
    """Run ``command`` with DOCKER_HOST set to the engine of this name; gives its exit code."""
    engine = ENGINES[name]
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(name):
        with locked(f"{engine.folder}.make"):
            make(engine)
        # The shell is the first process of the namespace, so it also waits for what others leave.
        inside = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, __file__, "--inside", name, *command]
        line = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", *inside]
        try:
            return subprocess.run(line, check=False).returncode
        finally:
            if engine.cgroup:
                remove_cgroups(engine.cgroup.format(name=name))


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One at a time of each name."""
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(engine: Packaged) -> None:
    """The folder with the packages, unless there is one already."""
    folder = CACHE / engine.folder
    if not folder.exists():
        subprocess.run(["scripts/apt-install.sh", "mmdebstrap", "iproute2"], check=True)
        say(f"making {folder} from {engine.suite}")
        packages = f"--include={','.join(engine.packages)}"
        # A mirror that is behind still gives what it signed; sid's signature says that it is old.
        late = '--aptopt=Acquire::Check-Valid-Until "false"'
        line = ["mmdebstrap", "--quiet", "--variant=minbase", late, packages, engine.suite]
        part = folder.with_suffix(".part")
        subprocess.run(["rm", "-rf", "--one-file-system", str(part)], check=True)
        subprocess.run([*line, str(part), mirror()], check=True)
        part.rename(folder)
    if engine.proxy:
        subprocess.run(["scripts/apt-install.sh", "haproxy"], check=True)
    for path, text in engine.files.items():
        (folder / path).write_text(text)


def remove_cgroups(name: str) -> None:
    """Those of containers that were killed with the namespace: empty, so this takes nothing alive."""
    for top in (*CGROUPS.glob(f"*/{name}"), CGROUPS / name):
        for folder in (*sorted(top.rglob("*/"), reverse=True), top):
            with contextlib.suppress(OSError):
                folder.rmdir()


def inside(name: str, command: list[str]) -> int:
    """Within the namespaces: start the engine, fill it, run the command, end the engine."""
    engine = ENGINES[name]
    subprocess.run(["sh", "-ec", f"ip link set lo up\n{SHARE_TMP}\n{engine.network}"], check=True)
    socket = RUN / name / "engine.sock"
    socket.parent.mkdir(parents=True, exist_ok=True)
    os.chown(socket.parent, engine.user, engine.user)
    with started(name, socket) as client:
        for container in client.containers.list(all=True):  # of the last run, which ended with its namespaces
            container.remove(force=True)
        for image in (*IMAGES, *os.environ.get(MORE_IMAGES, "").split()):
            load(image, client, f"unix://{socket}", CACHE / f"{name}.{image.translate(PLAIN)}.loaded")
        environment = {key: value for key, value in os.environ.items() if key != "DOCKER_CONTEXT"}
        environment |= {"DOCKER_HOST": f"unix://{socket}"}
        if engine.proxy:
            environment |= {"DOCKER_HOST": proxied(socket, engine.proxy), BEHIND_PROXY: f"unix://{socket}"}
        if engine.user:
            uncover(Path(sys.base_prefix))
            home = socket.with_name("home")
            home.mkdir(exist_ok=True)
            os.chown(home, engine.user, engine.user)
            environment |= {"HOME": str(home), "USER": f"engine-{engine.user}", "PYTHONDONTWRITEBYTECODE": "1"}
            command = [*become(engine.user), *command]
        return subprocess.run(command, check=False, env=environment).returncode


def proxied(engine: Path, switches: tuple[str, ...]) -> str:
    """Start a socket proxy before the engine; gives its address. It ends with the namespaces."""
    listen = engine.with_name("proxy.sock")
    listen.unlink(missing_ok=True)
    given = {"PATH": os.environ["PATH"], "LISTEN": str(listen), "ENGINE": str(engine), **dict.fromkeys(switches, "1")}
    with engine.with_name("proxy.log").open("wb") as log:
        line = ["haproxy", "-db", "-f", str(CHECKOUT / "scripts/socket_proxy.cfg")]
        process = subprocess.Popen(line, stdout=log, stderr=log, env=given, start_new_session=True)
    answering(process, listen, Path(log.name)).close()
    return f"unix://{listen}"


def become(user: int) -> tuple[str, ...]:
    """What runs a command as this user, who has no rights beside its own."""
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups") if user else ()


def uncover(needed: Path) -> None:
    """Let others into a folder that lies in one that is root's alone, as root's home is."""
    closed = next((folder for folder in reversed(needed.parents) if not folder.stat().st_mode & 1), None)
    if closed is not None:
        line = ["sh", "-c", UNCOVER, "uncover", str(closed), str(needed), str(RUN / "python")]
        subprocess.run(line, check=True)


@contextlib.contextmanager
def started(name: str, socket: Path) -> Iterator[docker.DockerClient]:
    """The engine, from when it answers to its end."""
    engine = ENGINES[name]
    command = [part.format(name=name, socket=socket) for part in engine.command]
    line = [
        "unshare",
        "--mount",
        "--propagation=unchanged",
        "sh",
        "-c",
        ENTER,
        "enter",
        str(CACHE / engine.folder),
        str(socket.parent),
        str(CHECKOUT),
        sys.prefix,
        engine.setup,
        *become(USER if engine.rootless else 0),
        *command,
    ]
    socket.unlink(missing_ok=True)
    path = socket.with_name("log")
    # Not this machine's proxies: a pull is to fail at once where nothing answers.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TMPDIR": "/var/tmp"}  # noqa: S108 - its own
    if engine.rootless:
        environment |= {"HOME": "/home/engine", "XDG_RUNTIME_DIR": f"/run/user/{USER}"}
    environment |= engine.environment
    # A session of its own: Ctrl-C is for the command, which then still needs its engine.
    with path.open("wb") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        client = answering(process, socket, path)
        yield client
        client.close()
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # Podman waits for whoever still listens to its events
            process.kill()


def answering(process: subprocess.Popen[bytes], socket: Path, log: Path) -> docker.DockerClient:
    """A client, once the engine answers."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(DockerException):
            return docker.DockerClient(base_url=f"unix://{socket}", timeout=300)
        time.sleep(0.1)
    sys.exit(f"other engine: it does not answer; {log} ends:\n{log.read_text()[-3000:]}")


def load(image: str, client: docker.DockerClient, url: str, stamp: Path) -> None:
    """An image of the machine's own engine, unless it is there already.

    The stamp has the id that it has there: an engine with another store of images gives it an id of its own.
    """
    with contextlib.closing(docker.DockerClient(base_url=OWN)) as own:
        wanted = str(own.images.get(image).id)
    with contextlib.suppress(ImageNotFound):
        client.images.get(image)
        if stamp.exists() and stamp.read_text() == wanted:
            return
    say(f"loading {image}")
    with (
        subprocess.Popen(["docker", "-H", OWN, "save", image], stdout=subprocess.PIPE) as saved,
        subprocess.Popen(["docker", "-H", url, "load", "-q"], stdin=saved.stdout) as loaded,
    ):
        pass
    if saved.returncode or loaded.returncode:
        sys.exit(f"other engine: {image} could not be loaded")
    stamp.write_text(wanted)


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"other engine: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main = inside if arguments[:1] == ["--inside"] else run
    known, *line = arguments[1:] if main is inside else arguments
    if known not in ENGINES or not line:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(ENGINES)} COMMAND...")
    sys.exit(main(known, line))

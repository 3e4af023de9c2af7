"""Which directories are refused, whose uid 0 is, and the ways to an engine's socket: on the real file system."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Launcher, Mount, OptionError, PipelineDirError
from jupyter_launcher.cli.checks import CheckState
from jupyter_launcher.cli.doctor import examine
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.host.pipeline_dir import resolve_pipeline_dir
from jupyter_launcher.pytest_plugin import LauncherConfig
from tests.acceptor import Acceptor
from tests.containers import warnings_of
from tests.integration.test_session import Start, in_container

ALICE, BOB = 4001, 4002
ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
SOCKET = Path(ENGINE).resolve()
Bind = Callable[..., Path]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount, and give files to others")
needs_socket = pytest.mark.skipif(not SOCKET.is_socket(), reason="the engine is not reached over a socket of this host")


needs_usual = pytest.mark.skipif(
    str(SOCKET) not in ("/run/docker.sock", "/run/podman/podman.sock"),
    reason="only a launcher that uses this socket knows it, because its path is unusual",
)


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Bind]:
    """Mounts below ``tmp_path``, which are undone: bind mounts, unless options say otherwise."""
    made: list[Path] = []

    def mount(source: Path, name: str, *options: str) -> Path:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch() if source.is_socket() else target.mkdir()
        subprocess.run(["mount", *(options or ["--bind"]), str(source), str(target)], check=True)
        made.append(target)
        return target

    yield mount
    for target in reversed(made):
        subprocess.run(["umount", str(target)], check=True)


@pytest.fixture
def lenient(namespace: str) -> Iterator[Launcher]:
    """Lets engine's sockets through, so that nothing but the rules for directories refuses."""
    with Launcher(namespace=namespace, allow_engine_socket=True) as launcher:
        yield launcher


def home(tmp_path: Path, name: str, uid: int) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    os.chown(folder, uid, uid)
    return folder


def link(path: Path, target: Path | str, uid: int) -> Path:
    path.symlink_to(target)
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def refused(launcher: Launcher, folder: Path, seen: str) -> None:
    """The directory is refused as a session's and as a gateway's; nothing is made."""
    for act in (launcher.start, lambda path: launcher.run_gateway(path).__enter__()):
        with pytest.raises(PipelineDirError, match=seen) as caught:
            act(folder)
        assert caught.value.hint
    assert launcher.list() == []


@pytest.mark.parametrize(
    "folder",
    [
        *("/etc", "/etc/ssl", "/boot", "/proc", "/proc/1", "/sys", "/sys/kernel", "/dev"),
        *("/usr/bin", "/usr/lib", "/lib", "/sbin", "/run/systemd"),
    ],
)
def test_folders_of_the_system(lenient: Launcher, folder: str) -> None:
    if not Path(folder).exists():
        pytest.skip(f"there is no {folder} here")
    refused(lenient, Path(folder), "where the system has its own files")


@pytest.mark.parametrize("source", ["/proc/sys/kernel", "/proc", "/sys/fs/cgroup", "/dev", "/dev/null"])
def test_nothing_of_the_kernels_is_mounted(lenient: Launcher, pipeline: Path, source: str) -> None:
    with pytest.raises(PipelineDirError, match="where the system has its own files"):
        lenient.start(pipeline, mounts=[Mount(source=source, target="/m")])


@needs_root
def test_a_file_system_of_the_kernels_elsewhere(lenient: Launcher, pipeline: Path, bind: Bind, tmp_path: Path) -> None:
    """As the root folder of a chroot has one."""
    settings = bind(Path("any"), "chroot/settings", "-t", "proc") / "sys" / "kernel"
    for source, how in ((settings, "is in"), (tmp_path / "chroot", "holds")):
        seen = rf"{how} {tmp_path}/chroot/settings, a file system of the kernel's own \(proc\)"
        refused(lenient, source, seen)
        with pytest.raises(PipelineDirError, match=seen):
            lenient.start(pipeline, mounts=[Mount(source=str(source), target="/m")])
    memory = bind(Path("any"), "memory", "-t", "tmpfs")
    context = lenient._context
    found = resolve_pipeline_dir(context.engine, context.address, memory, "0:0", image="", rules=context.rules)
    assert found.path == memory


@pytest.mark.parametrize("below", ["", "containers", "volumes", "volumes/made-up"])
def test_the_engines_data_folder(lenient: Launcher, client: Any, below: str) -> None:
    data = Path(client.info()["DockerRootDir"])
    if not data.is_dir() or not os.access(data, os.X_OK):
        pytest.skip(f"{data} is not seen here")
    folder = data / below
    is_made = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        refused(lenient, folder, "where the engine has its own files")
    finally:
        if is_made:
            folder.rmdir()


@pytest.mark.parametrize("folder", ["/usr", "/run", "/var", "/var/lib", "/root", "/home", "/usr/local"])
def test_folders_that_only_hold_pipelines(lenient: Launcher, folder: str) -> None:
    refused(lenient, Path(folder), "which holds the files of others")
    refused(lenient, Path("/"), "whole file system")


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp"])  # noqa: S108
def test_folders_that_everybody_uses(lenient: Launcher, folder: str) -> None:
    refused(lenient, Path(folder), "which holds the files of others")


@needs_root
def test_a_bind_mount_of_a_folder_of_the_system(lenient: Launcher, bind: Bind) -> None:
    refused(lenient, bind(Path("/etc"), "whole"), "/etc, where the system has its own files")
    refused(lenient, bind(Path("/etc"), "above") / "ssl", "in /etc, where the system has its own files")
    refused(lenient, bind(Path("/etc/ssl"), "part"), "in /etc, where the system has its own files")
    refused(lenient, bind(Path("/home"), "homes"), "which holds the files of others")


@needs_root
def test_a_bind_mount_of_what_is_mounted_in_the_engines_data_folder(
    lenient: Launcher, client: Any, pipeline: Path, bind: Bind
) -> None:
    """The file system of a container is mounted there, on a device of its own."""
    with lenient.start(pipeline) as session:
        driver = client.containers.get(session.container_id).attrs["GraphDriver"]  # None with containerd's store
        merged = ((driver or {}).get("Data") or {}).get("MergedDir")
        if merged is None or not os.path.ismount(merged):
            pytest.skip("this engine mounts the file systems of its containers elsewhere")
        for source, name in ((Path(merged), "whole"), (Path(merged, "etc"), "part")):
            with pytest.raises(PipelineDirError, match="where the engine has its own files"):
                lenient.start(bind(source, name))


@needs_root
def test_links_of_others(lenient: Launcher, tmp_path: Path) -> None:
    alice, bob, ours = (home(tmp_path, name, uid) for name, uid in (("alice", ALICE), ("bob", BOB), ("ours", 0)))
    seen = f"over the link {alice}/.* of uid {ALICE}"
    refused(lenient, link(alice / "system", "/etc", ALICE), seen)
    refused(lenient, link(alice / "root", ours, ALICE), seen)
    refused(lenient, link(alice / "bobs", bob, ALICE), seen)
    refused(lenient, link(alice / "relative", "../bob", ALICE), seen)
    link(bob / "back", alice, BOB)
    refused(lenient, link(alice / "there-and-back", bob / "back", ALICE), f"over the link {bob}/back of uid {BOB}")
    (ours / "below").mkdir()
    refused(lenient, alice / "root" / "below", seen)
    with pytest.raises(PipelineDirError, match=f"mount source .* {seen}"):
        lenient.start(alice, mounts=[Mount(source=str(alice / "system"), target="/m")])
    refused(lenient, Path("/proc/self/root") / alice.relative_to("/"), "a link that leads elsewhere for each process")


@needs_root
def test_links_that_are_followed(lenient: Launcher, tmp_path: Path) -> None:
    alice = home(tmp_path, "alice", ALICE)
    folder = home(alice, "pipeline", ALICE)
    link(alice / "own", "pipeline", ALICE)
    with lenient.start(link(tmp_path / "by-root", alice / "own", 0)) as session:
        assert session.pipeline_dir == folder
        assert lenient.get(session.id).pipeline_dir == folder


@needs_root
def test_root_is_not_chosen_over_a_link_of_somebody_else(lenient: Launcher, tmp_path: Path) -> None:
    alice = home(tmp_path, "alice", ALICE)
    real = home(alice, "real", ALICE)
    roots = home(real, "roots", 0)
    path = link(alice / "link", real, ALICE) / "roots"
    with pytest.raises(PipelineDirError, match="belongs to root") as caught:
        lenient.start(path)
    assert 'user="0:0"' in caught.value.hint
    with lenient.start(path, user="0:0") as session:
        assert session.pipeline_dir == roots


@needs_root
def test_root_inside_of_somebody_elses_folder_is_told(lenient: Launcher, tmp_path: Path) -> None:
    """Who owns the folder could run, on the host, what root leaves in there."""
    alice = home(tmp_path, "alice", ALICE)
    roots = home(alice, "made-by-sudo", 0)
    with lenient.start(roots) as session:
        (warning,) = warnings_of(session)
    assert f"belongs to root, although {alice} belongs to uid {ALICE}" in warning
    with lenient.start(roots, user="0:0") as session:
        assert warnings_of(session) == []


NOT_ROOT = """
import os, sys
from jupyter_launcher import Launcher, PipelineDirError
os.setuid(4001)
with Launcher(docker_host=sys.argv[2]) as launcher:
    try:
        launcher.start(sys.argv[1])
    except PipelineDirError as error:
        print(error)
"""


@needs_root
@needs_socket
@pytest.mark.usefixtures("needs_information")  # without it, a container looks first, which this user may not make
def test_root_is_not_chosen_by_a_launcher_that_is_not_root() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are for one user
        outer, folder = Path(name), Path(name, "pipeline")
        outer.chmod(0o755)
        folder.mkdir()
        with over_another_socket(outer) as url:
            (outer / "relay.sock").chmod(0o666)
            line = [sys.executable, "-c", NOT_ROOT, str(folder), url]
            ran = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert "does not run as root" in ran.stdout
    assert 'user="0:0"' in ran.stdout


@needs_root
def test_root_works_in_a_directory_of_root(lenient: Launcher, client: Any, tmp_path: Path) -> None:
    with lenient.start(tmp_path) as session:
        assert client.containers.get(session.container_id).attrs["Config"]["User"] == "0:0"


@needs_root
@pytest.mark.usefixtures("needs_information")  # without it, a container looks too
@pytest.mark.parametrize("folder", ["/srv", "/root", "/home", "/opt", "/usr/local", "/var/lib", "/run", "/dev/shm"])  # noqa: S108
@pytest.mark.parametrize("owner", [0, ALICE])
def test_a_directory_below_is_fine(launcher: Launcher, folder: str, owner: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        os.chown(name, owner, owner)
        context = launcher._context
        found = resolve_pipeline_dir(
            context.engine, context.address, name, None, image=launcher.image, rules=context.rules
        )
        assert (found.path, found.user) == (Path(name), f"{owner}:{owner}")


def test_nothing_but_what_is_below_the_roots(namespace: str, tmp_path: Path) -> None:
    root, other = tmp_path / "pipelines", tmp_path / "pipelines-of-others"
    for folder in (root / "alice", other, tmp_path / "data"):
        folder.mkdir(parents=True)
    (root / "out").symlink_to(other)
    (tmp_path / "link").symlink_to(root)
    with Launcher(namespace=namespace, roots=[tmp_path / "link", str(tmp_path / "data")]) as launcher:
        for folder in (other, root, tmp_path, root / "out", root / ".." / other.name):
            refused(launcher, folder, "is not below a root of this launcher")
        for source in (other, root / "out", root / "missing" / ".." / ".." / "elsewhere"):
            with pytest.raises(PipelineDirError, match=r"mount source .* is not below a root"):
                launcher.start(root / "alice", mounts=[Mount(source=str(source), target="/m")])
        mounts = [Mount(source=str(tmp_path / "data"), target="/data")]
        with launcher.start(tmp_path / "link" / "alice", mounts=mounts) as session:
            assert session.pipeline_dir == root / "alice"


@pytest.mark.parametrize("roots", [["pipelines"], ["/no/such/folder"], ["/etc/hostname"], []])
def test_roots_that_cannot_be(roots: list[str]) -> None:
    with pytest.raises(OptionError, match="roots") as caught:
        Launcher(roots=roots)
    assert caught.value.option == "roots"


def test_the_fixtures_of_pytest_hand_the_rules_on(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    from jupyter_launcher.pytest_plugin.run import Run

    config = LauncherConfig(launcher={"roots": [tmp_path / "root"], "allow_engine_socket": True})
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    run = Run(config, namespace="unused", keep="never", start_timeout=None, lock=tmp_path / "lock")
    with contextlib.closing(run), pytest.raises(PipelineDirError, match="is not below a root"):
        run.launcher.start(tmp_path / "other")


def test_the_doctor_has_the_same_rules(tmp_path: Path) -> None:
    def state(folder: Path, **options: Any) -> CheckState:
        checks = examine(DockerEngine.connect, pipeline_dir=folder, **options)
        with contextlib.closing(checks):
            return next(check for check in checks if check.name == "pipeline dir").state

    (tmp_path / "below").mkdir()
    assert state(Path("/etc")) is CheckState.FAILED
    assert state(SOCKET.parent) is CheckState.FAILED
    assert state(tmp_path / "below", roots=[tmp_path]) is CheckState.OK
    assert state(tmp_path, roots=[tmp_path / "below"]) is CheckState.FAILED


def relay(client: socket.socket) -> None:
    """Lead a connection to the engine."""
    engine = socket.socket(socket.AF_UNIX)
    engine.connect(str(SOCKET))
    for one, other in ((client, engine), (engine, client)):
        threading.Thread(target=pass_on, args=(one, other), daemon=True).start()


def pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def over_another_socket(folder: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "relay.sock"))
        listener.listen(16)
        with contextlib.closing(Acceptor(listener, relay)):
            yield f"unix://{folder / 'relay.sock'}"


@contextlib.contextmanager
def over_tcp() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.closing(Acceptor(listener, relay)):
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


SEEN = "engine's socket"


def no_socket(launcher: Launcher, folder: Path, source: Path, seen: str = SEEN) -> None:
    """The source is refused as a mount of a session, and where it is a directory, as a pipeline directory too."""
    with pytest.raises(PipelineDirError, match=seen) as caught:
        launcher.start(folder, mounts=[Mount(source=str(source), target="/m", read_only=True)])
    assert caught.value.hint
    if source.is_dir() and source != Path("/"):
        refused(launcher, source, seen)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    return folder


@needs_socket
def test_the_path_of_the_socket(launcher: Launcher, pipeline: Path) -> None:
    no_socket(launcher, pipeline, SOCKET)
    no_socket(launcher, pipeline, Path(ENGINE))


@needs_socket
def test_a_link_to_the_socket(launcher: Launcher, pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(SOCKET)
    (tmp_path / "folder").symlink_to(SOCKET.parent)
    # A link of another user's than root is told first.
    seen = f"{SEEN}|was given over the link"
    no_socket(launcher, pipeline, tmp_path / "link", seen)
    no_socket(launcher, pipeline, tmp_path / "folder", seen)
    no_socket(launcher, pipeline, tmp_path / "folder" / SOCKET.name, seen)


@needs_socket
def test_a_hard_link_of_the_socket(launcher: Launcher, pipeline: Path, tmp_path: Path) -> None:
    """By its inode alone. A folder that holds it is not known."""
    try:
        os.link(SOCKET, tmp_path / "hard.sock")
    except OSError as error:
        pytest.skip(f"no hard link of the socket can be made here: {error}")
    no_socket(launcher, pipeline, tmp_path / "hard.sock")


@needs_root
@needs_socket
def test_a_bind_mount_of_the_socket(launcher: Launcher, pipeline: Path, bind: Bind) -> None:
    no_socket(launcher, pipeline, bind(SOCKET.parent, "bound"))
    no_socket(launcher, pipeline, bind(SOCKET, "other.sock"))


@needs_usual
@needs_socket
def test_another_socket_of_the_same_engine(namespace: str, pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    with (
        over_another_socket(tmp_path / "relay") as url,
        Launcher(docker_host=url, namespace=namespace) as launcher,
    ):
        no_socket(launcher, pipeline, SOCKET)
        no_socket(launcher, pipeline, SOCKET.parent)
        no_socket(launcher, pipeline, tmp_path / "relay")


@needs_usual
@needs_socket
def test_the_socket_of_an_engine_that_is_reached_over_tcp(namespace: str, pipeline: Path) -> None:
    with over_tcp() as url, Launcher(docker_host=url, namespace=namespace) as launcher:
        no_socket(launcher, pipeline, SOCKET)
        no_socket(launcher, pipeline, SOCKET.parent)


@needs_socket
def test_a_folder_that_holds_the_socket(launcher: Launcher, pipeline: Path) -> None:
    no_socket(launcher, pipeline, SOCKET.parent)
    no_socket(launcher, pipeline, Path("/"))
    no_socket(launcher, pipeline, Path("//" + str(SOCKET)))


@needs_socket
@pytest.mark.parametrize("process", ["1", "self", str(os.getpid())], ids=["init", "self", "own"])
def test_the_root_of_a_process(launcher: Launcher, pipeline: Path, process: str) -> None:
    """The file system of another process may be closed even to root."""
    source = Path(f"/proc/{process}/root{SOCKET.parent}")
    with pytest.raises(PipelineDirError, match=r"cannot be looked at|leads elsewhere for each process") as caught:
        launcher.start(pipeline, mounts=[Mount(source=str(source), target="/m")])
    assert caught.value.hint
    with pytest.raises(PipelineDirError, match=r"cannot be used|leads elsewhere for each process"):
        launcher.start(source)


@needs_root
@needs_usual
@needs_socket
def test_what_is_below_a_folder_of_sockets(launcher: Launcher, pipeline: Path, bind: Bind) -> None:
    folder = next((path for name in ("docker", "podman", "containerd") if (path := Path("/run", name)).is_dir()), None)
    if folder is None:
        pytest.skip("no engine has a folder of sockets here")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        no_socket(launcher, pipeline, folder)
        no_socket(launcher, pipeline, Path(name))
        no_socket(launcher, pipeline, bind(Path(name), "bound"))


@needs_root
@needs_socket
def test_a_mount_beneath(launcher: Launcher, pipeline: Path, bind: Bind, tmp_path: Path) -> None:
    bind(SOCKET.parent, "one/deep/bound")
    bind(SOCKET, "two/any.name")
    no_socket(launcher, pipeline, tmp_path / "one")
    no_socket(launcher, pipeline, tmp_path / "two")


@needs_socket
def test_who_means_it_may_mount_the_socket(lenient: Launcher, client: Any, pipeline: Path) -> None:
    with lenient.start(pipeline, mounts=[Mount(source=str(SOCKET), target="/m")]) as session:
        code, _ = client.containers.get(session.container_id).exec_run(["test", "-S", "/m"])
        assert code == 0


@needs_root
def test_what_the_host_mounts_later_is_seen(bind: Bind, start: Start, client: Any) -> None:
    shared = bind(Path("shared"), "shared", "-t", "tmpfs")
    subprocess.run(["mount", "--make-shared", str(shared)], check=True)
    session = start(mounts=[Mount(source=str(shared), target="/shared", propagation="rslave")])
    (bind(Path("later"), "shared/later", "-t", "tmpfs") / "seen").touch()
    assert in_container(client, session, "ls /shared/later") == "seen\n"

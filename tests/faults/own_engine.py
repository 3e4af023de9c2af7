"""A Docker engine of the tests' own, to be killed, frozen, restarted and starved at will."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker

BRIDGE = "jl-faults"
ADDRESS = "172.31.250.1/24"
# Its data lie on a file system of their own, so that its disk can be filled.
DISK = "3G"


class OwnEngine:
    """``dockerd`` with its own socket, data, exec and pid paths, and a bridge of its own.

    It leaves the machine's firewall alone but for one rule, which lets its containers speak to
    each other: the machine's own engine drops what it does not know.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def set_up(self) -> None:
        self.tear_down()
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = self.folder / "disk.img"
        run("truncate", "-s", DISK, str(disk))
        run("mkfs.ext4", "-q", str(disk))
        self.data.mkdir()
        run("mount", "-o", "loop", str(disk), str(self.data))
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", ADDRESS, "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        run("iptables", "-I", "FORWARD", *self._rule)

    def tear_down(self) -> None:
        """Whatever there is of it; what a killed run left behind, too."""
        self.stop()
        containerd = self.folder / "exec" / "containerd" / "containerd.pid"
        if containerd.exists():
            end(int(containerd.read_text()))
        for line in Path("/proc/self/mounts").read_text().splitlines()[::-1]:
            if line.split()[1].startswith(str(self.folder)):
                run("umount", "-l", line.split()[1])
        while (
            subprocess.run(["iptables", "-D", "FORWARD", *self._rule], capture_output=True, check=False).returncode == 0
        ):
            pass
        if Path(f"/sys/class/net/{BRIDGE}").exists():
            run("ip", "link", "delete", BRIDGE)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def _rule(self) -> list[str]:
        return ["-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"]

    @property
    def _pid_file(self) -> Path:
        return self.folder / "docker.pid"

    def start(self, *more: str) -> None:
        assert self._process is None
        self._pid_file.unlink(missing_ok=True)  # of one that was killed
        line = ["dockerd", "--host", self.url, "--data-root", str(self.data), "--exec-root", str(self.folder / "exec")]
        line += ["--pidfile", str(self._pid_file), "--bridge", BRIDGE, "--iptables=false", "--ip-masq=false", *more]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
        assert eventually(self.answers, 60), (self.folder / "log").read_text()[-2000:]

    def answers(self) -> bool:
        try:
            client = self.client()
        except docker.errors.DockerException:
            return False
        client.close()
        return True

    def client(self) -> Any:
        return docker.DockerClient(base_url=self.url)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None
        # Its containerd dies with it; what is left of that looks alive to the next dockerd.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self._process.wait()
            self._process = None
        elif self._pid_file.exists():
            end(int(self._pid_file.read_text()))

    def restart(self, *more: str) -> None:
        self.stop()
        self.start(*more)

    def load(self, *images: str) -> None:
        """Images of the machine's own engine."""
        with (
            subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved,
            subprocess.Popen(["docker", "-H", self.url, "load", "-q"], stdin=saved.stdout) as loaded,
        ):
            pass
        assert (saved.returncode, loaded.returncode) == (0, 0)

    def fill_disk(self) -> Callable[[], None]:
        """Leave no byte free; gives what frees them again."""
        ballast = self.data / "ballast"
        status = os.statvfs(self.data)
        # Most of it at once, then byte by byte: the file system needs some of it for itself.
        size = status.f_bfree * status.f_frsize * 9 // 10
        for line in (["fallocate", "-l", str(size), str(ballast)], ["sh", "-c", f"cat /dev/zero >>{ballast}"]):
            subprocess.run(line, capture_output=True, check=False)
        return ballast.unlink


def run(*line: str) -> None:
    subprocess.run(line, check=True, capture_output=True)


def end(pid: int) -> None:
    """End a process that a former run of the tests left behind."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 20)


def eventually(what: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something becomes true; looks twenty times a second."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

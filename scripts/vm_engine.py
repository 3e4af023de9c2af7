"""Run integration tests in a virtual machine, where control groups are of version 2 and systemd runs.

vm_engine.py [TEST...]      the twelve for which control groups matter, unless named

The machine is a Debian system with Docker and our two images, on a disk that is made anew for each run from
folders that stay as a cache. qemu emulates it without the help of the processor, so this works inside of
other virtual machines too, slowly. Its clock counts instructions and not seconds: however slow or busy
this machine is, no test runs into a time-out for that. It reaches no network.

Needs root, Debian, and a Docker engine to take the images from.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import other_engine
from base_image import mirror

__all__ = ["TESTS", "main"]

# One a line: limits that are held and what is told of them, powers, the freezer, processes, and the whole of a session.
TESTS = (
    "tests/integration/test_session.py::test_a_session_from_start_to_stop",
    "tests/integration/test_failures.py::test_too_little_memory",
    "tests/integration/test_registry.py::test_a_server_ended_for_memory_is_listed_so",
    "tests/integration/test_session.py::test_options_reach_the_container",
    "tests/integration/test_session.py::test_the_container_has_no_powers",
    "tests/integration/test_lease.py::test_a_session_without_a_process_to_spare_ends_when_its_lease_does",
    "tests/integration/test_lease.py::test_a_pause_does_not_use_up_a_lease",
    "tests/integration/test_session.py::test_a_killed_server_ends_its_container_with_its_exit_code",
    "tests/integration/test_session.py::test_a_notebook_runs_on_the_gateway",
    "tests/integration/test_session.py::test_docker_stop_from_outside_is_graceful",
    "tests/integration/test_registry.py::test_a_session_without_a_renewal_ends_itself",
    "tests/integration/test_registry.py::test_list_has_every_state",
)
SUITE = "trixie"
ENGINE = "docker-26"
"""The one of other_engine.py that is of this suite: it stores the images as the machine's engine does."""

CACHE = Path(os.environ.get("VM_DIR", "/var/cache/jupyter-launcher/vm"))
CHECKOUT = other_engine.CHECKOUT
PYTHON = "3.13"
"""The suite's own, for which the wheels are."""

PACKAGES = (
    *("linux-image-amd64", "systemd-sysv", "udev", "dbus", "kmod", "iproute2", "iptables", "ca-certificates"),
    *("docker.io", "docker-cli", "python3"),
)
HOURS = 3

# $TESTS are names of tests, without spaces. The exit code leaves by a port, the words by the console.
UNIT = """
[Unit]
Requires=docker.service
After=docker.service
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
WorkingDirectory=/opt/checkout
Environment=HOME=/root PYTHONPATH=/opt/site:/opt/checkout PYTHONUNBUFFERED=1
EnvironmentFile=/etc/tests
ExecStart=/bin/sh -c 'docker info; \
  python3 -m pytest -v --color=no -p no:cacheprovider -p jupyter_launcher.pytest_plugin --durations=0 $TESTS; \
  echo $? >/dev/virtio-ports/result'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
"""
KERNEL = (
    "root=/dev/vda",
    "rw",
    "console=ttyS0",
    "quiet",
    "loglevel=3",
    "panic=-1",
    "mitigations=off",
    "systemd.wants=tests.service",
    "systemd.mask=serial-getty@ttyS0.service",
)
QEMU = (
    *("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"),
    *("-machine", "q35", "-accel", "tcg,thread=single", "-icount", "shift=1"),
    *("-cpu", "max", "-smp", "2", "-m", "4096", "-serial", "stdio", "-device", "virtio-rng-pci"),
    *("-device", "virtio-serial", "-device", "virtserialport,chardev=result,name=result"),
)


def main(tests: list[str]) -> int:
    """Make the machine, run the tests in it; pytest's exit code."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["scripts/apt-install.sh", "mmdebstrap", "e2fsprogs", "qemu-system-x86"], check=True)
        # The disk gets the images as that engine has stored them: a load in the machine would take an hour.
        if code := other_engine.run(ENGINE, ["true"]):
            return code
        root = system()
        install(root)
        fill(root, tests)
        return boot(root)


def system() -> Path:
    """The folder with the Debian system, unless there is one already."""
    root = CACHE / "root"
    if not root.exists():
        say(f"making {root} from {SUITE}")
        part = CACHE / "root.part"
        subprocess.run(["rm", "-rf", "--one-file-system", str(part)], check=True)
        line = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE]
        subprocess.run([*line, str(part), mirror()], check=True)
        part.rename(root)
    return root


def install(root: Path) -> None:
    """Put the development environment for the machine's Python into the folder, unless it is there already."""
    wanted, made_from = CHECKOUT / "requirements-dev.txt", root / "opt/site.txt"
    if made_from.exists() and made_from.read_text() == wanted.read_text():
        return
    say(f"installing the development environment for Python {PYTHON}")
    made_from.unlink(missing_ok=True)
    shutil.rmtree(root / "opt/site", ignore_errors=True)
    line = ["install", "--quiet", "--no-compile", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON]
    into = ["--target", str(root / "opt/site"), "--requirement", str(wanted)]
    subprocess.run([sys.executable, "-m", "pip", *line, *into], check=True)
    # What can be done here takes a tenth of the time.
    subprocess.run(["chroot", str(root), "python3", "-m", "compileall", "-q", "/opt/site"], check=False)
    shutil.copy(wanted, made_from)


def fill(root: Path, tests: list[str]) -> None:
    """Put in what may differ from run to run: images, this checkout, the tests to run."""
    images = root / "var/lib/docker"
    subprocess.run(["rm", "-rf", "--one-file-system", str(images)], check=True)
    subprocess.run(["cp", "-a", str(other_engine.CACHE / ENGINE / "var/lib/docker"), str(images)], check=True)
    checkout = root / "opt/checkout"
    shutil.rmtree(checkout, ignore_errors=True)
    # Without what git and the tools keep here: all of it begins with a dot.
    shutil.copytree(CHECKOUT, checkout, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    (root / "etc/tests").write_text(f"TESTS={shlex.join(tests or TESTS)}\n")
    (root / "etc/systemd/system/tests.service").write_text(UNIT)


def boot(root: Path) -> int:
    """Make the disk, and run the machine until it has ended."""
    disk, result = CACHE / "disk", CACHE / "result"
    say(f"making {disk}")
    disk.unlink(missing_ok=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "6G"], check=True)
    (kernel,), (initrd,) = (root / "boot").glob("vmlinuz-*"), (root / "boot").glob("initrd.img-*")
    files = ("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe", "-chardev", f"file,id=result,path={result}")
    line = [*QEMU, *files, "-kernel", str(kernel), "-initrd", str(initrd), "-append", " ".join(KERNEL)]
    say("the machine starts; its first words come after some minutes")
    try:
        subprocess.run(line, stdin=subprocess.DEVNULL, check=True, timeout=HOURS * 3600)
    except subprocess.TimeoutExpired:
        sys.exit(f"vm engine: the tests did not end within {HOURS} hours")
    finally:
        disk.unlink()
    if not (code := result.read_text().strip()):
        sys.exit("vm engine: the machine ended before the tests did; see its console above")
    return int(code)


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"vm engine: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

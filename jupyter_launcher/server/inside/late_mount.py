"""Puts a pipeline directory into the container of a server that runs already, and tells the server.

A launcher that is root on the engine's host imports this file. For any other it runs in a short-lived container of our
own image, which has the processes of the server's container. It needs CAP_SYS_ADMIN over that container's mount
namespace, and Linux 5.12. Nothing is mounted on the host, and no mount is shared: the directory's mount is cloned here
(open_tree), and attached there (setns, move_mount).

As a program: late_mount.py SOURCE PID RUN TARGET IDENTITY WRITABLE LEASE LENGTH, with texts as ``claim`` has them, or
late_mount.py try SOURCE PID TARGET. Its exit code is that of the RefusedError, whose text is on stderr.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import struct
import sys
import time

TYPE_CHECKING = False  # what is imported here, a short-lived container waits for
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable

DONE = "mounted"
"""What the program prints as soon as the directory is there: the end of its container comes later."""
OTHER_DIRECTORY = 71
CLOSED = 72
OTHER_OWNER = 76
TAKEN = 77
OBSTRUCTED = 78
ENDING = 79
SILENT = 80
IMPOSSIBLE = 81  # no directory can be mounted here; FAILED: this one was not
OTHER_CONTAINER = 82
FAILED = 83

_ANSWER_SECONDS = 5.0
_ANSWER_SIZE = 512
_TAKEN = "somebody else has claimed it"
_TRIES = 20  # as in renew_lease.sh
# The same numbers on every machine but alpha.
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_MS_PRIVATE = 1 << 18
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_RESOLVE_IN_ROOT = 0x10
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_WAY = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_CLOEXEC


class RefusedError(Exception):
    """The directory was not mounted, or cannot be used; ``code`` says why, and the text what was seen."""

    def __init__(self, code: int, seen: str) -> None:
        super().__init__(seen)
        self.code = code


def attach(tree: int, namespace: int, target: str) -> None:
    """Attach a mount in another mount namespace. The thread that runs this goes there alone, and comes back."""
    libc = _load_libc()
    own = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    # Code that runs in this thread meanwhile would take the container's files for those of here. So nothing else may:
    # garbage is collected, and its finalizers run, in any thread.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        _checked(libc.unshare(_CLONE_FS))
        _checked(libc.setns(namespace, _CLONE_NEWNS))
        try:
            _system_call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
        finally:
            _checked(libc.setns(own, _CLONE_NEWNS))
    finally:
        if was_enabled:
            gc.enable()
        os.close(own)


def claim(
    source: str,
    pid: int,
    run: str,
    target: str,
    *,
    identity: str,
    writable: bool,
    lease: int,
    length: int,
    container: str = "",
    attach: Callable[[int, int, str], object] = attach,
) -> None:
    """Mount a directory in a container that waits for one, and let its server go there.

    Args:
        source: the directory.
        pid: of a process of the container, as this process numbers it.
        run: the session's own folder there.
        target: where the directory is to be there.
        identity: ``device:inode`` that the directory must have.
        writable: whether the server must be able to write to it.
        lease: seconds of the lease that the container has meanwhile, and which begins anew.
        length: seconds of its lease from then on; 0: it has none.
        container: its id, which the kernel must name for that process; empty: the process is known to be right.
        attach: in place of :func:`attach`, where this process has other threads.

    Raises:
        RefusedError: and the container cannot be used any more, unless nothing of it was changed.
    """
    opened: list[int] = []
    try:
        _claim(opened, source, pid, run, target, identity, writable, lease, length, container, attach)
    except OSError as error:
        raise _describe(error) from error
    finally:
        _close(opened)


def _claim(
    opened: list[int],
    source: str,
    pid: int,
    run: str,
    target: str,
    identity: str,
    writable: bool,  # noqa: FBT001 - as the program has it
    lease: int,
    length: int,
    container: str,
    attach: Callable[[int, int, str], object],
) -> None:
    def keep(found: int) -> int:
        opened.append(found)
        return found

    # What is opened below it is of this process, also where another one has its number by then.
    process = keep(os.open("/proc/%d" % pid, _READ | os.O_DIRECTORY))
    mounts = _read(process, "mountinfo", 2**22)
    if container and container not in mounts + _read(process, "cgroup", 2**16):
        raise RefusedError(OTHER_CONTAINER, "the process is not of the container")
    folder = keep(_open_in_root(keep(os.open("root", _FOLDER, dir_fd=process)), run))
    if _is_there("claimed", folder):
        raise RefusedError(TAKEN, _TAKEN)
    points = [line.split(" ")[4] for line in mounts.splitlines()]
    if any(point == target or point.startswith(target + "/") for point in points):
        raise RefusedError(OBSTRUCTED, "something is mounted at %s, or below" % target)
    directory = keep(_open_source(source))
    status = os.fstat(directory)
    if "%d:%d" % (status.st_dev, status.st_ino) != identity:
        raise RefusedError(OTHER_DIRECTORY, "another directory is there by now")
    user = os.stat("token", dir_fd=folder, follow_symlinks=False).st_uid
    if user != status.st_uid:
        raise RefusedError(OTHER_OWNER, "it is user %d's, and the server is user %d's" % (status.st_uid, user))
    tree = keep(_clone(directory))
    namespace = keep(os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process))
    pipe = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    answer = keep(os.open("claim.answer", os.O_RDWR | pipe, dir_fd=folder))
    ask = keep(os.open("claim", os.O_WRONLY | pipe, dir_fd=folder))
    _move_lease(folder, lease)
    try:
        os.mkdir("claimed", 0o755, dir_fd=folder)
    except FileExistsError:
        raise RefusedError(TAKEN, _TAKEN) from None
    try:
        attach(tree, namespace, target)
    except BaseException:
        os.rmdir("claimed", dir_fd=folder)  # another way to mount it may work
        raise
    try:
        os.write(ask, b"w" if writable else b"r")
        _read_answer(answer)
        _write_length(folder, length)
    except OSError as error:  # no other way would do better
        raise RefusedError(SILENT, "%s: %s" % (type(error).__name__, error)) from error


def try_mount(source: str, pid: int, target: str, *, attach: Callable[[int, int, str], object] = attach) -> None:
    """Mount a folder of here at one of a container, to see whether this process may.

    Raises:
        RefusedError: it may not.
    """
    opened: list[int] = []
    try:
        opened.append(os.open(source, _FOLDER))
        opened.append(os.open("/proc/%d/ns/mnt" % pid, os.O_RDONLY | os.O_CLOEXEC))
        opened.append(_clone(opened[0]))
        attach(opened[2], opened[1], target)
    except OSError as error:
        raise _describe(error) from error
    finally:
        _close(opened)


def _describe(error: OSError) -> RefusedError:
    return RefusedError(IMPOSSIBLE if error.errno in _NO_WAY else FAILED, "%s: %s" % (type(error).__name__, error))


def _close(opened: list[int]) -> None:
    for item in opened:
        os.close(item)


def _system_call(number: int, *values: int | bytes) -> int:
    import ctypes

    libc = _load_libc()  # it need not have functions of these names
    return _checked(libc.syscall(number, *(ctypes.c_long(item) if isinstance(item, int) else item for item in values)))


def _load_libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _checked(found: int) -> int:
    import ctypes

    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


def _open_in_root(root: int, path: str) -> int:
    """A folder of a container; none of the links on its path leads out of the container."""
    how = struct.pack("QQQ", _FOLDER, 0, _RESOLVE_IN_ROOT)
    return _system_call(_OPENAT2, root, os.fsencode(path), how, len(how))


def _clone(directory: int) -> int:
    """A copy of a directory's mount, with those below it, that is attached nowhere; private, as an engine's own."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE | _AT_EMPTY_PATH
    tree = _system_call(_OPEN_TREE, directory, b"", flags)
    try:
        attributes = struct.pack("QQQQ", 0, 0, _MS_PRIVATE, 0)
        _system_call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, len(attributes))
    except OSError:
        os.close(tree)
        raise
    return tree


def _open_source(path: str) -> int:
    try:
        return os.open(path, _FOLDER | os.O_NOFOLLOW)
    except OSError as error:  # of this directory alone
        raise RefusedError(FAILED, "%s: %s" % (type(error).__name__, error)) from error


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _read(folder: int, name: str, size: int) -> str:
    with open(os.open(name, _READ, dir_fd=folder), "rb") as file:
        return file.read(size).decode("utf-8", "replace")


def _move_lease(folder: int, seconds: int) -> None:
    """As renew_lease.sh does: write the lease, and see whether the session was ending before that."""
    with open("/proc/uptime", "rb") as file:
        end = int(float(file.read().split()[0])) + seconds
    with open(os.open("lease", _WRITE, dir_fd=folder), "wb", buffering=0) as lease:
        for _ in range(_TRIES):
            os.pwrite(lease.fileno(), b"%20d\n" % end, 0)
            state = _read(folder, "lease.state", 16).strip()
            if state == "open":
                return
            if state == "ended":
                break
            time.sleep(0.1)
    raise RefusedError(ENDING, "its lease has passed")


def _read_answer(answer: int) -> None:
    """Wait until the server says that it can work in the directory."""
    waiter = select.poll()
    waiter.register(answer, select.POLLIN)
    if not waiter.poll(_ANSWER_SECONDS * 1000):
        raise RefusedError(SILENT, "the server did not say within %g s whether it can work there" % _ANSWER_SECONDS)
    seen = os.read(answer, _ANSWER_SIZE).decode("utf-8", "replace").strip()
    if seen != "yes":
        raise RefusedError(CLOSED, "the server cannot work there: %s" % seen)


def _write_length(folder: int, seconds: int) -> None:
    """The lease of the session, for watch_lease.sh, which takes it once the server has answered its claimer."""
    with open(os.open("lease.length.new", _WRITE | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder), "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(b"%d\n" % seconds)
    os.rename("lease.length.new", "lease.length", src_dir_fd=folder, dst_dir_fd=folder)


def main(words: list[str]) -> int:
    """Run as a program."""
    try:
        if words[0] == "try":
            try_mount(words[1], int(words[2]), words[3])
        else:
            source, pid, run, target, identity, writable, lease, length = words
            claim(
                source,
                int(pid),
                run,
                target,
                identity=identity,
                writable=bool(writable),
                lease=int(lease),
                length=int(length),
            )
    except RefusedError as error:
        print(error, file=sys.stderr)
        return error.code
    print(DONE, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

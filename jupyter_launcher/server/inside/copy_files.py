# Packs a file or a folder into a tar stream, and unpacks one. The launcher imports this file for its own side, and has
# run_command.py run its text for the other: sys.argv is -c, `send` or `receive`, and the path.
# It ends with 0, with 44 where there is nothing at the path, or with 45 and a line on stderr that says why.
from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import tarfile
from collections.abc import Callable, Iterator

PIECE = 2**16
MOST_HEADER = 2**20  # bytes of the headers of one member
DEEPEST = 256  # folders in each other
CUT_OFF = "what came was cut off"
NOTHING = 44
FAILED = 45
_END = b"E"  # the type of a last member: without it the stream was cut off
_LAST_TIME = 2**33


class CopyError(Exception):
    """What cannot be copied, in a sentence about it."""


def _to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _show(path: bytes | str) -> str:
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def pack(path: bytes | str) -> Iterator[bytes]:
    """The pieces of a tar stream: the item itself is `.`, and what a folder holds is `name`, `name/name`, ...

    A link at the path is followed, others stay links. What vanishes meanwhile is left out.

    Raises CopyError for what is neither file, folder nor link, and for a file that becomes shorter meanwhile; OSError
    for what cannot be read.
    """
    stack = [(os.fsencode(path), "")]
    while stack:
        path, name = stack.pop()
        try:
            found = os.lstat(path) if name else os.stat(path)
            if stat.S_ISDIR(found.st_mode):
                names = sorted(os.listdir(path), reverse=True)
                yield _header(name, found, tarfile.DIRTYPE)
                prefix = name and name + "/"
                stack += [(os.path.join(path, item), prefix + _to_text(item)) for item in names]
            elif stat.S_ISLNK(found.st_mode):
                target = _to_text(os.readlink(path))
                yield _header(name, found, tarfile.SYMTYPE, linkname=target)
            elif stat.S_ISREG(found.st_mode):
                for piece in _pack_file(path, name):
                    yield piece
            else:
                raise CopyError("%s is neither a file, nor a folder, nor a link" % _show(path))
        except FileNotFoundError:
            if not name:
                raise
    yield _header("end", None, _END)
    yield b"\0" * 1024


def _header(name: str, found: os.stat_result | None, kind: bytes, size: int = 0, linkname: str = "") -> bytes:
    member = tarfile.TarInfo(name or ".")
    member.type, member.size, member.linkname = kind, size, linkname
    if found is not None:
        member.mode, member.mtime = stat.S_IMODE(found.st_mode) & 0o777, found.st_mtime
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _pack_file(path: bytes, name: str) -> Iterator[bytes]:
    # One that has become a pipe meanwhile must not be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise CopyError("%s has changed while it was read" % _show(path))
        left = found.st_size
        yield _header(name, found, tarfile.REGTYPE, left)
        while left > 0:
            piece = file.read(min(PIECE, left))
            if not piece:
                raise CopyError("%s has become shorter while it was read" % _show(path))
            left -= len(piece)
            yield piece
        yield b"\0" * (-found.st_size % tarfile.BLOCKSIZE)


def unpack(read: Callable[[int], bytes], target: bytes | str, *, links_out: bool = False) -> None:
    """Unpack what ``pack`` has made, beside the target first; then it is moved there.

    Folders that are not there are made. A folder that is there stays, and what comes replaces what has its name.
    Where it fails before it is moved, nothing is left.

    read: gives at most so many bytes, none at the end. links_out: links may lead out of the target.

    Raises CopyError for what is refused, OSError for what cannot be written.
    """
    target = os.path.abspath(os.fsencode(target))
    if os.path.isdir(target):
        target = beside = os.path.realpath(target)
    else:
        beside = os.path.dirname(target)
        while not os.path.lexists(beside):
            beside = os.path.dirname(beside)
    staging = os.path.join(beside, b".jupyter-launcher-" + os.urandom(6).hex().encode())
    try:
        os.mkdir(staging, 0o700)
    except OSError as error:
        error.filename = beside
        raise
    try:
        item = os.path.join(staging, b"item")
        _Tree(item, links_out=links_out).receive(read)
        moves = list(_plan(item, target))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        for source, place in moves:
            _move(source, place)
    finally:
        _remove(staging)


class _Limited:
    """A stream that gives no more than was allowed: a header that claims to be long does not fill the memory."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.allowed = 0
        self._read = read

    def read(self, size: int) -> bytes:
        if self.allowed <= 0:
            raise CopyError("what came has a header of more than %d bytes" % MOST_HEADER)
        data = self._read(min(size, self.allowed))
        self.allowed -= len(data)
        return data


class _Tree:
    """What comes of a stream: a file, or a folder that is filled in the order of the stream."""

    def __init__(self, item: bytes, *, links_out: bool) -> None:
        self._item = item
        self._links_out = links_out
        # Those that are open, each within the one before: the path in the stream, the path here, and the member.
        self._folders: list[tuple[str, bytes, tarfile.TarInfo]] = []

    def receive(self, read: Callable[[int], bytes]) -> None:
        """Unpack all of the stream."""
        stream = _Limited(read)
        stream.allowed = MOST_HEADER
        try:
            with tarfile.open(  # type: ignore[call-overload] # which reads, and nothing else
                fileobj=stream, mode="r|", bufsize=PIECE, encoding="utf-8", errors="surrogateescape"
            ) as archive:
                while (member := archive.next()) is not None and member.type != _END:
                    archive.members = []  # or it would keep them all
                    try:
                        self._add(archive, member, stream)
                    except FileExistsError:
                        raise CopyError("what came has a member %a twice" % member.name[:200]) from None
                    stream.allowed = MOST_HEADER
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, KeyError, TypeError) as error:
            raise CopyError("what came is no tar stream that can be read: %s" % error) from None
        if member is None:
            raise CopyError(CUT_OFF)
        while self._folders:
            self._close()

    def _close(self) -> None:
        _, path, member = self._folders.pop()
        _finish(path, member)

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, stream: _Limited) -> None:
        name, steps = member.name, member.name.split("/")
        path = self._place(name, steps)
        if member.type == tarfile.DIRTYPE:
            os.mkdir(path, 0o700)
            self._folders.append(("" if name == "." else name, path, member))
        elif member.type == tarfile.SYMTYPE and name != ".":
            if not self._links_out and _leads_out(member.linkname, len(steps) - 1):
                where = (name[:200], member.linkname[:200])
                raise CopyError("what came has a link that leads out of it: %a to %a" % where)
            os.symlink(_to_bytes(member.linkname), path)
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse() and member.size >= 0:
            _unpack_file(archive, member, path, stream)
        else:
            raise CopyError("what came has a member %a that is neither a file, nor a folder, nor a link" % name[:200])

    def _place(self, name: str, steps: list[str]) -> bytes:
        """Where a member comes: each step to it is a folder that was made here, so none is a link."""
        if name == "." and not self._folders and not os.path.lexists(self._item):
            return self._item
        parent = "/".join(steps[:-1])
        while self._folders and self._folders[-1][0] != parent:
            self._close()
        if not self._folders or len(steps) > DEEPEST or {"", ".", ".."} & set(steps) or "\0" in name:
            raise CopyError("what came has a member %a in the wrong place" % name[:200])
        return os.path.join(self._folders[-1][1], _to_bytes(steps[-1]))


def _finish(path: bytes, member: tarfile.TarInfo) -> None:
    os.chmod(path, member.mode & 0o777)
    if 0 <= member.mtime < _LAST_TIME:
        os.utime(path, (member.mtime, member.mtime))


def _leads_out(target: str, depth: int) -> bool:
    """Whether a link leads out of the tree; ``depth``: how many folders of the tree it is in.

    Only the first steps may be `..`: after a step that is a link itself, nobody knows where they lead.
    """
    steps = [step for step in target.split("/") if step not in ("", ".")]
    ups = 0
    while ups < len(steps) and steps[ups] == "..":
        ups += 1
    return target.startswith("/") or not target or ups > depth or ".." in steps[ups:]


def _unpack_file(archive: tarfile.TarFile, member: tarfile.TarInfo, path: bytes, stream: _Limited) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
        source = archive.extractfile(member)
        left = member.size
        while source is not None and left > 0:
            stream.allowed = MOST_HEADER
            piece = source.read(min(PIECE, left))
            if not piece:
                raise CopyError(CUT_OFF)
            left -= len(piece)
            written = 0
            while written < len(piece):
                written += file.write(piece[written:])
    _finish(path, member)


def _plan(item: bytes, target: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What is to be moved where, so that a folder that is there stays.

    Raises CopyError where a file would replace a folder, or a folder something else.
    """
    stack = [(item, target)]
    while stack:
        source, place = stack.pop()
        comes = os.lstat(source).st_mode
        try:
            there = os.lstat(place).st_mode
        except FileNotFoundError:
            yield source, place
            continue
        if stat.S_ISDIR(comes) != stat.S_ISDIR(there):
            words = ("a folder comes", "no folder") if stat.S_ISDIR(comes) else ("a file or a link comes", "a folder")
            raise CopyError("%s for %s, which is %s" % (words[0], _show(place), words[1]))
        if not stat.S_ISDIR(comes):
            yield source, place
            continue
        os.chmod(source, 0o700)
        stack += [(os.path.join(source, name), os.path.join(place, name)) for name in sorted(os.listdir(source))]


def _move(source: bytes, place: bytes) -> None:
    try:
        os.rename(source, place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        import shutil  # another file system is mounted below the target

        shutil.move(os.fsdecode(source), os.fsdecode(place))


def _remove(folder: bytes) -> None:
    """Remove a folder, also where it holds some that nobody may write to."""
    for path, names, _ in os.walk(folder):
        for name in names:
            below = os.path.join(path, name)
            if not os.path.islink(below):
                os.chmod(below, 0o700)
    for path, names, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(path, name))
        for name in names:
            below = os.path.join(path, name)
            if os.path.islink(below):
                os.unlink(below)
            else:
                os.rmdir(below)
    os.rmdir(folder)


def describe(error: OSError) -> str:
    """An error of the system's, in a sentence with the path."""
    seen = os.strerror(error.errno) if error.errno else str(error)
    return "%s: %s" % (seen, _show(error.filename)) if error.filename else seen


def main(action: str, path: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    try:
        if action == "send":
            for piece in pack(path):
                sent = 0
                while sent < len(piece):
                    sent += os.write(1, piece[sent:])
        else:
            unpack(lambda size: os.read(0, size), path, links_out=True)
    except CopyError as error:
        sys.exit(_tell(str(error), FAILED))
    except OSError as error:
        nothing = action == "send" and isinstance(error, FileNotFoundError)
        sys.exit(_tell(describe(error), NOTHING if nothing else FAILED))


def _tell(text: str, code: int) -> int:
    print(text.encode("ascii", "backslashreplace").decode(), file=sys.stderr)
    return code


if __name__ == "__main__":
    main(*sys.argv[1:])

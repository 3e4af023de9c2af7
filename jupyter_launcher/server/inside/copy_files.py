# Packs a file or a folder into a tar stream, and unpacks one. The launcher imports this file for its own side, and has
# run_command.py run its text for the other: sys.argv is -c, `send` or `receive`, and the path.
# It ends with 0, with 44 where there is nothing at the path, or with 45 and a line on stderr that says why.
# Somebody else may write in the same folders meanwhile, as a session does in its pipeline directory. Links in the path
# that the caller gives are followed; from there on each step goes by a descriptor of a folder, and never by a link.
from __future__ import annotations

import contextlib
import errno
import io
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
_HOLDS_NOTHING = "what came holds nothing"
_GLOBAL_HEADERS = "what came has headers for all its members"
NOTHING = 44
FAILED = 45
_END = b"E"  # the type of a last member: without it the stream was cut off
_LAST_TIME = 2**33
_ITEM = b"item"  # its name as long as it is not at its place
_INTO = os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | _INTO
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | _INTO  # a folder that need not be read


class CopyError(Exception):
    """What cannot be copied, in a sentence about it."""


def _to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _show(path: bytes | str) -> str:
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def _open(name: bytes, flags: int, parent: int | None = None) -> Iterator[int]:
    number = os.open(name, flags, dir_fd=parent)
    try:
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def _naming(path: bytes) -> Iterator[None]:
    """Errors of the system name the whole path, and not a name in a folder."""
    try:
        yield
    except OSError as error:
        if error.errno:
            error.filename, error.filename2 = path, None
        raise


def _list(folder: int) -> list[bytes]:
    return sorted(map(os.fsencode, os.listdir(folder)))


def pack(path: bytes | str) -> Iterator[bytes]:
    """The pieces of a tar stream: the item itself is `.`, and what a folder holds is `name`, `name/name`, ...

    A link at the path is followed, others stay links. What vanishes meanwhile is left out.

    Raises CopyError for what is neither file, folder nor link, and for a file that becomes another or shorter
    meanwhile, or does not tell its size; OSError for what cannot be read.
    """
    path = os.fsencode(path)
    return _pack(path, path, None)


def _pack(item: bytes, path: bytes, parent: int | None) -> Iterator[bytes]:
    yield from _pack_item(item, path, "", parent)
    yield _header("end", None, _END)
    yield b"\0" * 1024


def _pack_item(item: bytes, path: bytes, name: str, parent: int | None) -> Iterator[bytes]:
    if name.count("/") >= DEEPEST:
        raise CopyError("%s is in more than %d folders" % (_show(path), DEEPEST))
    target = ""
    try:
        with _naming(path):
            found, number = _open_item(item, path, parent)
            if number is None:
                target = _to_text(os.readlink(item, dir_fd=parent))
    except FileNotFoundError:
        if not name:
            raise
        return
    if number is None:
        yield _header(name, found, tarfile.SYMTYPE, linkname=target)
        return
    try:
        if stat.S_ISREG(found.st_mode):
            yield from _pack_file(number, path, name, found)
            return
        with _naming(path):
            names = _list(number)
        yield _header(name, found, tarfile.DIRTYPE)
        prefix = name and name + "/"
        for below in names:
            yield from _pack_item(below, os.path.join(path, below), prefix + _to_text(below), number)
    finally:
        os.close(number)


def _open_item(item: bytes, path: bytes, parent: int | None) -> tuple[os.stat_result, int | None]:
    """Open a file or a folder, but no link: that is followed only where ``item`` is no name in a folder but a path."""
    found = os.stat(item, dir_fd=parent, follow_symlinks=parent is None)
    if stat.S_ISLNK(found.st_mode):
        return found, None
    if not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        raise CopyError("%s is neither a file, nor a folder, nor a link" % _show(path))
    # One that has become a pipe meanwhile must not be waited for.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if parent is not None else 0)
    changed = CopyError("%s has changed while it was read" % _show(path))
    try:
        number = os.open(item, flags, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise changed from None
        raise
    opened = os.fstat(number)
    if stat.S_IFMT(opened.st_mode) != stat.S_IFMT(found.st_mode):
        os.close(number)
        raise changed
    return opened, number


def _header(name: str, found: os.stat_result | None, kind: bytes, size: int = 0, linkname: str = "") -> bytes:
    member = tarfile.TarInfo(name or ".")
    member.type, member.size, member.linkname = kind, size, linkname
    if found is not None:
        member.mode, member.mtime = stat.S_IMODE(found.st_mode) & 0o777, found.st_mtime
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _pack_file(number: int, path: bytes, name: str, found: os.stat_result) -> Iterator[bytes]:
    left = found.st_size
    if not left:
        with _naming(path):
            text = os.read(number, 1)
        if text and not os.fstat(number).st_size:
            raise CopyError("%s does not tell its size, as the files of /proc" % _show(path))
    yield _header(name, found, tarfile.REGTYPE, left)
    while left > 0:
        with _naming(path):
            piece = os.read(number, min(PIECE, left))
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
        base, steps = target, [b"."]
    else:
        base, last = os.path.split(target)
        steps = [last]
        while not os.path.lexists(base):
            base, step = os.path.split(base)
            steps.insert(0, step)
    with contextlib.ExitStack() as opened:
        place = opened.enter_context(_open(base, _PLACE))
        staging = opened.enter_context(_staging(place, base))
        with _naming(target):
            _Tree(staging, links_out=links_out).receive(read)
        if len(steps) == 1:
            _bring(staging, _ITEM, place, steps[0], target, move=False)
        for step in steps[:-1]:
            base = os.path.join(base, step)
            with _naming(base):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(step, dir_fd=place)
                place = opened.enter_context(_open(step, _PLACE | os.O_NOFOLLOW, place))
        _bring(staging, _ITEM, place, steps[-1], target, move=True)


@contextlib.contextmanager
def _staging(beside: int, path: bytes) -> Iterator[int]:
    """A new folder in one that is open; it is removed with all that it holds."""
    name = b".jupyter-launcher-" + os.urandom(6).hex().encode()
    with _naming(path):
        os.mkdir(name, 0o700, dir_fd=beside)
    try:
        with _open(name, _FOLDER, beside) as folder:
            if os.listdir(folder):
                raise CopyError("%s is written to by somebody else" % _show(path))
            try:
                yield folder
            finally:
                _empty(folder)
    finally:
        # It fails where somebody else has moved the folder, and then it is not to be looked for.
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=beside)


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

    def __init__(self, staging: int, *, links_out: bool) -> None:
        self._staging = staging
        self._links_out = links_out
        self._begun = False
        # Those that are open, each within the one before: the path in the stream, the descriptor, and the member.
        self._folders: list[tuple[str, int, tarfile.TarInfo]] = []

    def receive(self, read: Callable[[int], bytes]) -> None:
        """Unpack all of the stream."""
        try:
            self._receive(read)
        finally:
            for _, folder, _ in self._folders:
                os.close(folder)

    def _receive(self, read: Callable[[int], bytes]) -> None:
        stream = _Limited(read)
        stream.allowed = MOST_HEADER
        try:
            with tarfile.open(  # type: ignore[call-overload] # which reads, and nothing else
                fileobj=stream, mode="r|", bufsize=PIECE, encoding="utf-8", errors="surrogateescape"
            ) as archive:
                while (member := archive.next()) is not None and member.type != _END:
                    archive.members = []  # or it would keep them all
                    if archive.pax_headers:  # and these for ever
                        raise CopyError(_GLOBAL_HEADERS)
                    try:
                        self._add(archive, member, stream)
                    except FileExistsError:
                        raise CopyError("what came has a member %a twice" % member.name[:200]) from None
                    stream.allowed = MOST_HEADER
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, KeyError, TypeError) as error:
            raise CopyError("what came is no tar stream that can be read: %s" % error) from None
        if member is None:
            raise CopyError(CUT_OFF)
        if not self._begun:
            raise CopyError(_HOLDS_NOTHING)
        while self._folders:
            self._close()

    def _close(self) -> None:
        _, folder, member = self._folders.pop()
        try:
            # Its owner can always look into it: what is here is moved, or removed, by its owner.
            _finish(folder, member, 0o500)
        finally:
            os.close(folder)

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, stream: _Limited) -> None:
        name, steps = member.name, member.name.split("/")
        parent, step = self._place(name, steps)
        if member.type == tarfile.DIRTYPE:
            os.mkdir(step, 0o700, dir_fd=parent)
            self._folders.append(("" if name == "." else name, os.open(step, _FOLDER, dir_fd=parent), member))
        elif member.type == tarfile.SYMTYPE and name != ".":
            if not self._links_out and _leads_out(member.linkname, len(steps) - 1):
                where = (name[:200], member.linkname[:200])
                raise CopyError("what came has a link that leads out of it: %a to %a" % where)
            os.symlink(_to_bytes(member.linkname), step, dir_fd=parent)
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse() and member.size >= 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(step, flags, 0o600, dir_fd=parent), "wb", buffering=0) as file:
                _unpack_file(archive, member, file, stream)
                _finish(file.fileno(), member)
        else:
            raise CopyError("what came has a member %a that is neither a file, nor a folder, nor a link" % name[:200])

    def _place(self, name: str, steps: list[str]) -> tuple[int, bytes]:
        """Where a member comes: a folder that was made here, and the name there."""
        if name == "." and not self._begun:
            self._begun = True
            return self._staging, _ITEM
        parent = "/".join(steps[:-1])
        while self._folders and self._folders[-1][0] != parent:
            self._close()
        if not self._folders or len(steps) > DEEPEST or {"", ".", ".."} & set(steps) or "\0" in name:
            raise CopyError("what came has a member %a in the wrong place" % name[:200])
        return self._folders[-1][1], _to_bytes(steps[-1])


def _finish(number: int, member: tarfile.TarInfo, always: int = 0) -> None:
    os.fchmod(number, member.mode & 0o777 | always)
    if 0 <= member.mtime < _LAST_TIME:
        os.utime(number, (member.mtime, member.mtime))


def _leads_out(target: str, depth: int) -> bool:
    """Whether a link leads out of the tree; ``depth``: how many folders of the tree it is in.

    Only the first steps may be `..`: after a step that is a link itself, nobody knows where they lead.
    """
    steps = [step for step in target.split("/") if step not in ("", ".")]
    ups = 0
    while ups < len(steps) and steps[ups] == "..":
        ups += 1
    return target.startswith("/") or not target or ups > depth or ".." in steps[ups:]


def _unpack_file(archive: tarfile.TarFile, member: tarfile.TarInfo, file: io.FileIO, stream: _Limited) -> None:
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


def _bring(source: int, name: bytes, place: int, new: bytes, path: bytes, *, move: bool) -> None:
    """Move an item into a folder, so that folders that are there stay; or only see whether it can be done.

    new: its name there; path: the whole path, for errors.

    Raises CopyError where a file would replace a folder, or a folder something else; PermissionError.
    """
    comes = os.lstat(name, dir_fd=source).st_mode
    with _naming(path):
        try:
            there = os.lstat(new, dir_fd=place).st_mode
        except FileNotFoundError:
            there = None
    if there is not None and stat.S_ISDIR(comes) != stat.S_ISDIR(there):
        words = ("a folder comes", "no folder") if stat.S_ISDIR(comes) else ("a file or a link comes", "a folder")
        raise CopyError("%s for %s, which is %s" % (words[0], _show(path), words[1]))
    if there is not None and stat.S_ISDIR(comes):
        with _open(name, _FOLDER, source) as folder, contextlib.ExitStack() as opened:
            os.fchmod(folder, 0o700)
            with _naming(path):
                onto = opened.enter_context(_open(new, _PLACE | os.O_NOFOLLOW, place))
            for below in _list(folder):
                _bring(folder, below, onto, below, os.path.join(path, below), move=move)
    elif move:
        with _naming(path):
            _move(source, name, place, new, path)
    elif not os.access(b".", os.W_OK | os.X_OK, dir_fd=place, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.path.dirname(path))


def _move(source: int, name: bytes, place: int, new: bytes, path: bytes) -> None:
    comes = os.lstat(name, dir_fd=source).st_mode
    with contextlib.ExitStack() as opened:
        if stat.S_ISDIR(comes):  # which cannot be moved without its write bit
            folder = opened.enter_context(_open(name, _FOLDER, source))
            os.fchmod(folder, 0o700)
            opened.callback(os.fchmod, folder, stat.S_IMODE(comes))
        try:
            os.rename(name, new, src_dir_fd=source, dst_dir_fd=place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return
    # Another file system is mounted below the target: it gets a copy first.
    with _staging(place, os.path.dirname(path)) as beside:
        if stat.S_ISLNK(comes):
            os.symlink(os.readlink(name, dir_fd=source), _ITEM, dir_fd=beside)
        else:
            _Tree(beside, links_out=True).receive(_reader(_pack(name, path, source)))
        _move(beside, _ITEM, place, new, path)


def _reader(pieces: Iterator[bytes]) -> Callable[[int], bytes]:
    rest, filled = b"", filter(None, pieces)

    def read(size: int) -> bytes:
        nonlocal rest
        rest = rest or next(filled, b"")
        piece, rest = rest[:size], rest[size:]
        return piece

    return read


def _empty(folder: int) -> None:
    """Remove all that a folder holds, also from folders that nobody may write to."""
    for name in os.listdir(folder):
        if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            with _open(os.fsencode(name), _FOLDER, folder) as below:
                os.fchmod(below, 0o700)
                _empty(below)
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)


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

"""The end of a server that is not taken apart: all that an end writes is written, and nothing else is another's."""

from __future__ import annotations

import bz2
import dbm.dumb
import gzip
import lzma
import shelve
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest

from jupyter_launcher.spec.server import launch_script
from tests.unit.fakes import session_spec

# What a server and its extensions may have open when they end. Each is in a reference cycle.
WRITERS = """
import atexit, bz2, codecs, ctypes, dbm.dumb, gc, gzip, io, logging, lzma, os, pathlib, shelve, socket, sqlite3, sys
import tempfile, threading, time, weakref, zipfile
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import MemoryHandler

kept = []
class Node:
    def __init__(self, item):
        self.item, self.me = item, self
        kept.append(self)
class OwnText(io.TextIOWrapper):
    pass
class OwnRaw(io.RawIOBase):
    def writable(self):
        return True
    def write(self, data):
        return os.write(own, data)
    def close(self):
        if not self.closed:
            os.write(own, b" closed")
        super().close()

Node(open("text", "w")).item.write("line\\nlast")
Node(open("binary", "wb")).item.write(b"last")
Node(open("appended", "a+b")).item.write(b"last")
Node(OwnText(open("derived", "wb"))).item.write("last")
Node(codecs.open("codecs", "w", "utf-8")).item.write("last")
own = os.open("raw", os.O_WRONLY | os.O_CREAT)
Node(io.BufferedWriter(OwnRaw())).item.write(b"last")
for module, name in ((gzip, "gz"), (bz2, "bz2"), (lzma, "xz")):
    Node(module.open(name, "wt")).item.write("last")
whole, begun = Node(zipfile.ZipFile("whole.zip", "w")), Node(zipfile.ZipFile("begun.zip", "w"))
whole.item.writestr("entry", "last")
begun.entry = begun.item.open("entry", "w")
begun.entry.write(b"last")
shelf = Node(shelve.Shelf(dbm.dumb.open("shelf", "c"), writeback=True))
shelf.item["key"] = ["last"]
database = Node(sqlite3.connect("database"))
database.item.execute("pragma journal_mode=wal")
database.item.execute("create table t (x)")
database.item.execute("insert into t values (1)")
database.item.commit()
temporary = Node(tempfile.NamedTemporaryFile(dir=".", prefix="temporary"))
folder = Node(tempfile.TemporaryDirectory(dir=".", prefix="temporary"))
log = logging.getLogger("app")
log.addHandler(MemoryHandler(100, target=logging.FileHandler("log")))
log.warning("last")
def write(name):
    pathlib.Path(name).write_text("last")
atexit.register(write, "atexit")
atexit.register(lambda: 1 / 0)
weakref.finalize(temporary, write, "finalized")
def work():
    time.sleep(0.1)
    write("thread")
threading.Thread(target=work).start()
pool = ThreadPoolExecutor(1)
pool.submit(work)
print("printed", end="")
ctypes.CDLL(None).printf(b" by C")
gc.freeze()
"""


def run(folder: Path, code: str, *, change: tuple[str, str] = ("", "")) -> subprocess.CompletedProcess[str]:
    """A script that is run as the server is, in a folder of its own."""
    (folder / "launch.py").write_text(launch_script(session_spec()).replace(*change))
    (folder / "jupyter-lab").write_text(textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, "launch.py", "jupyter-lab"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# A loop that is stopped, as a server's is, while a task waits that has used threads of AnyIO.
LEFT_TASK = """
import anyio, asyncio, pathlib, time
from anyio import to_thread
def work():
    loop.call_soon_threadsafe(loop.stop)
    time.sleep(0.3)
    pathlib.Path("busy").write_text("done")
async def left():
    async with anyio.create_task_group() as group:
        group.start_soon(to_thread.run_sync, work)
        await to_thread.run_sync(pathlib.Path("idle").write_text, "done")
        await asyncio.sleep(60)
loop = asyncio.new_event_loop()
task = loop.create_task(left())
loop.run_forever()
"""


def test_threads_of_a_task_that_was_left_hold_no_server_back(tmp_path: Path) -> None:
    assert run(tmp_path, LEFT_TASK).returncode == 0
    assert {name: (tmp_path / name).read_text() for name in ("idle", "busy")} == {"idle": "done", "busy": "done"}


def test_all_that_an_end_writes_is_written(tmp_path: Path) -> None:
    ended = run(tmp_path, WRITERS)
    assert (ended.returncode, ended.stdout) == (0, "printed by C")
    assert "ZeroDivisionError" in ended.stderr
    assert (tmp_path / "text").read_text() == "line\nlast"
    plain = ("binary", "appended", "derived", "codecs", "atexit", "finalized", "thread")
    assert {name: (tmp_path / name).read_text() for name in plain} == dict.fromkeys(plain, "last")
    assert (tmp_path / "raw").read_text() == "last closed"
    assert (tmp_path / "log").read_text() == "last\n"
    assert [module.open(tmp_path / name).read() for module, name in ((gzip, "gz"), (bz2, "bz2"), (lzma, "xz"))] == [
        b"last"
    ] * 3
    archives = ("whole.zip", "begun.zip")
    assert [zipfile.ZipFile(tmp_path / name).read("entry") for name in archives] == [b"last"] * 2
    with dbm.dumb.open(str(tmp_path / "shelf")) as pages:
        assert shelve.Shelf(cast("Any", pages))["key"] == ["last"]
    assert sorted(path.name for path in tmp_path.glob("[dt]*")) == ["database", "derived", "text", "thread"]


@pytest.mark.parametrize(
    ("last", "code", "seen"),
    [("sys.exit(0)", 0, ""), ("sys.exit(3)", 3, "freed"), ("sys.exit('why')", 1, "freed"), ("1 / 0", 1, "freed")],
)
def test_only_a_good_end_is_quick(tmp_path: Path, last: str, code: int, seen: str) -> None:
    told = "import os, sys\nclass Told:\n    def __del__(self, write=os.write): write(1, b'freed')\nsys.told = Told()\n"
    ended = run(tmp_path, told + last)
    assert (ended.returncode, ended.stdout) == (code, seen)
    assert ("Traceback" in ended.stderr) == (last == "1 / 0")
    assert ("why" in ended.stderr) == ("why" in last)


def test_a_file_that_cannot_be_written_does_not_keep_the_server(tmp_path: Path) -> None:
    full = """
    import os, sys
    read, write = os.pipe()
    sys.full = open(write, "wb", buffering=2**21)
    sys.full.write(bytes(2**20))
    print("printed", end="")
    """
    ended = run(tmp_path, full, change=("_PATIENCE = 5", "_PATIENCE = 0.1"))
    assert (ended.returncode, ended.stdout) == (0, "printed")
    assert "took too long to be written" in ended.stderr


def test_slow_files_are_all_written(tmp_path: Path) -> None:
    slow = """
    import io, os, sys, time
    class Raw(io.RawIOBase):
        def writable(self):
            return True
        def write(self, data):
            time.sleep(0.4)
            return os.write(1, data)
    sys.kept = [io.BufferedWriter(Raw()) for _ in range(3)]
    for file in sys.kept:
        file.write(b"last")
    """
    assert run(tmp_path, slow, change=("_PATIENCE = 5", "_PATIENCE = 1")).stdout == "last" * 3


def test_a_class_without_a_hash_keeps_nothing_from_being_written(tmp_path: Path) -> None:
    odd = """
    class Meta(type):
        __hash__ = None
        def __eq__(self, other):
            return self is other
    class Odd(metaclass=Meta):
        pass
    kept = [Odd(), open("text", "w")]
    kept.append(kept)
    kept[1].write("last")
    """
    assert run(tmp_path, odd).stderr == ""
    assert (tmp_path / "text").read_text() == "last"


def test_a_signal_does_not_break_off_what_is_written(tmp_path: Path) -> None:
    signals = """
    import io, os, signal, sys
    signal.signal(signal.SIGTERM, lambda *_: 1 / 0)
    class Raw(io.RawIOBase):
        def writable(self):
            return True
        def write(self, data):
            os.kill(os.getpid(), signal.SIGTERM)
            return os.write(1, data)
    sys.kept = io.BufferedWriter(Raw())
    sys.kept.write(b"last")
    """
    assert run(tmp_path, signals).stdout == "last"

"""A server that has ended as it should leaves at once, instead of taking its Python apart.

All that writes something then has happened before: threads that are no daemons have ended, handlers of ``atexit`` have
run (those of logging, coverage and extensions), and every open file is flushed or closed, files in reference cycles
included. A server that ends with an exit code or an exception ends as ever.

Upstream: none found; CPython frees 140,000 objects one by one although the process ends. Threads of AnyIO that hold a
server back: jupyterlab/jupyterlab#10442.
Leans on: ``run_script`` of launch.py; ``threading._shutdown`` and ``atexit._run_exitfuncs``, which are what Python
itself calls first at its end; ``gc.get_objects``, which lists all open files; ``stop`` of AnyIO's ``WorkerThread``.
Seen with: Python 3.11 and 3.13, AnyIO 4.16.
Without it: a stop takes 0.1 s longer, and now and then a server has to be killed.
Goes when: Python has a way to end without freeing all that it holds.
"""

import atexit
import gc
import operator
import os
import signal
import sys
import threading
import time

_PATIENCE = 5  # seconds, for each file

_run_script = run_script


def _call(function, *arguments):
    try:
        function(*arguments)
    except BaseException:  # noqa: BLE001 - as at Python's own end: one failure keeps nothing else from its end
        return


def _find_kinds(*names):
    """These classes, as far as their modules were imported, and all that were derived from them."""
    kinds = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        kinds += filter(None, [getattr(sys.modules.get(module), attribute, None)])
    for kind in kinds:
        kinds += type.__subclasses__(kind)
    return set(kinds)


def _watch(moved):
    """End, if one file takes long: it may be a pipe that nobody reads, or be held by a thread that never ends."""
    while time.monotonic() - moved[0] < _PATIENCE:
        time.sleep(0.05)
    os.write(2, b"jupyter-launcher: a file took too long to be written; what it and others still held is lost\n")
    os._exit(0)


def _close_files(moved):
    """Write what is written when these are freed. ``moved``: when the last one was done."""
    files = _find_kinds("_io._IOBase")
    buffered = _find_kinds("_io.TextIOWrapper", "_io.BufferedWriter", "_io.BufferedRandom", "_io.BufferedRWPair")
    # Those that are written in Python write something at their end, and each of these into those after it.
    archives = (
        {kind for kind in files if kind.__module__ != "_io"},
        _find_kinds("zipfile.ZipFile"),
        _find_kinds("shelve.Shelf"),
        _find_kinds("dbm.dumb._Database", "sqlite3.Connection", "tempfile._TemporaryFileCloser"),
    )
    gc.unfreeze()  # what was frozen is not listed
    held = gc.get_objects()
    streams = (sys.stdin, sys.stdout, sys.stderr)
    # By their ids: a class may have no hash.
    kinds = set(map(id, files.union(*archives)))
    found = [item for item in held if id(type(item)) in kinds]
    for closed in (*archives, ()):
        for item in found:
            if type(item) in buffered:
                _call(operator.methodcaller("flush"), item)
                moved[:] = [time.monotonic()]
        for item in found:
            if type(item) in closed and not any(item is stream for stream in streams):
                _call(operator.methodcaller("close"), item)
                moved[:] = [time.monotonic()]


def _end_workers():
    """End AnyIO's threads when they have done what they do: a loop that stops leaves the task that would end them."""
    kinds = tuple(_find_kinds("anyio._backends._asyncio.WorkerThread"))
    for thread in threading.enumerate():
        if isinstance(thread, kinds):
            _call(thread.stop)


def _leave():
    gc.disable()  # it may close what is below a file before the file is written
    _end_workers()
    _call(threading._shutdown)
    _call(atexit._run_exitfuncs)
    # A handler of the server's would break off what is written here.
    _call(signal.signal, signal.SIGTERM, signal.SIG_IGN)
    _call(signal.signal, signal.SIGINT, signal.SIG_IGN)
    moved = [time.monotonic()]
    _call(threading.Thread(target=_watch, args=[moved], daemon=True).start)
    _call(_close_files, moved)
    if "ctypes" in sys.modules:  # what libraries have printed
        _call(lambda: sys.modules["ctypes"].CDLL(None).fflush(None))
    os._exit(0)


def run_script():
    try:
        _run_script()
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    if sys.implementation.name == "cpython":
        _leave()

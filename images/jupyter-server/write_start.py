"""Run a server once, and write the regular expressions that it compiles for jupyter_launcher_start.py.

write_start.py      run by the server's Python
"""

import contextlib
import glob
import json
import marshal
import os
import runpy
import signal
import sys
import threading
import time
import urllib.request
import warnings
import zlib

from jupyter_launcher_start import EXPRESSIONS


def note_expressions():
    """Collect the arguments of each expression that is compiled from now on, under its text and flags."""
    import _sre

    expressions, last = {}, []
    try:
        from re import _compiler
    except ImportError:  # Python 3.10
        return expressions
    compile_anew, make = _compiler.compile, _sre.compile

    def make_and_note(pattern, flags, code, *groups):
        last[:] = [flags, b"".join(word.to_bytes(4, sys.byteorder) for word in code), *groups]
        return make(pattern, flags, code, *groups)

    def compile_and_note(pattern, flags=0):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            made = compile_anew(pattern, flags)
        for warning in told:
            warnings.warn_explicit(warning.message, None, warning.filename, warning.lineno)
        if not told and type(pattern) in (str, bytes):
            expressions[pattern, int(flags)] = tuple(last)
        return made

    _compiler.compile, _sre.compile = compile_and_note, make_and_note
    return expressions


def end_server(folder, answered):
    """Ask the server for what a browser asks first, note that it has answered, and end it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(1200):
        with contextlib.suppress(IndexError, OSError, ValueError):
            with open(glob.glob(f"{folder}/jpserver-*[0-9].json")[0]) as file:
                server = json.load(file)
            for path in ("api/contents?content=0", "lab", "lsp/status"):  # the last waits for the look for servers
                wanted = urllib.request.Request(
                    server["url"] + path, headers={"Authorization": f"token {server['token']}"}
                )
                opener.open(wanted, timeout=30).close()
            answered.append(True)
            break
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)


def run_server():
    """Run a server until it has answered; whether it has."""
    folder, answered = os.environ["JUPYTER_RUNTIME_DIR"], []
    threading.Thread(target=end_server, args=[folder, answered], daemon=True).start()
    sys.argv = [
        f"{sys.prefix}/bin/jupyter-lab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--notebook-dir={folder}",
    ]
    with contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[0], run_name="__main__")
    return bool(answered)


def write(expressions):
    # In a version of the format in which the same expressions are the same bytes.
    content = marshal.dumps((sys.version, dict(sorted(expressions.items(), key=repr))), 2)
    with open(EXPRESSIONS, "wb") as file:
        file.write(zlib.crc32(content).to_bytes(4, "big") + content)


def main():
    expressions = note_expressions()
    if not run_server():
        sys.exit("the server did not answer")
    write(expressions)


if __name__ == "__main__":
    main()

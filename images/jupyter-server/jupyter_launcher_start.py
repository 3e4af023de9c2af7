"""A quick start of this image's server: the regular expressions that every start needs are compiled.

jupyter_launcher_site.py calls ``use`` in the server's process alone. write_start.py writes the file beside this one
while the image is built. Where that does not fit this Python, or is not whole, Python compiles as ever.
"""

import marshal
import os
import sys
import zlib

EXPRESSIONS = f"{os.path.dirname(os.path.abspath(__file__))}/jupyter_launcher_start.expressions"


def use():
    try:
        import _sre
        from re import _compiler

        with open(EXPRESSIONS, "rb") as file:
            total, content = file.read(4), file.read()
        if zlib.crc32(content) != int.from_bytes(total, "big"):
            return
        version, known = marshal.loads(content)
        if version != sys.version:
            return
        compile_anew = _compiler.compile
    except (OSError, EOFError, ValueError, TypeError, ImportError, AttributeError):
        return

    def compile_known(pattern, flags=0):
        found = known.get((pattern, int(flags))) if type(pattern) in (str, bytes) else None
        if found is None:
            return compile_anew(pattern, flags)
        all_flags, code, *groups = found
        return _sre.compile(pattern, all_flags, memoryview(code).cast("I").tolist(), *groups)

    _compiler.compile = compile_known

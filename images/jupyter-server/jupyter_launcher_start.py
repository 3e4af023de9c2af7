"""A quick start of this image's server: its expressions are compiled, and its modules' code is in one file.

jupyter_launcher_site.py calls ``use`` in the server's process alone. write_start.py writes the two files beside this
one while the image is built. Where they do not fit Python, or are not whole, Python does as ever.
"""

import marshal
import os
import sys
from importlib import machinery

FOLDER = os.path.dirname(os.path.abspath(__file__))
FACTS, CODE = f"{FOLDER}/jupyter_launcher_start.facts", f"{FOLDER}/jupyter_launcher_start.code"
VERSION = [sys.version, sys.flags.optimize]


def use():
    try:
        with open(FACTS, "rb") as file:
            version, size, modules, expressions = marshal.load(file)
        code = os.open(CODE, os.O_RDONLY)
        if version == VERSION and os.fstat(code).st_size == size:
            use_modules(modules, code)
            use_expressions(expressions)
        else:
            os.close(code)
    except (OSError, EOFError, ValueError, TypeError, ImportError, AttributeError):
        return


def use_expressions(known):
    import _sre
    from re import _compiler

    compile_anew = _compiler.compile

    def compile_known(pattern, flags=0):
        found = known.get((pattern, int(flags))) if type(pattern) in (str, bytes) else None
        if found is None:
            return compile_anew(pattern, flags)
        all_flags, code, *groups = found
        return _sre.compile(pattern, all_flags, memoryview(code).cast("I").tolist(), *groups)

    _compiler.compile = compile_known


def use_modules(known, code):
    # Python finds each module as ever. Only the file with its code is not looked for.
    class Loader(machinery.SourceFileLoader):
        def get_code(self, fullname):
            try:
                *source, start, length = known[self.path]
                seen = os.stat(self.path)
                if source == [int(seen.st_mtime), seen.st_size]:
                    return marshal.loads(os.pread(code, length, start))
            except (KeyError, OSError, EOFError, ValueError, TypeError):
                pass
            return super().get_code(fullname)

    find_all = machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (Loader, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )

    def find(path):
        if not f"{path}/".startswith(f"{FOLDER}/"):
            raise ImportError(path)
        return find_all(path)

    sys.path_hooks.insert(0, find)
    sys.path_importer_cache.pop(FOLDER, None)

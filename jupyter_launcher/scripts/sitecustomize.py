# Runs in the image's Python before anything else of it, whatever its version; written by start.sh.
# Spares the server's start what it does without. Kernels and terminals get their environment, and this
# module, as without us.
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
with open("/proc/self/cmdline", "rb") as _file:
    _names = [os.path.basename(part.decode("utf-8", "replace")) for part in _file.read().split(b"\0")[:4]]

if "jupyter" not in _names:  # which becomes jupyter-lab, and so must hand on the way here
    _before = os.environ.pop("JUPYTER_LAUNCHER_PYTHONPATH", "")
    if _before:
        os.environ["PYTHONPATH"] = _before
    else:
        os.environ.pop("PYTHONPATH", None)

# The image's own module of this name, if it has one.
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _here]
_ours = sys.modules.pop("sitecustomize", None)
try:
    import sitecustomize  # noqa: F401
except ImportError:
    sys.modules["sitecustomize"] = _ours


def _tune():
    import atexit
    import gc
    import importlib.machinery
    import importlib.util
    import subprocess

    # It builds a grammar when it is imported: longer than all the rest of a start. jsonschema, which
    # asks for it, does without: it only loses the `iri` formats, which Jupyter does not use.
    sys.modules.setdefault("rfc3987_syntax", None)

    # JupyterLab asks node for yarn's configuration, and since version 4 can't read its yarn's answer.
    ask = subprocess.check_output

    def check_output(*command, **options):
        lab = getattr(sys.modules.get("jupyterlab"), "__version__", "")
        of_yarn = command and isinstance(command[0], list) and command[0][2:] == ["config", "--json"]
        return b"" if of_yarn and lab >= "4" else ask(*command, **options)

    subprocess.check_output = check_output

    # A start makes 140,000 objects that stay: nothing for the collector. After its first look, which is
    # beyond the start, all is as without us. At the end the process takes its objects with it.
    before = gc.get_threshold()

    def looked(_phase, _info):
        gc.callbacks.remove(looked)
        gc.set_threshold(*before)
        if subprocess.check_output is check_output:
            subprocess.check_output = ask

    gc.callbacks.append(looked)
    gc.set_threshold(200_000, *before[1:])
    atexit.register(gc.freeze)

    # Every tenth module of a start is one that requests needs, for listings of extensions that few have.
    # So it is loaded when it is used. Before this Python, two threads that use it first could meet.
    class Later:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "requests":
                return None
            sys.meta_path.remove(Later)
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = importlib.util.LazyLoader(spec.loader)
            return spec

    if sys.version_info >= (3, 12, 3):
        # After the finders of others, which may want to know of an import.
        sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), Later)


if any(name.startswith("jupyter-lab") for name in _names) and "jupyter" not in _names:
    _tune()

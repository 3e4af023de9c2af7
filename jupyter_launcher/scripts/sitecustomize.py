# Runs in the image's Python before anything else of it, whatever its version; written by start.sh.
# Spares the server's start what it does without. Kernels and terminals get their environment, and this
# module, as without us.
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
with open("/proc/self/cmdline", "rb") as _file:
    _names = [os.path.basename(part.decode("utf-8", "replace")) for part in _file.read().split(b"\0")[:4]]


def _tune():
    import atexit
    import gc
    import importlib.machinery
    import importlib.util
    import subprocess

    # It builds a grammar when it is imported: longer than all the rest of a start. jsonschema, which
    # asks for it, does without: it only loses the `iri` formats, which Jupyter does not use.
    sys.modules.setdefault("rfc3987_syntax", None)

    # A start makes 140,000 objects that stay: nothing for the collector, which goes on as ever after its
    # first look. At the end the process takes them with it.
    before = gc.get_threshold()

    def first(_phase, _info):
        gc.callbacks.remove(first)
        gc.set_threshold(*before)

    gc.callbacks.append(first)
    gc.set_threshold(200_000, *before[1:])
    atexit.register(gc.freeze)

    # Every tenth module of a start is one that requests needs, for listings of extensions that few have.
    # It is loaded when it is used. (In older Pythons two threads that use it first get in each other's way.)
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
        sys.meta_path.insert(0, Later)

    # JupyterLab asks node for yarn's configuration, and since version 4 can't read the answer of its yarn.
    ask = subprocess.check_output

    def answer(command, *args, **options):
        lab = getattr(sys.modules.get("jupyterlab"), "__version__", "3")
        if command[2:] == ["config", "--json"] and "yarn" in str(command[1]) and not lab.startswith("3."):
            subprocess.check_output = ask
            return b""
        return ask(command, *args, **options)

    subprocess.check_output = answer


if "jupyter" not in _names:  # which becomes jupyter-lab, and so must hand on the way here
    _before = os.environ.pop("JUPYTER_LAUNCHER_PYTHONPATH", "")
    if _before:
        os.environ["PYTHONPATH"] = _before
    else:
        os.environ.pop("PYTHONPATH", None)
    if any(name.startswith("jupyter-lab") for name in _names):
        _tune()

# The image's own module of this name, if it has one.
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _here]
_ours = sys.modules.pop("sitecustomize", None)
try:
    import sitecustomize  # noqa: F401
except ImportError:
    sys.modules["sitecustomize"] = _ours

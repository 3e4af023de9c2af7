# Runs in the image's Python before anything else of it, whatever its version; written by start.sh.
# rfc3987_syntax builds a grammar when it is imported, at each start of a server: longer than all the
# rest of it. jsonschema, which asks for it, does without: it only loses the `iri` formats, which
# Jupyter does not use. Kernels and terminals get their environment, and this module, as without us.
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
    if any(name.startswith("jupyter-lab") for name in _names):
        sys.modules.setdefault("rfc3987_syntax", None)

# The image's own module of this name, if it has one.
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _here]
_ours = sys.modules.pop("sitecustomize", None)
try:
    import sitecustomize  # noqa: F401
except ImportError:
    sys.modules["sitecustomize"] = _ours

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
    import gc
    import subprocess

    # It builds a grammar when it is imported: longer than all the rest of a start. jsonschema, which
    # asks for it, does without: it only loses the `iri` formats, which Jupyter does not use.
    sys.modules.setdefault("rfc3987_syntax", None)

    # JupyterLab asks node for yarn's configuration, and in version 4 can't read its yarn's answer.
    ask = subprocess.check_output

    def check_output(*command, **options):
        lab = getattr(sys.modules.get("jupyterlab"), "__version__", "")
        of_yarn = command and isinstance(command[0], list) and command[0][2:] == ["config", "--json"]
        return b"" if of_yarn and lab.startswith("4.") else ask(*command, **options)

    subprocess.check_output = check_output

    # A start makes 140,000 objects that stay: nothing for the collector. Its first look is beyond the
    # start, and ends this and the above, where nobody has set something else by then.
    before = gc.get_threshold()
    during = (200_000, *before[1:])

    def looked(_phase, _info):  # stays: a look that others watch too must find the same list at its end
        if gc.get_threshold() == during:
            gc.set_threshold(*before)
        if subprocess.check_output is check_output:
            subprocess.check_output = ask

    gc.callbacks.append(looked)
    gc.set_threshold(*during)


if any(name.startswith("jupyter-lab") for name in _names) and "jupyter" not in _names:
    _tune()

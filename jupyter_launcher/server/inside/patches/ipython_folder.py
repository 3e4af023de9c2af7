"""The server does not import IPython to learn where its folder is.

``notebook_shim`` asks at each start, for what extensions of the classic notebook had there. Where IPython would take
the folder that its variable names, or ``~/.ipython``, that is told without it.

Upstream: none found; notebook_shim has it "after a migration period".
Leans on: ``NotebookAppTraits.nbextensions_path``; ``IPython.paths.get_ipython_dir``.
Seen with: notebook_shim 0.2.4, IPython 9.
Without it: a start takes 5 % longer.
Goes when: notebook_shim leaves IPython's folder out.
"""

try:
    from notebook_shim.traits import NotebookAppTraits

    _ask_ipython = NotebookAppTraits.nbextensions_path.fget
except (ImportError, AttributeError):  # another server
    pass
else:
    import importlib.util
    import os
    import sys

    from jupyter_core.paths import jupyter_path

    def _find_folder():
        """IPython's folder; None where IPython itself has to decide."""
        home = os.path.realpath(os.path.expanduser("~"))
        others = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "ipython")
        named = os.environ.get("IPYTHONDIR")
        folder = os.path.normpath(os.path.expanduser(os.path.join(home, ".ipython") if named is None else named))
        if os.path.exists(others) or "IPython" in sys.modules or importlib.util.find_spec("IPython") is None:
            return None
        try:
            os.path.isdir(folder) or os.mkdir(folder)
        except OSError:
            return None
        return folder if os.access(folder, os.W_OK) else None

    def _find_extensions(self):
        folder = _find_folder()
        if folder is None:
            return _ask_ipython(self)
        return [*self.extra_nbextensions_path, *jupyter_path("nbextensions"), os.path.join(folder, "nbextensions")]

    NotebookAppTraits.nbextensions_path = property(_find_extensions)

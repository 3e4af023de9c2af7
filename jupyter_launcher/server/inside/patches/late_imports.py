"""Modules that Jupyter imports for what few sessions do are imported when they are used.

In place of such a module, the one module that imports it gets a stand-in, which imports it at its first use. All others
get the module itself, and the import system sees nothing of this.

Upstream: jupyter_server#1559, which asks for imports that are late; none found for these modules.
Leans on: ``jupyterlab_server.listings_handler`` and ``jupyter_server.gateway.managers`` use ``requests`` and
``websocket`` in functions alone; an import statement calls ``builtins.__import__``.
Seen with: jupyterlab_server 2.28.1, jupyter_server 2.21.1.
Without it: a start takes 8 % longer.
Goes when: Jupyter imports them where it uses them.
"""

import builtins
import importlib.machinery
import importlib.util
import sys
import types


class _Late:
    """In place of what ``make`` makes, when something of it is wanted."""

    def __getattr__(self, name):
        return getattr(self.make(), name)


class _StandIn(_Late, types.ModuleType):
    def make(self):
        return importlib.import_module(self.__name__)


# The module that imports → what it gets.
_late_imports = {
    "jupyterlab_server.listings_handler": _StandIn("requests"),
    "jupyter_server.gateway.managers": _StandIn("websocket"),
}


class _LateImports:
    """Finds what the other finders find, and has it run with another import."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # noqa: ARG004 - what finders take
        if name not in _late_imports:
            return None
        stand_in = _late_imports.pop(name)
        spec = importlib.util.find_spec(name)
        is_file = isinstance(getattr(spec, "loader", None), importlib.machinery.SourceFileLoader)
        # A module that is not there fails at once, as ever.
        if is_file and stand_in.__name__ not in sys.modules and importlib.util.find_spec(stand_in.__name__):
            spec.loader.exec_module = _execute_with(stand_in, spec.loader.exec_module)
        return spec


def _execute_with(stand_in, execute):
    def execute_module(module):
        def import_late(name, *more, **options):
            # A statement hands over its module's names, its function's, what it takes of it, and its level.
            if name == stand_in.__name__ and len(more) == 4:
                scope, _, wanted, level = more
                if scope is vars(module) and not wanted and not level:
                    return stand_in
            return before(name, *more, **options)

        before, builtins.__import__ = builtins.__import__, import_late
        try:
            execute(module)
        finally:
            if builtins.__import__ is import_late:
                builtins.__import__ = before

    return execute_module


sys.meta_path.insert(0, _LateImports)

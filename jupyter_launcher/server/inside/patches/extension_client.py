"""JupyterLab's extension manager makes its client for the package index at the first look at that.

Needs ``late_imports``.

Upstream: none found; jupyterlab#17035 asks to do without httpx.
Leans on: ``jupyterlab.extensions.pypi`` uses of ``httpx`` its ``__version__``, and one ``AsyncClient`` that a
``PyPIExtensionManager`` makes for itself.
Seen with: JupyterLab 4.6.6.
Without it: a start takes 4 % longer.
Goes when: JupyterLab makes the client when it asks.
"""


class _LateClient(_Late):
    _client = None

    def __init__(self, *arguments, **options):
        self._made_with = arguments, options

    def make(self):
        if self._client is None:
            arguments, options = self._made_with
            self._client = importlib.import_module("httpx").AsyncClient(*arguments, **options)
        return self._client

    async def __aenter__(self):
        return await self.make().__aenter__()

    async def __aexit__(self, *error):
        return await self.make().__aexit__(*error)


class _Httpx(_StandIn):
    AsyncClient = _LateClient

    @property
    def __version__(self):
        import importlib.metadata

        try:
            return importlib.metadata.version("httpx")
        except ImportError:  # it was not installed as a package
            return importlib.import_module("httpx").__version__


_late_imports["jupyterlab.extensions.pypi"] = _Httpx("httpx")

"""The launcher's look whether a request without a token is refused leaves nothing in the session's log.

Only the first such request of a server is the launcher's; all others are logged.

Upstream: none; jupyter_server logs each refusal as a warning, twice.
Leans on: ``JupyterHandler.log``, which ``log_request`` and ``APIHandler.write_error`` use.
Seen with: jupyter_server 1.24.0 and 2.21.1.
Without it: every log begins with two warnings that nobody has caused.
Goes when: a server tells without a refusal that it wants a token.
"""

try:
    from jupyter_server.base.handlers import JupyterHandler

    _log_of_handler = JupyterHandler.log.fget
except (ImportError, AttributeError):  # another server, which logs it
    pass
else:
    import logging

    _silent = logging.Logger("look", logging.CRITICAL + 1)  # noqa: LOG001 - the server's set-up of its logging resets all others
    _looks = []

    def _log_of_all_but_the_look(self):
        request = self.request
        is_look = request.path.endswith("/api/contents") and request.query == "content=0&no_track_activity=1"
        if is_look and not _looks and not {"Authorization", "Cookie"} & set(request.headers):
            _looks.append(request)
        return _silent if _looks and _looks[0] is request else _log_of_handler(self)

    JupyterHandler.log = property(_log_of_all_but_the_look)

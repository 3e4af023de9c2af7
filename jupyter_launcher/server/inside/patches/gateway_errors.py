"""An error of the gateway comes whole to who has asked, such as why a kernel did not start.

Upstream: none filed.
Leans on: ``APIHandler.write_error`` takes ``log_message`` of the error, without what is to be put into it.
Seen with: jupyter_server 2.21.1.
Without it: "Error from Gateway: [%s] %s.", and only the server's log says why.
Goes when: the answer has the error's own message.
"""

try:
    from jupyter_server.base.handlers import APIHandler
    from tornado.web import HTTPError

    _write_error = APIHandler.write_error
except (ImportError, AttributeError):  # another jupyter_server
    pass
else:

    class _WholeError(HTTPError):
        log_message = None  # a property of newer tornados, which doubles each percent sign

    def _write_whole(self, status_code, **options):
        kind, error, trace = options.get("exc_info") or (None, None, None)
        if isinstance(error, HTTPError) and error.args and error.log_message:
            try:
                whole = error.log_message % error.args
            except (TypeError, ValueError):  # it is whole, and has a percent sign
                pass
            else:
                told = _WholeError(error.status_code, reason=error.reason)
                told.log_message = whole
                options["exc_info"] = (kind, told, trace)
        return _write_error(self, status_code, **options)

    APIHandler.write_error = _write_whole

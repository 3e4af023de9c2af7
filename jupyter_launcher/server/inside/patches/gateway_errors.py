"""Why a gateway starts no kernel, in the gateway's words.

Upstream: none filed.
Leans on: ``jupyter_server.gateway.gateway_client`` raises ``web.HTTPError`` with a format and what belongs into it, and
``APIHandler.write_error`` answers with the format alone.
Seen with: jupyter_server 2.21.1, tornado 6.6.
Without it: a browser is told ``Error from Gateway: [%s] %s``, whatever the reason is; and a kernel's ``%`` four times.
Goes when: ``write_error`` takes ``HTTPError.get_message``.
"""

try:
    from jupyter_server.gateway import gateway_client as _gateway_client

    _gateway_web = _gateway_client.web
except (ImportError, AttributeError):  # another jupyter_server, with its own errors
    pass
else:
    import types

    # tornado doubles each "%" for its log: the gateway's has done it already.
    def _init_formatted(self, status_code=500, log_message=None, *args, **kwargs):
        words = log_message % args if args else log_message
        _gateway_web.HTTPError.__init__(self, status_code, words and words.replace("%%", "%"), **kwargs)

    # Python prints no traceback of a class without a module, and a configuration has none.
    _of_class = {"__init__": _init_formatted, "__module__": _gateway_web.HTTPError.__module__}
    _FormattedError = type("_FormattedError", (_gateway_web.HTTPError,), _of_class)
    _gateway_client.web = types.SimpleNamespace(**{**vars(_gateway_web), "HTTPError": _FormattedError})

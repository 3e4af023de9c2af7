"""A client of the launcher whose connection to a kernel was lost gets what it has missed.

Such a client sends how many messages it has got, as ``jupyter_launcher_seen`` in the query of its websocket and in each
ping. What it has not got yet is kept. When its connection ends without a close, its place at the kernel is kept as
well, on a gateway too, and it may come again with the same ``session_id``. The header ``X-Jupyter-Launcher-Next`` of
the answer says with which message it goes on.

Upstream: jupyter_server keeps messages from the moment on at which it notices that a connection has ended, where no
other client is connected to the kernel, and with a gateway not at all.
Leans on: ``KernelWebsocketHandler.pre_get``, ``open``, ``on_close``, ``on_ping``, ``write_message`` and ``connection``;
``websocket_handler`` of the connection.
Seen with: jupyter_server 2.21.1.
Without it: the output of a long cell has a gap where the connection was lost.
Goes when: jupyter_server counts the messages of a websocket.
"""

try:
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

    _pre_get = KernelWebsocketHandler.pre_get
    _open_websocket = KernelWebsocketHandler.open
    _on_close = KernelWebsocketHandler.on_close
except (ImportError, AttributeError):  # another jupyter_server
    pass
else:
    import asyncio
    import collections
    import contextlib

    from jupyter_core.utils import ensure_async
    from tornado import web
    from tornado.websocket import WebSocketClosedError

    _KEPT_SECONDS = 90
    _KEPT_BYTES = 2**27
    _records = {}

    class _Record:
        """What a client has not got yet; ``first`` is the number of the first of these messages."""

        def __init__(self):
            self.messages = collections.deque()
            self.first = 0
            self.size = 0
            self.connection = self.handler = self.timer = None

        def add(self, message, binary):
            self.messages.append((message, binary))
            self.size += len(message)
            while self.size > _KEPT_BYTES:
                self._drop_first()

        def acknowledge(self, seen):
            while self.messages and self.first < seen:
                self._drop_first()

        def _drop_first(self):
            self.size -= len(self.messages.popleft()[0])
            self.first += 1

    async def _pre_get_or_find(self):
        key = self.kernel_id, self.get_argument("session_id", "")
        seen = self.get_argument("jupyter_launcher_seen", "")
        if not (key[1] and seen.isdecimal()):
            await _pre_get(self)
            return
        record = _records.get(key)
        if record is None or record.connection is None or self.kernel_id not in self.kernel_manager:
            await _pre_get(self)
            record = _Record()
        else:
            if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, "execute", "kernels")):
                raise web.HTTPError(403)
            record.acknowledge(int(seen))
            self.connection = record.connection
        self._launcher_key, self._launcher_record = key, record
        self.set_header("X-Jupyter-Launcher-Next", str(record.first))

    async def _open_or_resume(self, *args, **options):
        record = getattr(self, "_launcher_record", None)
        # Else small messages wait up to 40 ms for what acknowledges the one before, for browsers too. Not earlier:
        # tornado takes it back when it has answered the request.
        self.set_nodelay(True)
        if record is None or record.connection is None:
            if record is not None:
                record.connection, record.handler = self.connection, self
                _records[self._launcher_key] = record
            await _open_websocket(self, *args, **options)
            return
        if _records.get(self._launcher_key) is not record:  # its time is over
            self.close()
            return
        super(KernelWebsocketHandler, self).open()
        before, record.handler = record.handler, self
        record.connection.websocket_handler = self
        before.close()
        if record.timer is not None:
            record.timer.cancel()
        for message, binary in record.messages:
            _write(self, message, binary)

    def _on_close_or_keep(self):
        record = getattr(self, "_launcher_record", None)
        if record is None:
            _on_close(self)
        elif record.handler is self:
            if self.close_code == 1000 or self.kernel_id not in self.kernel_manager:
                _end(self)
            else:
                record.timer = asyncio.get_running_loop().call_later(_KEPT_SECONDS, _end, self)
        elif record.handler is None:  # it was never opened
            _on_close(self)

    def _end(handler):
        record = handler._launcher_record
        if record.handler is handler:
            _records.pop(handler._launcher_key, None)
            _on_close(handler)

    def _write(handler, message, binary):
        with contextlib.suppress(WebSocketClosedError):  # it is kept
            super(KernelWebsocketHandler, handler).write_message(message, binary)

    def _keep_and_write(self, message, *args, **options):
        record = getattr(self, "_launcher_record", None)
        if record is None:
            return super(KernelWebsocketHandler, self).write_message(message, *args, **options)
        is_binary = isinstance(message, bytes)
        record.add(message, is_binary)
        return _write(self, message, is_binary)

    def _on_ping(self, data):
        record = getattr(self, "_launcher_record", None)
        if record is not None and data.isdigit():
            record.acknowledge(int(data))

    KernelWebsocketHandler.pre_get = _pre_get_or_find
    KernelWebsocketHandler.open = _open_or_resume
    KernelWebsocketHandler.on_close = _on_close_or_keep
    KernelWebsocketHandler.write_message = _keep_and_write
    KernelWebsocketHandler.on_ping = _on_ping

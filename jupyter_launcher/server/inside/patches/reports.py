"""The server tells the launcher what Jupyter does not: processes that were killed for memory, and the last write.

Both stand in headers of the answers for which the launcher asks anyway, and which need the token. A kill is logged too.

Upstream: none; jupyter_server knows only that a kernel has died, and takes no note of what is saved.
Leans on: ``ContentsHandler.finish``, ``APIStatusHandler.finish``; ``ServerApp.write_server_info_file``,
``contents_manager`` and its methods ``save``, ``copy``, ``rename``, ``delete``.
Seen with: jupyter_server 1.24.0 and 2.21.1.
Without it: ``SessionStatus.oom_kills`` is None, and neither ``activity`` nor ``idle_timeout`` knows of what is saved.
Goes when: jupyter_server reports why a kernel died, and counts a write of contents as an activity of its own kind.
"""

try:
    from jupyter_server.serverapp import ServerApp
    from jupyter_server.services.api.handlers import APIStatusHandler
    from jupyter_server.services.contents.handlers import ContentsHandler

    _write_before_reports = ServerApp.write_server_info_file
except (ImportError, AttributeError):  # another server
    pass
else:
    import asyncio
    import functools
    import time

    from tornado.ioloop import IOLoop

    _writes = []  # when contents were written last, seconds since the epoch

    def _read_oom_kills():
        # Control groups of version 2, and of version 1.
        for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
            try:
                with open(path) as file:
                    return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
            except (OSError, ValueError, StopIteration):
                continue
        return None

    def _report(handler_class):
        finish = handler_class.finish

        # Not `get`: the server looks whether its own decorator for authentication is around that.
        @functools.wraps(finish)
        def report_and_finish(self, *args, **options):
            if self.get_status() == 200:  # so the token was there
                kills = _read_oom_kills()
                if kills is not None:
                    self.set_header("X-Jupyter-Launcher-OOM-Kills", str(kills))
                for moment in _writes:
                    self.set_header("X-Jupyter-Launcher-Last-Write", f"{moment:.3f}")
            return finish(self, *args, **options)

        handler_class.finish = report_and_finish

    def _note_writes(contents, name):
        method = getattr(contents, name, None)

        @functools.wraps(method)
        def write_and_note(*args, **options):
            _writes[:] = [time.time()]
            return method(*args, **options)

        if method is not None:
            setattr(contents, name, write_and_note)

    async def _log_oom_kills(app):
        known = _read_oom_kills()
        while known is not None:
            await asyncio.sleep(5)
            kills = _read_oom_kills()
            if kills is not None and kills > known:
                app.log.warning("a process of this session was killed for memory, %d so far", kills)
                known = kills

    def _write_and_watch(self):
        _write_before_reports(self)
        for name in ("save", "copy", "rename", "delete"):
            _note_writes(self.contents_manager, name)
        # Before jupyter_server 1.9 the server's loop is made later, and is this one.
        (getattr(self, "io_loop", None) or IOLoop.current()).add_callback(_log_oom_kills, self)

    _report(ContentsHandler)
    _report(APIStatusHandler)
    ServerApp.write_server_info_file = _write_and_watch

"""The session ends when nobody uses it, and so does a kernel, as ``idle_timeout`` and ``idle_kernel_timeout`` say.

Use is a kernel that is busy or has just been, a terminal in whose foreground something other than its shell runs, what
is typed or printed in a terminal, a command of ``Session.run``, for which run_command.py holds a lock on the file
``commands``, and a write of contents. Requests are none, so an open tab alone is none.

Upstream: jupyter/notebook#2963, jupyter_server#432: ``shutdown_no_activity_timeout`` ends a session with a job in a
terminal, and never one with an open tab; it looks once a minute.
Leans on: ``ServerApp.write_server_info_file``, ``ServerApp.kernel_manager``: ``list_kernels``, which asks the gateway,
and ``shutdown_kernel``; the setting ``terminal_manager``, its ``terminals`` with ``last_activity`` and ``ptyproc``.
Needs ``reports``.
Seen with: jupyter_server 1.24.0 and 2.21.1, terminado 0.18.
Without it: neither limit has an effect.
Goes when: jupyter_server's own limit counts the same as use.
"""

import asyncio
import fcntl
import inspect
import os
import signal
import threading
import time

from jupyter_server.serverapp import ServerApp
from tornado.ioloop import IOLoop

_idle_timeout = _idle_kernel_timeout = None
# {limits}

_write_before_idleness = ServerApp.write_server_info_file


def _has_job(terminal):
    """Whether something other than its shell runs in a terminal's foreground."""
    try:
        return os.tcgetpgrp(terminal.ptyproc.fd) not in (terminal.ptyproc.pid, 0)
    except (AttributeError, OSError):  # it has ended
        return False


def _look_at_commands():
    """What changes with each command of the launcher's, and whether one runs."""
    try:
        file = os.open(os.environ.get("JUPYTER_RUNTIME_DIR", "") + "/../commands", os.O_RDWR)
    except OSError:  # there was none yet
        return None, False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None, True
    else:
        return os.fstat(file).st_mtime_ns, False
    finally:
        os.close(file)


class _Idleness:
    """Counts for how long nothing was done: in the session, and in each kernel.

    Seconds are those between two looks. So what is paused is not used up, and after a pause everything counts anew.
    """

    def __init__(self):
        self.seconds = 0
        self.kernels = {}  # its id → what it was seen to have done last, and the seconds since then
        self._others = None

    def count(self, passed, kernels, others, has_job):
        """Take in one look.

        passed: seconds since the look before, None: not known. kernels: an id → whether it is busy, and its last
        activity. others: changes with each other use.
        """
        before, self.kernels = self.kernels, {}
        in_use = passed is None or has_job or others != self._others
        self._others = others
        for kernel, (is_busy, mark) in kernels.items():
            known, seconds = before.get(kernel, (None, 0))
            is_used = passed is None or is_busy or mark != known
            self.kernels[kernel] = (mark, 0 if is_used else seconds + passed)
            in_use = in_use or is_busy or mark != known
        self.seconds = 0 if in_use else self.seconds + passed


async def _look_for_use(app):
    models = app.kernel_manager.list_kernels()
    if inspect.isawaitable(models):
        models = await models
    kernels = {item["id"]: (item.get("execution_state") == "busy", str(item.get("last_activity"))) for item in models}
    terminals = dict(getattr(app.web_app.settings.get("terminal_manager"), "terminals", {}))
    others = {name: str(getattr(item, "last_activity", None)) for name, item in terminals.items()}
    commands, is_running = _look_at_commands()
    return kernels, (list(_writes), others, commands), is_running or any(map(_has_job, terminals.values()))


async def _shut_down_idle_kernels(app, idleness):
    ended = []
    for kernel, (_, seconds) in idleness.kernels.items():
        if _idle_kernel_timeout is not None and seconds >= _idle_kernel_timeout:
            app.log.warning("kernel %s was idle for %d s; it ends", kernel, seconds)
            ended.append(app.kernel_manager.shutdown_kernel(kernel))
    await asyncio.gather(*filter(inspect.isawaitable, ended))


def _end(app, seconds):
    app.log.warning("the session was idle for %d s; it ends", seconds)
    # As at the end of a lease: a server whose gateway is gone never ends when it is asked.
    killer = threading.Timer(20, os.kill, (os.getpid(), signal.SIGKILL))
    killer.daemon = True
    killer.start()
    os.kill(os.getpid(), signal.SIGTERM)


async def _watch_idleness(app):
    pause = min(15, max(0.2, min(filter(None, (_idle_timeout, _idle_kernel_timeout))) / 10))
    idleness = _Idleness()
    was_logged = False
    passed = None
    looked = time.monotonic()
    while True:
        asleep = time.monotonic()
        await asyncio.sleep(pause)
        now = time.monotonic()
        # Longer than it should: the container was paused, or the machine suspended.
        passed = None if passed is None or now - asleep > pause + 5 else min(now - looked, 2 * pause + 5)
        looked = now
        try:
            idleness.count(passed, *await _look_for_use(app))
            passed = 0
            await _shut_down_idle_kernels(app, idleness)
        except Exception:
            # Nobody knows whether the session is in use.
            passed = None
            if not was_logged:
                app.log.exception("nobody could look whether the session is in use")
            was_logged = True
            continue
        if _idle_timeout is not None and idleness.seconds >= _idle_timeout:
            _end(app, idleness.seconds)
            return


def _write_and_watch_idleness(self):
    _write_before_idleness(self)
    # Before jupyter_server 1.9 the server's loop is made later, and is this one.
    (getattr(self, "io_loop", None) or IOLoop.current()).add_callback(_watch_idleness, self)


ServerApp.write_server_info_file = _write_and_watch_idleness

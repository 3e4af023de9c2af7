"""The server of a pool goes into the pipeline directory when that is mounted, and says whether it can work there.

Upstream: none.
Leans on: ``ServerApp.write_server_info_file``, ``ServerApp.io_loop``, ``ServerApp.root_dir``, ``ServerApp.web_app``,
and tornado's ``Application.log_request``, which is called with each request that was answered.
Comes after ``idle``, for which it counts as use that the server waits.
Seen with: jupyter_server 2.21.1.
Without it: a session of a pool cannot be claimed: its terminals would begin in the directory below the mount.
Goes when: a server can be told to change its directory.
"""

import os

from jupyter_server.serverapp import ServerApp
from tornado.ioloop import IOLoop

_write_before_claim = ServerApp.write_server_info_file
_claimed = []
_look_before_claim = globals().get("_look_for_use")  # of idle, where the session has a limit


async def _look_for_use(app):
    kernels, others, has_job = await _look_before_claim(app)
    return kernels, others, has_job or not _claimed


def _work_in(folder, writable):
    """``yes``, or what keeps this server from working there; start.sh looks for the same."""
    import tempfile

    try:
        os.chdir(folder)
        os.close(os.open(".", os.O_RDONLY | os.O_DIRECTORY))
        # A seccomp profile that does not know the call says "no" by mistake, so a try decides.
        if writable and not os.access(".", os.W_OK | os.X_OK):
            os.rmdir(tempfile.mkdtemp(prefix=".jupyter-launcher-", dir="."))
    except OSError as error:
        return error.strerror or str(error)  # no names, so that it is the same text each time
    return "yes"


def _note_answer(app, path):
    """Make a file as soon as somebody was answered who has the token: the claim has come to its end."""
    log = app.log_request

    def log_request(handler):
        log(handler)
        if handler.get_status() == 200 and "/api/contents" in handler.request.path:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            app.log_request = log

    app.log_request = log_request


def _wait_for_claim(self):
    _write_before_claim(self)
    run = os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], "..")
    for name in ("claim.answer", "claim"):
        os.mkfifo(os.path.join(run, name), 0o600)
    # Open for both, so that it has no end.
    asked = os.open(os.path.join(run, "claim"), os.O_RDWR | os.O_NONBLOCK)
    loop = getattr(self, "io_loop", None) or IOLoop.current()

    def answer(*_):
        _claimed.append(True)
        writable = os.read(asked, 1) == b"w"
        loop.remove_handler(asked)
        os.close(asked)
        if getattr(self, "web_app", None) is not None:
            _note_answer(self.web_app, os.path.join(run, "answered"))
        text = _work_in(self.root_dir, writable)
        try:
            told = os.open(os.path.join(run, "claim.answer"), os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody waits for it any more
            return
        os.write(told, text.encode()[:256] + b"\n")
        os.close(told)

    loop.add_handler(asked, answer, loop.READ)


ServerApp.write_server_info_file = _wait_for_claim

"""An engine reached by ``ssh://``: the system's ssh forwards its socket, with the user's keys and known hosts.

The SDK's own transports are not used: one loses the output of execs (docker-py#3332, seen with 7.2), the
other has no time-outs.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from jupyter_launcher.errors import EngineUnavailableError, OptionError

__all__ = ["TUNNEL_FOLDER", "SshTunnel"]

TUNNEL_FOLDER = "jupyter-launcher-ssh-"
"""How the name of a folder begins that holds a tunnel's socket."""

_REMOTE_SOCKET = "/var/run/docker.sock"
_REST_SECONDS = 1.0
# The remote command ends when its input does, so with this process, however that ends.
_STAY = "echo ready && cat >/dev/null"


class SshTunnel:
    """A socket on this host that leads to the engine's socket, until it is closed.

    Args:
        endpoint: ``ssh://[user@]host[:port][/path/of/the/socket]``.
        seconds: for the connection.

    Raises:
        OptionError: ``endpoint`` is no such URL.
        EngineUnavailableError: there is no ssh here, or it could not connect; with what ssh printed.
    """

    def __init__(self, endpoint: str, seconds: float) -> None:
        parts = _split(endpoint)
        folder = Path(tempfile.mkdtemp(prefix=TUNNEL_FOLDER))
        self.url = f"unix://{folder / 'docker.sock'}"
        line: list[str] = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]
        line += ["-o", f"ConnectTimeout={max(1, int(seconds))}"]
        # ssh ends where the host has gone without a word, and with it what waits for an answer.
        line += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"]
        line += ["-L", f"{folder / 'docker.sock'}:{parts.path or _REMOTE_SOCKET}"]
        place = ["-p", str(parts.port)] if parts.port else []
        place += ["-l", parts.username] if parts.username else []
        try:
            # In a process session of its own: Ctrl-C in the terminal must not end the tunnel before the clean-up.
            self._process = subprocess.Popen(  # noqa: S603 - the parts of an address, none is a shell's
                [*line, *place, "--", parts.hostname or "", _STAY],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(folder)
            msg = f"ssh cannot be run for {endpoint}: {error}"
            raise EngineUnavailableError(msg, hint="install an ssh client", endpoint=endpoint) from error
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _end, self._process, folder, os.getpid())
        self._wait(endpoint, seconds, f"try `{shlex.join(['ssh', *place, parts.hostname or '', 'docker', 'info'])}`")

    def has_ended(self) -> bool:
        """Whether ssh has ended, so that nothing passes any more."""
        with self._lock:  # of two threads that ask at once, poll() tells one that ssh is still there
            return self._process.poll() is not None

    def _wait(self, endpoint: str, seconds: float, hint: str) -> None:
        if (output := self._process.stdout) is not None:
            waiting = select.poll()  # select() takes no descriptor above 1023
            waiting.register(output, select.POLLIN)
            if waiting.poll(seconds * 1000) and output.readline().strip() == b"ready":
                return
        _terminate(self._process)
        said = _read_rest(self._process).decode(errors="replace").strip() or f"nothing for {seconds:g} s"
        self.close()
        msg = f"could not connect to {endpoint}: ssh said: {said}"
        raise EngineUnavailableError(msg, hint=hint, endpoint=endpoint)


def _split(endpoint: str) -> SplitResult:
    try:
        parts = urlsplit(endpoint)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        msg = "the engine's address begins with ssh://, and has no host or no usable port"  # it may hold a password
        raise OptionError(msg, hint="give ssh://[user@]host[:port]", option="docker_host")
    return parts


def _end(process: subprocess.Popen[bytes], folder: Path, owner: int) -> None:
    if os.getpid() != owner:  # a fork inherits the tunnel, which ends with the process that made it
        return
    _terminate(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """End ssh, and the command of a proxy that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)


def _read_rest(process: subprocess.Popen[bytes]) -> bytes:
    """What ssh has printed; a proxy's command that lives on might print more."""
    try:
        return process.communicate(timeout=_REST_SECONDS)[1]
    except subprocess.TimeoutExpired as error:
        return error.stderr or b""

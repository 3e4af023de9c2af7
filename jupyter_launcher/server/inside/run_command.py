# Runs a command for the launcher, in the environment of the session's kernels, and ends it with all that it started.
# Run by run_python.sh, in an exec whose standard input and output are the launcher's; `-c` is sys.argv[0].
# sys.argv[1]: the session's own folder, which a command of another user does not look at.
#
# Messages come on stdin: a line with the number of bytes, and these bytes. The first is the request, as JSON; the
# others are the command's input, up to one of 0 bytes, which is its end. The line `-` ends the command. At most 16
# messages come that were not answered, so this program can always read on. The end of stdin: the launcher is gone.
# Messages go to stdout: a letter, four bytes with a length, and the bytes: `s` the command was started, `f` it was not,
# `1` and `2` what it printed, `a` one message of its input was used, `e` its exit code.
import collections
import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time

PIECE = 2**16
FULL = 4 * PIECE  # bytes that may wait for the launcher; more stays in the command's own pipes
GRACE = 3.0  # seconds between SIGTERM and SIGKILL
GIVE_UP = 10.0  # seconds after SIGTERM; what is left then cannot be killed
OURS = ("JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_CONFIG_PATH", "JUPYTER_RUNTIME_DIR")


def to_bytes(text):
    return text.encode("utf-8", "surrogateescape")


def read_environment(folder):
    """What the server gives to its kernels and terminals: its umask, and its variables."""
    try:
        with open(folder + "/kernels.environment", "rb") as file:
            mask, *entries = file.read().split(b"\0")
        mask = mask.decode()
        left_out = ()
    except OSError:  # another server, or one of an earlier version of the launcher
        with open(folder + "/server.pid") as file:
            server = int(file.readline())
        with open("/proc/%d/environ" % server, "rb") as file:
            entries = file.read().split(b"\0")
        with open("/proc/%d/status" % server) as file:
            masks = [line.split()[1] for line in file if line.startswith("Umask:")]
        mask = masks[0] if masks else "0022"
        left_out = OURS
    pairs = [entry.decode("utf-8", "surrogateescape").partition("=") for entry in entries]
    return mask, {name: value for name, equals, value in pairs if name and equals and name not in left_out}


def own_environment():
    """The umask and the variables of the container, with the HOME of this user."""
    import pwd

    mask = os.umask(0o022)
    found = {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in os.environb.items()
    }
    try:
        entry = pwd.getpwuid(os.getuid())
        found.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
    except KeyError:
        found["HOME"] = "/"
    return "%04o" % mask, found


def count_as_use(folder):
    """Show the server that a command runs, for as long as the file is open (patches/idle.py)."""
    file = os.open(folder + "/commands", os.O_WRONLY | os.O_CREAT, 0o600)
    fcntl.flock(file, fcntl.LOCK_SH)
    os.utime(file)
    return file


def adopt_orphans():
    """Become the parent of every process that loses its own below this one, so that none escapes."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    except (ImportError, OSError, AttributeError):
        pass  # what makes a session of its own and loses its parent is not found then


def find_processes(session):
    """All processes below this one, and those of a session."""
    below = collections.defaultdict(list)
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    state, parent, _, its_session = file.read().rpartition(b") ")[2].split()[:4]
            except (OSError, ValueError):
                continue
            below[int(parent)].append(int(name))
            if int(its_session) == session and state != b"Z":
                found.add(int(name))
    queue = list(below[os.getpid()])
    while queue:
        process = queue.pop()
        found.add(process)
        queue += below[process]
    return found - {os.getpid()}


class Launcher:
    """The two pipes to the launcher."""

    def __init__(self):
        self.is_there = True
        self.outbox = bytearray()
        self._inbox = bytearray()
        self._wanted = None  # bytes of the message that comes
        for descriptor in (0, 1):
            os.set_blocking(descriptor, False)

    def send(self, kind, data=b""):
        if self.is_there:
            self.outbox += kind + struct.pack(">I", len(data)) + data

    def flush(self):
        try:
            del self.outbox[: os.write(1, self.outbox[:PIECE])]
        except BlockingIOError:
            pass
        except OSError:
            self.leave()

    def leave(self):
        self.is_there = False
        self.outbox.clear()

    def receive(self):
        """The messages that came. `None` among them: the command shall end."""
        try:
            data = os.read(0, PIECE)
            self._inbox += data
            if not data:
                self.leave()
                yield None
        except BlockingIOError:
            pass
        while True:
            if self._wanted is None:
                line, newline, _ = bytes(self._inbox[:20]).partition(b"\n")
                if not newline:
                    return
                del self._inbox[: len(line) + 1]
                if line == b"-":
                    yield None
                    continue
                self._wanted = int(line)
            if len(self._inbox) < self._wanted:
                return
            # Podman looks for the keys that detach a terminal, 16 and 17, in the input of every exec.
            message = bytes(self._inbox[: self._wanted])
            message = message.replace(b"\x0f\x02", b"\x10").replace(b"\x0f\x01", b"\x0f")
            del self._inbox[: self._wanted]
            self._wanted = None
            yield message


class Command:
    """The command, its pipes, and all that it has started."""

    def __init__(self, process, launcher):
        self.code = None
        self._launcher = launcher
        self._pid = process.pid
        self._input = None if process.stdin is None else process.stdin.fileno()
        self._inputs = collections.deque()
        self._outputs = {process.stdout.fileno(): b"1", process.stderr.fileno(): b"2"}
        self._left = {}  # of a command that has ended: a pipe to the bytes in it
        self._process = process
        self._terminated = None
        for descriptor in (self._input, *self._outputs):
            if descriptor is not None:
                os.set_blocking(descriptor, False)

    def terminate(self):
        """Ask all of it to end."""
        if self._terminated is None:
            self._terminated = time.monotonic()
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)

    def _signal(self, number):
        found = find_processes(self._pid)
        for process in found:
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                os.kill(process, number)
        return found

    def is_over(self):
        """Whether it has ended, with all that it started where that was wanted, and all that it printed was read."""
        self._reap()
        if self.is_ending() and time.monotonic() - self._terminated > GIVE_UP:
            return True
        if self.code is None or (self.is_ending() and find_processes(self._pid)):
            if self.is_ending() and time.monotonic() - self._terminated > GRACE:
                self._signal(signal.SIGKILL)
            return False
        return not self._left

    def is_ending(self):
        return self._terminated is not None

    def _reap(self):
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            if process == self._pid:
                self.code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                self._process.returncode = self.code
                # What it left in the background may print for ever, so what is there now counts.
                for pipe in self._outputs:
                    size = fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4)
                    self._left[pipe] = struct.unpack("i", size)[0]
                self._left = {pipe: size for pipe, size in self._left.items() if size}

    def take(self, message):
        self._inputs.append(message)

    def watched(self):
        """What to wait for: a descriptor to events."""
        wanted = {}
        if len(self._launcher.outbox) < FULL:
            wanted = dict.fromkeys(self._outputs if self.code is None else self._left, select.POLLIN)
        if self._input is not None and self._inputs:
            wanted[self._input] = select.POLLOUT
        return wanted

    def handle(self, descriptor):
        if descriptor in self._outputs:
            self._read(descriptor)
        elif descriptor == self._input:
            self.write()

    def _read(self, pipe):
        try:
            data = os.read(pipe, min(PIECE, self._left.get(pipe, PIECE)))
        except BlockingIOError:
            return
        if data:
            self._launcher.send(self._outputs[pipe], data)
        if pipe in self._left:
            self._left[pipe] -= len(data)
            if self._left[pipe] <= 0 or not data:
                del self._left[pipe]
        elif not data:
            del self._outputs[pipe]

    def write(self):
        """Hand the input on; what a command does not read is used up all the same."""
        while self._inputs:
            message = self._inputs[0]
            if not message:
                self._close_input()
            elif self._input is not None:
                try:
                    written = os.write(self._input, message)
                except BlockingIOError:
                    return
                except OSError:  # it has closed its input
                    self._close_input()
                    written = len(message)
                if written < len(message):
                    self._inputs[0] = memoryview(message)[written:]
                    continue
            self._inputs.popleft()
            self._launcher.send(b"a")

    def _close_input(self):
        if self._input is not None:
            self._input = None
            self._process.stdin.close()

    def leave(self):
        """Let what is left in the background go on: somebody has to read what it prints, or it would be ended by it."""
        poll = select.poll()
        for pipe in self._outputs:
            poll.register(pipe, select.POLLIN)
        still = set(self._outputs) - {pipe for pipe, events in poll.poll(0) if not events & select.POLLIN}
        if not still or self.is_ending() or os.fork():
            return
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        while still:
            for pipe in select.select(list(still), [], [])[0]:
                try:
                    if not os.read(pipe, PIECE):
                        still.remove(pipe)
                except BlockingIOError:
                    pass
        os._exit(0)


def start(request, launcher):
    """The command, or None where it cannot be started, which the launcher is told."""
    environment = {to_bytes(name): to_bytes(value) for name, value in request["environment"].items()}
    environment[b"PWD"] = to_bytes(request["cwd"])
    argv = [to_bytes(word) for word in request["argv"]]
    if not argv[0]:  # this Python, for what the launcher itself runs
        argv[:1] = [os.fsencode(sys.executable), b"-I", b"-S"]
    what = "folder"
    try:
        os.chdir(to_bytes(request["cwd"]))
        what = "program"
        os.umask(int(request["umask"], 8))
        process = subprocess.Popen(  # noqa: S603 - what the caller of `run` asks for
            argv,
            bufsize=0,
            env=environment,
            stdin=subprocess.PIPE if request["input"] else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        code = 127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126
        answer = {"what": what, "code": code, "text": os.strerror(error.errno or errno.EIO)}
        launcher.send(b"f", json.dumps(answer).encode())
        return None
    launcher.send(b"s")
    return Command(process, launcher)


def hand_on(launcher, command):
    """Give the command what came from the launcher."""
    for message in launcher.receive():
        if message is None:
            command.terminate()
        else:
            command.take(message)
    command.write()


def watch(launcher, command, wake):
    """Hand on what the launcher sends and what the command prints, until that has ended."""
    hand_on(launcher, command)  # what came together with the request
    while not command.is_over():
        wanted = {wake: select.POLLIN, **command.watched()}
        if launcher.is_there:
            wanted[0] = select.POLLIN
        if launcher.outbox:
            wanted[1] = select.POLLOUT
        poll = select.poll()
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        for descriptor, _ in poll.poll(100 if command.is_ending() else None):
            if descriptor == wake:
                os.read(wake, PIECE)
            elif descriptor == 0:
                hand_on(launcher, command)
            elif descriptor == 1:
                launcher.flush()
            else:
                command.handle(descriptor)


def main(folder):
    # A child that ends wakes the poll.
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    launcher = Launcher()
    text = None
    while text is None:
        select.select([0], [], [])
        text = next(launcher.receive(), None)
        if not launcher.is_there:
            return
    request = json.loads(text)
    # What the session's user says must not decide what another user runs.
    is_other = request["other"]
    request["umask"], request["environment"] = own_environment() if is_other else read_environment(folder)
    request["environment"].update(request["more"])
    use = None if is_other else count_as_use(folder)
    adopt_orphans()
    command = start(request, launcher)
    if command is not None:
        # What would end this program ends the command.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: command.terminate())
        watch(launcher, command, wake)
        launcher.send(b"e", b"%d" % (137 if command.code is None else command.code))
    os.set_blocking(1, True)
    while launcher.outbox:
        launcher.flush()
    if use is not None:
        os.close(use)
    if command is not None:
        command.leave()


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)

"""``SessionWork``: what is done in a session, as methods of the session."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from jupyter_launcher.acts import run_act
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import ApiResponse, KernelInfo
from jupyter_launcher.results import CommandResult, ExecuteResult, NotebookResult, Output
from jupyter_launcher.spec.texts import check_inner_path
from jupyter_launcher.work.commands.files import download, upload
from jupyter_launcher.work.commands.run import run_command
from jupyter_launcher.work.kernels import KeptKernel, Kernel, check_kernel_id, check_kernel_name, list_kernels
from jupyter_launcher.work.notebooks.run import run_notebook
from jupyter_launcher.work.packages import install_packages
from jupyter_launcher.work.place import Place
from jupyter_launcher.work.server import request

__all__ = ["SessionWork"]


class SessionWork:
    """The part of a :class:`Session` that works in it. Each method forwards to a module of this room."""

    def __init__(self) -> None:
        self._kept = KeptKernel(self._place)

    def _place(self) -> Place:
        raise NotImplementedError

    @property
    def headers(self) -> dict[str, str]:
        """What a request to :attr:`url` needs: the header with the server's token. It is a secret."""
        return {"Authorization": f"token {self._place().token}"}

    def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> ApiResponse:
        """Ask the session's server, with its token. What a request does may be a use of the session, itself it is none.

        Args:
            method: of HTTP, such as ``GET``.
            path: below :attr:`url`, such as ``api/contents/steps``.
            json: what to send, as JSON; None: no body.
            params: for the query.
            timeout: seconds for the whole answer.

        Returns:
            The answer, whatever its status is.

        Raises:
            OptionError: there cannot be such a request.
            ServerTimeoutError: no answer came in time.
            ServerError: no answer came, or it was longer than 256 MiB.
        """
        return request(self._place(), method, path, json=json, params=params, timeout=timeout)

    def execute(
        self,
        code: str,
        *,
        timeout: float | None = None,
        check: bool = True,
        on_output: Callable[[Output], object] | None = None,
    ) -> ExecuteResult:
        """Execute code in a kernel that this object keeps, so variables stay from call to call.

        The first call starts it, by the server's default kernel spec, in the pipeline directory; on the gateway where
        the session has one. ``close_kernel`` or the end of the session ends it. Calls from several threads are
        executed one after another. Needs the extra ``execute``.

        Args:
            code: as in a cell of a notebook.
            timeout: seconds, without the time that other calls need. The code is interrupted then; None: no limit.
            check: raise where the code does. False: the result tells.
            on_output: called with each output as it comes, of a stream with each piece, from a thread of this call.
                What it raises interrupts the code.

        Raises:
            CodeError: the code raised or asked for an input, and ``check`` is True.
            KernelDiedError: the kernel ended meanwhile, or by itself since the last call, or while it started. The next
                call has another process, without its variables.
            ExecuteTimeoutError: the time is over. The code was interrupted, and the kernel is idle again; where it
                ignored that, the kernel was started anew. The message says which.
            WorkError: the kernel did not execute the code, because code of another client failed just before, and
                ``check`` is True; or the server has no kernel to start; or what came of the code was lost.
            ServerError: the server does not answer, or refuses.
            SessionNotFoundError: the session has ended.
            OptionError: the extra is not installed, or an argument cannot work.
        """
        return self._kept.execute(code, timeout=timeout, check=check, on_output=on_output)

    def close_kernel(self) -> None:
        """End the kernel of ``execute``, and with it all variables; nothing happens where there is none."""
        self._kept.close()

    def kernel(
        self,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
        id: str | None = None,  # noqa: A002 - as in Jupyter
    ) -> Kernel:
        """A kernel of its own, as a context manager; leaving it ends a kernel that it started, and no other.

        Entering it waits until the kernel answers, and raises WorkError where there is no such kernel or kernel spec,
        and ServerError where the server does not answer. Needs the extra ``execute``.

        Args:
            name: of the kernel spec; None: the server's default.
            path: of a notebook, relative to the pipeline directory: JupyterLab shows the kernel as that notebook's
                unless it has another one for it, and the kernel runs in its folder. It need not exist.
            id: of a kernel that runs, in place of both.

        Raises:
            OptionError: an argument cannot work, or the extra is not installed.
        """
        if id is not None and (name is not None or path is not None):
            msg = "id names a kernel that runs, and name and path say which one to start"
            raise OptionError(msg, hint="give id alone, or leave it out")
        return Kernel(
            self._place(),
            name=None if name is None else check_kernel_name(name),
            path=None if path is None else check_inner_path(path, "path"),
            kernel_id=None if id is None else check_kernel_id(id),
        )

    def kernels(self) -> tuple[KernelInfo, ...]:
        """The kernels that the session's server holds, those of notebooks in JupyterLab too.

        Raises:
            ServerTimeoutError: the server does not answer in time.
            ServerError: what it answers cannot be read.
        """
        return list_kernels(self._place())

    def run_notebook(
        self,
        path: str | os.PathLike[str],
        *,
        parameters: Mapping[str, object] | None = None,
        timeout: float | None = None,
        cell_timeout: float | None = None,
        output: str | os.PathLike[str] | None = None,
    ) -> NotebookResult:
        """Execute a notebook of the pipeline with a kernel of its own, cell by cell, in the notebook's folder.

        JupyterLab shows the kernel while it runs, and it is ended afterwards. ``on_event`` gets the progress. A cell
        with the tag ``skip-execution`` is left as it is. Needs the extra ``execute``.

        Args:
            path: relative to the pipeline directory.
            parameters: a name → a JSON value, set by a cell after the one tagged ``parameters``, else by the first,
                as papermill does it; Python kernels only.
            timeout: seconds for the whole notebook, the start of its kernel included; None: no limit.
            cell_timeout: seconds for each cell.
            output: where to write the executed notebook, relative to the pipeline directory; None: nowhere.

        Raises:
            CellError: a cell raised, and is not tagged ``raises-exception``.
            KernelDiedError: the kernel ended meanwhile.
            ExecuteTimeoutError: the time of the notebook or of a cell is over.
            WorkError: there is no such notebook or kernel, it cannot be read, or the output cannot be written.
            ServerError: the server does not answer, or refuses.
            OptionError: an argument cannot work, or the extra is not installed.

            The first three hold the executed notebook, which is written to ``output`` for them too.
        """
        return run_notebook(
            self._place(),
            path,
            parameters=parameters,
            timeout=timeout,
            cell_timeout=cell_timeout,
            output=output,
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str = "/pipeline-dir",
        environment: Mapping[str, str] | None = None,
        input: bytes | str | None = None,  # noqa: A002 - as in subprocess
        timeout: float | None = None,
        check: bool = True,
        user: str | int | None = None,
        on_output: Callable[[str, str], object] | None = None,
    ) -> CommandResult:
        """Run a command in the session's container, in the environment that its server has.

        Args:
            argv: the command and its arguments; no shell looks at them.
            cwd: where it runs.
            environment: more variables; neither the engine nor the log shows them.
            input: what it reads from stdin; None: nothing.
            timeout: seconds, after which it is ended with all that it started; None: no limit.
            check: raise where its exit code is not 0.
            user: ``uid[:gid]`` or a name that the image knows, with the container's own variables; None: the session's.
            on_output: called with ``"stdout"`` or ``"stderr"`` and a text, as it comes: all of it, also what the
                result has no room for. It is called in another thread than this method, which waits for it.

        Raises:
            CommandError: its exit code is not 0 and ``check`` is True, or there is no such program or folder.
            CommandTimeoutError: its time is over.
            SessionNotFoundError, ServerNotRunningError: the session has ended.
            ExecError: the session is paused, or nobody can tell whether it ran to its end.
            OptionError: an argument cannot work.
            EngineError: the engine does not answer.
        """
        return run_act(
            lambda: run_command(
                self._place(),
                argv,
                cwd=cwd,
                environment=environment,
                given=input,
                timeout=timeout,
                check=check,
                user=user,
                on_output=on_output,
            )
        )

    def upload(self, local: str | os.PathLike[str], remote: str) -> None:
        """Copy a file or a folder of this machine into the session, as the session's user.

        Args:
            local: the file or the folder. A link here is followed; links in a folder stay links.
            remote: where it will be: its new path, not the folder that it goes into. Relative to ``/pipeline-dir``.
                Folders on the way are made. In a folder that is there, what comes replaces what has its name.

        Raises:
            OptionError: ``local`` cannot be read or holds pipes or the like, or ``remote`` cannot be a path.
            WorkError: it cannot be written there; nothing of it is left.
            ExecError: the session is paused, or the end of the copy was not seen.
            SessionNotFoundError, ServerNotRunningError: the session has ended.
            EngineError: the engine does not answer.
        """
        run_act(lambda: upload(self._place(), local, remote))

    def download(self, remote: str, local: str | os.PathLike[str]) -> None:
        """Copy a file or a folder of the session to this machine.

        Nothing is written outside of ``local``, whatever the session sends: links that lead out of it, devices, and
        the like are refused. Only the disk limits how much comes.

        Args:
            remote: the file or the folder, relative to ``/pipeline-dir``. A link here is followed.
            local: where it will be: its new path, not the folder that it goes into. Folders on the way are made. In a
                folder that is there, what comes replaces what has its name.

        Raises:
            OptionError: ``local`` cannot be written, or ``remote`` cannot be a path.
            WorkError: there is nothing at ``remote``, it cannot be read, or what came is refused; nothing is left.
            ExecError: the session is paused, or the end of the copy was not seen; nothing is left.
            SessionNotFoundError, ServerNotRunningError: the session has ended.
            EngineError: the engine does not answer.
        """
        run_act(lambda: download(self._place(), remote, local))

    def install(self, *requirements: str, timeout: float | None = 600.0) -> CommandResult:
        """Install Python packages for the kernels beside the server, those that run too.

        Runs ``pip install`` with the Python of the default kernel, as the session's user, in the environment that the
        server has. In the default image, the packages go to ``~/.local``, and kernels have them before those of the
        image; the server never does. A kernel that runs imports what is new, but keeps what it has imported before.

        Args:
            requirements: as pip has them, such as ``"pandas"`` or ``"scikit-learn==1.7"``; paths are relative to the
                pipeline directory. Options of pip are none: give the session variables such as ``PIP_INDEX_URL``.
            timeout: seconds for pip; None: no limit.

        Returns:
            What pip printed.

        Raises:
            OptionError: the session has a gateway, whose image has to be changed instead; or no such requirement.
            CommandError: pip failed, or the kernel's Python has none; the message has pip's words.
            CommandTimeoutError: the time is over.
            WorkError: no Python kernel is there, or another program starts it.
            SessionNotFoundError, ServerNotRunningError: the session has ended.
            ServerTimeoutError, ServerError: the server does not answer.
            EngineError: the engine does not answer.
        """
        return run_act(lambda: install_packages(self._place(), self.run, requirements, timeout=timeout))

"""Kernels and terminals get the environment that the image and the caller set, without the launcher's variables.

With them, another Jupyter server in a terminal or a kernel would take our token and our configuration.
JUPYTER_RUNTIME_DIR stays, so that `jupyter server list` and `jupyter console --existing` find this server. Without that
one too, what they get is written to ``kernels.environment`` for the commands of ``Session.run``, with the umask.

Upstream: none; jupyter_client and terminado hand the server's whole environment on.
Leans on: ``ServerApp.write_server_info_file`` is called once the configuration and the token were read, and
before the first kernel.
Seen with: jupyter_server 2.21.1, jupyter_client 8, terminado 0.18.
Without it: another server in the session has our token, and writes `ready` in our name.
Goes when: jupyter_server takes a token without a variable, and a configuration folder too.
"""

try:
    from jupyter_server.serverapp import ServerApp

    _write_before_restoring = ServerApp.write_server_info_file
except (ImportError, AttributeError):  # another server; its kernels see our variables
    pass
else:
    import os

    def _restore_environment():
        path = "/proc/1/environ"
        try:
            with open(os.environ.get("JUPYTER_RUNTIME_DIR", "") + "/../.supervisor") as supervisor:
                path = "/proc/%d/environ" % int(supervisor.readline())
        except (OSError, ValueError):  # the supervisor did not say yet which process it is
            pass
        try:
            with open(path, "rb") as file:
                entries = file.read().split(b"\0")
        except OSError:
            entries = []
        of_container = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
        for name in (b"JUPYTER_TOKEN", b"JUPYTER_TOKEN_FILE", b"JUPYTER_CONFIG_PATH"):
            os.environb.pop(name, None)
            if name in of_container:
                os.environb[name] = of_container[name]
        return of_container

    def _write_environment(of_container):
        mask = os.umask(0o077)
        os.umask(mask)
        variables = dict(os.environb)
        folder = variables.pop(b"JUPYTER_RUNTIME_DIR", None)
        if folder is None:
            return
        if b"JUPYTER_RUNTIME_DIR" in of_container:
            variables[b"JUPYTER_RUNTIME_DIR"] = of_container[b"JUPYTER_RUNTIME_DIR"]
        entries = [b"%04o" % mask] + [name + b"=" + value for name, value in variables.items()]
        try:
            file = os.open(folder + b"/../kernels.environment", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(file, "wb") as written:
                written.write(b"\0".join(entries))
        except OSError:  # run_command.py looks at the server's process then
            pass

    def _write_and_restore_environment(self):
        _write_before_restoring(self)
        _write_environment(_restore_environment())

    ServerApp.write_server_info_file = _write_and_restore_environment

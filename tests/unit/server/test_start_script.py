"""The start of a server inside the container, run here: ``await_entrypoint.sh`` and ``start.sh``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher.spec.server import launch_script, read_script
from tests.unit.fakes import session_spec

STRANGER = 54321
"""A user whom modes hold; this process may be root's."""
WHO: Any = {"user": STRANGER, "group": STRANGER, "extra_groups": []} if os.getuid() == 0 else {}
PATH = os.environ["PATH"]
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a stranger can enter; those of pytest are for one user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def write(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# The image's ENTRYPOINT.

SEEN = 'cat /proc/$$/environ >"$1/seen"; umask >"$1/mask"; printf \'%s\\n\' "$0" "$@"'


def run_entered(
    folder: Path,
    environment: Mapping[str, str],
    *,
    own: Mapping[str, str] | None = None,
    wrap: str = 'exec "$@"',
    path: str = PATH,
    adapt: Callable[[str], str] = str,
) -> subprocess.CompletedProcess[str]:
    """Run the supervisor below an ENTRYPOINT, and what comes by exec beside it."""
    supervisor = ["sh", "-c", read_script("supervise.sh"), "supervise", str(folder), "30"]
    given = {"PATH": path, **environment}
    script = adapt(read_script("await_entrypoint.sh"))
    line = ["sh", "-c", script, "await", str(folder), "20", SEEN, "7", "/pipeline-dir", ""]
    with subprocess.Popen(["sh", "-c", f"umask 027; {wrap}", "entry", *supervisor], env=given) as process:
        try:
            return subprocess.run(
                line, env={"PATH": path, **(own or {})}, capture_output=True, text=True, check=True, timeout=30
            )
        finally:
            with (folder / "alive").open("w") as pipe:  # opens when the supervisor reads
                pipe.write("0\n")
            process.wait(20)


def parse_environ(text: bytes) -> dict[str, str]:
    return dict(os.fsdecode(entry).split("=", 1) for entry in text.split(b"\0") if b"=" in entry)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_server_has_the_environment_that_the_entrypoint_left(tmp_path: Path, shell: str) -> None:
    (tmp_path / "sh").symlink_to(shutil.which(shell) or "")
    left = {
        "GREETING": "two\nlines \"q\" 'q' $x `y` \\\\ =\n\n",
        "EMPTY": "",
        "UID": "5",
        "PPID": "1",
        "NB_UID": "\udcff",
        "MY-VAR": "1",
        "_jl_run": "/other",
        "JUPYTER_TOKEN": "t",
    }
    own = {"TAKEN_OUT": "by the ENTRYPOINT", "GREETING": "of the image"}
    ended = run_entered(tmp_path, left, own=own, path=f"{tmp_path}:{PATH}")
    name, folder, seconds, *rest = ended.stdout.splitlines()
    assert (name, folder, rest) == ("start", str(tmp_path), ["7", "/pipeline-dir", ""])
    assert 10 <= int(seconds) <= 20
    seen = parse_environ((tmp_path / "seen").read_bytes())
    shells_own = ("UID", "PPID", "MY-VAR", "_jl_run")  # launch.py restores them
    expected = {"PATH": f"{tmp_path}:{PATH}", **left}
    assert {name: seen.get(name) for name in expected if name not in shells_own} == {
        name: value for name, value in expected.items() if name not in shells_own
    }
    assert "TAKEN_OUT" not in seen
    assert [name for name in seen if name.startswith("_jl_")] == []
    assert (tmp_path / "mask").read_text().strip() == "0027"
    assert ended.stderr.splitlines()[0] == "entered"


# Its name is all that shows what it does.
AS_AN_INIT = """
import subprocess, sys
open("/proc/self/comm", "w").write("tini")
sys.exit(subprocess.call(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("wrap", "is_told"),
    [
        ('exec "$@"', False),
        ('"$@"; :', True),
        ('trap "" TERM; "$@"; :', True),
        ("trap 'kill $!; wait $!' TERM; \"$@\" & wait", False),
        ('exec python3 -c "$AS_AN_INIT" "$@"', False),
    ],
)
def test_a_process_that_keeps_sigterm_from_the_supervisor_is_told(
    tmp_path: Path,
    wrap: str,
    is_told: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    def stop_here(script: str) -> str:
        above = script.replace('[ "${_jl_process:-0}" -gt 1 ]', f'[ "${{_jl_process:-0}}" -ne {os.getpid()} ]')
        assert above != script
        return above

    ended = run_entered(tmp_path, {"AS_AN_INIT": AS_AN_INIT}, wrap=wrap, adapt=stop_here)
    warnings = ended.stderr.splitlines()[1:]
    assert len(warnings) == is_told
    assert all("`docker stop` does not end" in text and "`sh` of the image's ENTRYPOINT" in text for text in warnings)


def test_an_entrypoint_that_does_not_run_its_command_is_not_waited_for_longer(tmp_path: Path) -> None:
    line = ["sh", "-c", read_script("await_entrypoint.sh"), "await", str(tmp_path), "0", "true"]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (74, "", "")


def test_what_no_shell_keeps_comes_from_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text(launch_script(session_spec()))
    (tmp_path / "jupyter-lab").write_text("import json, os; print(json.dumps(dict(os.environ)))")
    left = {"MY-VAR": "1", "IFS": "x", "PLAIN": "not again"}
    with subprocess.Popen(["sleep", "60"], env=left) as supervisor:
        (tmp_path / ".supervisor").write_text(f"{supervisor.pid}\n0022\n")
        line = [sys.executable, str(tmp_path / "launch.py"), str(tmp_path / "jupyter-lab")]
        run = subprocess.run(line, capture_output=True, text=True, check=True, env={"PATH": PATH})
        supervisor.kill()
    seen = json.loads(run.stdout)
    assert {name: seen.get(name) for name in left} == {"MY-VAR": "1", "IFS": "x", "PLAIN": None}


# The server.

SERVER = """#!/bin/sh
[ ! -f "$0.code" ] || exit "$(cat "$0.code")"
cat /proc/$$/environ >"$HOME/environ"
printf '{"token": "%s"}' "$(cat "$JUPYTER_TOKEN_FILE")" >"$JUPYTER_RUNTIME_DIR/jpserver-1.json"
until [ -e "$JUPYTER_RUNTIME_DIR/../reported" ]; do sleep 0.05; done
"""


def run_start(
    folder: Path, environment: Mapping[str, str], *arguments: str, script: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run start.sh as a stranger would; ``folder`` has room for its files, and for a pipeline."""
    run_dir, pipeline = folder / "run", folder / "pipeline"
    for path in (run_dir, pipeline, folder / "home"):
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
    text = script or read_script("start.sh")
    log = run_dir / "log"
    here = text.replace(">/proc/1/fd/1 2>/proc/1/fd/2", f">>{log} 2>&1")
    assert here != text
    values = ("20", "0", str(pipeline), "", "", "", "", "", "")
    given = {"HOME": str(folder / "home"), **environment}
    line = ["sh", "-c", here, "start", str(run_dir), *values, "jupyter", "lab", *arguments]
    os.mkfifo(run_dir / "alive")
    (run_dir / "alive").chmod(0o666)
    reader = os.open(run_dir / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return subprocess.run(line, env=given, capture_output=True, text=True, check=False, timeout=60, **WHO)
    finally:
        os.close(reader)


def seen_by_server(folder: Path, environment: Mapping[str, str], *arguments: str) -> dict[str, str]:
    """The variables of a server in a session with these of the image's."""
    write(folder / "bin" / "jupyter", SERVER)
    ended = run_start(folder, {"PATH": f"{folder}/bin:{PATH}", **environment}, *arguments)
    assert ended.stdout.endswith("}\n\x04"), ended
    return parse_environ((folder / "home" / "environ").read_bytes())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_folders_that_the_user_cannot_write_to_are_below_home(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    mine = folder / "home" / "mine"
    lost = {
        "JUPYTER_DATA_DIR": str(closed / "data"),
        "JUPYTER_CONFIG_DIR": str(closed),
        "MPLCONFIGDIR": str(folder),
        "XDG_CACHE_HOME": "/proc/no/such",
    }
    kept = {"IPYTHONDIR": str(mine / "not" / "there"), "JUPYTERLAB_SETTINGS_DIR": str(folder / "home")}
    seen = seen_by_server(folder, {**lost, **kept, "JUPYTER_PATH": "/before"})
    assert {name: seen.get(name) for name in {**lost, **kept}} == {**dict.fromkeys(lost), **kept}
    assert seen["JUPYTER_PATH"] == f"/before:{closed}/data"
    assert seen["JUPYTER_CONFIG_PATH"] == f"{folder}/run/config:{closed}"


def test_a_gateway_of_the_images_is_not_the_sessions(folder: Path) -> None:
    of_image = {"JUPYTER_GATEWAY_URL": "http://eg.corp:8888", "JUPYTER_GATEWAY_WS_URL": "ws://eg.corp"}
    assert not of_image.keys() & seen_by_server(folder, of_image).keys()
    shutil.rmtree(folder / "run")
    assert not of_image.keys() & seen_by_server(folder, of_image, "--gateway-url=http://ours").keys()
    shutil.rmtree(folder / "run")
    given = {"JUPYTER_GATEWAY_WS_URL": "ws://mine"}
    assert given.items() <= seen_by_server(folder, given, "--gateway-url=http://ours").items()


def test_what_was_taken_out_is_not_told_as_lost(folder: Path) -> None:
    write(folder / "bin" / "jupyter", SERVER)
    left = {"MPLCONFIGDIR": "/proc/no", "JUPYTER_GATEWAY_URL": "http://eg.corp", "spark.master": "local"}
    given = {"PATH": f"{folder}/bin:{PATH}", **left}
    with subprocess.Popen(["sleep", "60"], env=left, **WHO) as supervisor:
        write(folder / "run" / ".supervisor", f"{supervisor.pid}\n")
        ended = run_start(folder, given)
        supervisor.kill()
    assert ended.stderr.strip().endswith("of jupyter_core: spark.master")


def reason(ended: subprocess.CompletedProcess[str]) -> str:
    """Why a server ended, in the words of the script."""
    assert ended.stdout.startswith("why: ") or ended.stdout == "\n\x04", ended
    return ended.stdout.removeprefix("why: ").removesuffix("\n\x04")


def test_no_jupyter_on_the_path(folder: Path) -> None:
    assert reason(run_start(folder, {"PATH": "/usr/bin:/bin"})) == "no `jupyter` is on the PATH (/usr/bin:/bin)"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_jupyter_that_the_user_cannot_reach(folder: Path) -> None:
    write(folder / "root" / "lab" / "bin" / "jupyter", SERVER)
    (folder / "root").chmod(0o700)
    path = f"{folder}/root/lab/bin:/usr/bin:/bin"
    found = reason(run_start(folder, {"PATH": path}))
    assert found.startswith(f"no `jupyter` is on the PATH ({path}); ")
    assert found.endswith(
        f"user {STRANGER} may not enter {folder}/root, where a folder of the PATH is: {folder}/root/lab/bin"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_jupyter_that_the_user_may_not_run(folder: Path) -> None:
    write(folder / "bin" / "jupyter", SERVER, 0o700)
    found = reason(run_start(folder, {"PATH": f"{folder}/bin:/usr/bin:/bin"}))
    assert found == f"user {STRANGER} may not run {folder}/bin/jupyter"


@pytest.mark.parametrize(("line", "named"), [("{}/python3 -I", "{}/python3"), ("/usr/bin/env python9", "python9")])
@pytest.mark.parametrize("is_script", [True, False])
def test_a_script_for_a_python_that_is_not_there(
    folder: Path,
    line: str,
    named: str,
    is_script: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    first = f"#!{line.format(folder / 'gone')}\n"
    script = write(folder / "bin" / "jupyter", first + ("from jupyter_core.command import main\n" if is_script else ""))
    if is_script:
        script = write(folder / "bin" / "jupyter-lab", first)
    found = reason(run_start(folder, {"PATH": f"{folder}/bin:/usr/bin:/bin"}))
    assert found.startswith(f"the first line of {script} names {named.format(folder / 'gone')}, which is not there")


def test_a_python_that_is_a_link_to_nowhere_is_told_with_it(folder: Path) -> None:
    (folder / "python3").symlink_to("/opt/gone/python3")
    write(folder / "bin" / "jupyter", f"#!{folder}/python3\n")
    found = reason(run_start(folder, {"PATH": f"{folder}/bin:/usr/bin:/bin"}))
    assert f"names {folder}/python3 (/opt/gone/python3), which is not there" in found


@pytest.mark.parametrize(("beside", "is_told"), [("jupyter-notebook", True), ("jupyter-lab", False)])
def test_a_notebook_alone_is_not_enough(
    folder: Path,
    beside: str,
    is_told: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    write(folder / "bin" / "jupyter", SERVER)
    write(folder / "bin" / "jupyter.code", "1")
    write(folder / "bin" / beside, SERVER)
    found = reason(run_start(folder, {"PATH": f"{folder}/bin:/usr/bin:/bin"}))
    assert ("JupyterLab is missing" in found) == is_told


def test_a_server_before_jupyterlab_3_is_told_at_once(folder: Path) -> None:
    write(folder / "bin" / "jupyter", '#!/bin/sh\necho {} >"$JUPYTER_RUNTIME_DIR/nbserver-1.json"; exec sleep 3\n')
    assert run_start(folder, {"PATH": f"{folder}/bin:/usr/bin:/bin"}).stdout == "old-server\n\x04"


@pytest.mark.parametrize("before", ["root:x:0:0::/root:/bin/sh\n", "root:x:0:0::/root:/bin/sh", ""])
def test_a_user_without_a_name_gets_a_line_of_its_own(folder: Path, before: str) -> None:
    names = write(folder / "passwd", before, 0o666)
    write(folder / "bin" / "jupyter", "#!/bin/sh\nexit 0\n")
    script = read_script("start.sh").replace("/etc/passwd", str(names))
    for _ in range(2):
        run_start(folder, {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder)}, script=script)
        shutil.rmtree(folder / "run", ignore_errors=True)
    lines = names.read_text().splitlines()
    assert lines[:-1] == before.splitlines()
    user = WHO.get("user", os.getuid())
    assert lines[-1].startswith(f"session:x:{user}:")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_where_no_home_can_be_made_nothing_is_started(folder: Path) -> None:
    script = read_script("start.sh")
    closed = script.replace('"${TMPDIR:-/tmp}" /var/tmp /dev/shm', "").replace(
        "for _jl_at in /tmp ", "for _jl_at in /proc/no "
    )
    assert closed != script
    ended = run_start(folder, {"PATH": "/usr/bin:/bin", "HOME": "/root"}, script=closed)
    assert ended.returncode == 70
    assert "neither HOME nor /tmp can be written: " in ended.stderr

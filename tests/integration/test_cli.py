"""The command as people and programs run it: in a real terminal, and piped."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import Launcher, Session, SessionState
from tests.containers import eventually
from tests.integration.terminal import CTRL_C, Terminal
from tests.integration.test_registry import Kernels, leave_created
from tests.integration.test_session import in_container, start_kernel

COMMAND = str(Path(sys.executable).with_name("jupyter-launcher"))
Start = Callable[..., Session]
Run = Callable[..., subprocess.CompletedProcess[str]]
Open = Callable[..., Terminal]


@pytest.fixture
def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "BROWSER")}


@pytest.fixture
def run(namespace: str, environment: dict[str, str]) -> Run:
    """Run it with its output piped."""

    def run(*line: str, **more: str) -> subprocess.CompletedProcess[str]:
        argv = [COMMAND, "--namespace", namespace, *line]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, env={**environment, **more})
        sys.stderr.write(ended.stderr)  # pytest shows it where a test fails
        return ended

    return run


@pytest.fixture
def terminal(namespace: str, environment: dict[str, str]) -> Iterator[Open]:
    """Run it in a terminal."""
    opened: list[Terminal] = []

    def open_(*line: str, **more: str) -> Terminal:
        opened.append(Terminal([COMMAND, "--namespace", namespace, *line], {**environment, **more}))
        return opened[-1]

    yield open_
    for item in opened:
        if item.exit_code is None:
            item.kill()


def test_piped_json_is_one_document_and_nothing_else(
    run: Run,
    pipeline_dir: Path,
    launcher: Launcher,
    gateway: str,
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    started = run("start", str(pipeline_dir), "--session-id", "abc-1", "--gateway", gateway, "--format", "json")
    document = json.loads(started.stdout)
    assert document["server_info"] == launcher.get("abc-1").server_info.to_dict()
    assert document["lab_url"] == launcher.get("abc-1").lab_url
    assert re.search(r"^server: finished after \d+\.\d\d s$", started.stderr, re.MULTILINE)
    (listed,) = json.loads(run("--format", "json", "list").stdout)
    assert (listed["session_id"], listed["state"], listed["gateway"]) == ("abc-1", "ready", gateway)
    shown = run("info", "abc", "--format", "json")
    assert json.loads(shown.stdout)["url"] == document["url"]
    assert document["server_info"]["token"] not in shown.stdout + shown.stderr
    assert json.loads(run("info", "a", "--show-token", "--format", "json").stdout) == document
    assert json.loads(run("url", "abc-1", "--format", "json").stdout) == {"url": document["lab_url"]}
    answer = json.loads(run("logs", "a", "--format", "json").stdout)
    assert "JupyterLab extension loaded" in answer["log"] if keeps_logs else "logging driver" in answer["error"]["hint"]
    stopped = run("stop", "abc-1", "--format", "json", "-q")
    assert json.loads(stopped.stdout)[0]["report"]["method"] == "api"
    assert stopped.stderr == ""


def test_in_a_terminal_the_phases_are_drawn(terminal: Open, pipeline_dir: Path, run: Run) -> None:
    shown = terminal("start", str(pipeline_dir), "--session-id", "drawn")
    assert shown.end() == 0
    for phase in ("gateway", "image", "container", "server", "ready"):
        assert re.search(rf"✓ {phase} +\d+\.\d\d s", shown.text), shown.text
    assert "\x1b[1A" in shown.raw, "lines are drawn in place"
    assert re.search(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] server +0\.\d\d s", shown.text), "it moves while a phase lasts"
    assert "\x1b[32m" in shown.raw
    assert re.search(r"^url +http://127\.0\.0\.1:\d+/lab\?token=[0-9a-f]{64}\r$", shown.text, re.MULTILINE)
    hidden = terminal("url", "drawn")
    assert hidden.end() == 0
    assert "token=" not in hidden.text
    assert re.match(r"http://127\.0\.0\.1:\d+/lab\r\n", hidden.text)
    assert "token=" in run("url", "drawn").stdout
    wanted = terminal("url", "drawn", "--show-token")
    assert wanted.end() == 0
    assert "token=" in wanted.text
    assert terminal("stop", "drawn").end() == 0


@pytest.mark.parametrize(
    ("options", "more", "drawn", "coloured"),
    [
        ((), {"NO_COLOR": "1"}, True, False),
        (("--progress", "plain"), {}, False, False),
        (("--progress", "none"), {}, False, False),
        (("-q",), {}, False, False),
    ],
)
def test_how_progress_is_shown(
    terminal: Open,
    run: Run,
    pipeline_dir: Path,
    options: tuple[str, ...],
    more: dict[str, str],
    drawn: bool,  # noqa: FBT001 - pytest hands it over by name
    coloured: bool,  # noqa: FBT001 - as above
) -> None:
    shown = terminal("start", str(pipeline_dir), "--session-id", "shown", *options, **more)
    assert shown.end() == 0
    assert ("\x1b[1A" in shown.raw) == drawn
    assert bool(re.search(r"\x1b\[(?:\d+;)?3\dm", shown.raw)) == coloured
    assert ("server: finished" in shown.raw) == ("plain" in options)
    assert run("stop", "--all").returncode == 0


def test_ctrl_c_in_the_foreground_stops_gracefully(
    terminal: Open, pipeline_dir: Path, launcher: Launcher, gateway: str, gateway_kernels: Kernels
) -> None:
    before = gateway_kernels()
    shown = terminal("start", str(pipeline_dir), "--foreground", "--gateway", gateway)
    shown.wait_for("Ctrl-C stops the session")
    start_kernel(launcher.get(launcher.ids()[0]))
    shown.type(CTRL_C)
    assert shown.end() == 130
    assert re.search(r"✓ stop +\d+\.\d\d s  api", shown.text)
    assert "Traceback" not in shown.text
    assert gateway_kernels() == before


def test_a_second_ctrl_c_ends_it_at_once(
    terminal: Open, pipeline_dir: Path, launcher: Launcher, client: Any, gateway: str, gateway_kernels: Kernels
) -> None:
    before = gateway_kernels()
    shown = terminal("start", str(pipeline_dir), "--foreground", "--gateway", gateway)
    shown.wait_for("Ctrl-C stops the session")
    session = launcher.get(launcher.ids()[0])
    start_kernel(session)
    # A server that hears nothing: the graceful way would take half a minute.
    in_container(client, session, f"kill -STOP {session.server_info.pid}")
    shown.type(CTRL_C)
    shown.wait_for("Ctrl-C again kills it")
    shown.wait_for(r"stop +1\.\d\d s")
    shown.type(CTRL_C)
    assert shown.end(10) == 130
    assert "Traceback" not in shown.text
    assert session.status().state is SessionState.GONE
    assert gateway_kernels() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_foreground_gracefully(
    namespace: str, pipeline_dir: Path, launcher: Launcher, number: signal.Signals
) -> None:
    line = [COMMAND, "--namespace", namespace, "start", str(pipeline_dir), "--foreground"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("Ctrl-C stops the session" in told for told in process.stderr)
        process.send_signal(number)
        assert "stop: finished" in process.stderr.read()
    assert process.returncode == 130


def test_the_foreground_ends_when_the_session_does(
    terminal: Open, run: Run, pipeline_dir: Path, launcher: Launcher, client: Any
) -> None:
    shown = terminal("start", str(pipeline_dir), "--foreground", "--session-id", "one")
    shown.wait_for("Ctrl-C stops the session")
    in_container(client, launcher.get("one"), "kill -KILL $(cat /run/jupyter-launcher/server.pid)")
    assert shown.end() == 7
    assert "ended by itself with exit code 137" in shown.text
    shown = terminal("start", str(pipeline_dir), "--foreground", "--session-id", "two")
    shown.wait_for("Ctrl-C stops the session")
    assert run("stop", "two").returncode == 0
    assert shown.end() == 0


def test_ctrl_c_while_it_starts_leaves_nothing(terminal: Open, pipeline_dir: Path) -> None:
    shown = terminal("start", str(pipeline_dir))
    shown.wait_for(r"server +0\.\d\d s")
    shown.type(CTRL_C)
    assert shown.end() == 130
    assert "Traceback" not in shown.text
    assert "✗ server" in shown.text


@pytest.mark.parametrize(
    ("line", "code", "kind"),
    [
        (("start", "DIR", "--session-id", "No!"), 2, "OptionError"),
        (("start", "/no/such/dir"), 3, "PipelineDirError"),
        (("start", "DIR", "--image", "no.such.registry.invalid/x"), 4, "ImageNotFoundError"),
        (("start", "DIR", "--gateway", "no-such-gateway"), 6, "GatewayNotFoundError"),
        (("start", "DIR", "--memory", "24m"), 7, "ServerStartError"),
        (("info", "no-such-session"), 8, "SessionNotFoundError"),
        (("logs", "no-such-session"), 8, "SessionNotFoundError"),
        (("url", "no-such-session"), 8, "SessionNotFoundError"),
    ],
)
def test_each_branch_of_the_errors_has_its_exit_code(
    run: Run,
    pipeline_dir: Path,
    line: tuple[str, ...],
    code: int,
    kind: str,
    enforces_limits: bool,  # noqa: FBT001 - pytest's
) -> None:
    if "--memory" in line and not enforces_limits:
        code, kind = 2, "OptionError"
    argv = [part.replace("DIR", str(pipeline_dir)) for part in line]
    ended = run(*argv, "--progress", "none")
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith("jupyter-launcher: ")
    assert "Traceback" not in ended.stderr
    told = run(*argv, "--format", "json", "-q")
    assert json.loads(told.stdout)["error"].items() >= {"type": kind, "code": code}.items()
    assert "Traceback" in run(*argv, "-v").stderr


@pytest.mark.parametrize(
    "line",
    [
        ("start",),
        ("start", "DIR", "--port", "many"),
        ("stop",),
        ("stop", "x", "--all"),
        ("nonsense",),
        ("--nonsense",),
        ("logs", "x", "-f", "--format", "json"),
        ("reap", "--min-age", "-1"),
        ("list", "--format", "yaml"),
    ],
)
def test_usage_errors(run: Run, line: tuple[str, ...]) -> None:
    ended = run(*line)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr


def test_without_an_engine_it_says_so_in_a_line(run: Run) -> None:
    ended = run("list", DOCKER_HOST="unix:///no/such.sock")
    assert ended.returncode == 4
    assert len(ended.stderr.splitlines()) == 1
    assert "start Docker" in ended.stderr


def test_ids_may_be_shortened_while_they_are_clear(run: Run, start: Start) -> None:
    start(session_id="long-one")
    start(session_id="long-two")
    start(session_id="long")
    assert "http" in run("url", "long-o").stdout
    assert run("info", "long").returncode == 0, "a whole id is clear although others begin so"
    unclear = run("info", "long-")
    assert unclear.returncode == 8
    assert "long-one, long-two" in unclear.stderr
    # Below the sessions are the gateways: an earlier test may have asked for the one that all share.
    table = run("list").stdout.partition("\n\n")[0].splitlines()
    assert table[0].split() == ["ID", "STATE", "STATUS", "GATEWAY", "PIPELINE", "DIR"]
    assert {line.split()[0] for line in table[1:]} == {"long-one", "long-two", "long"}
    some = run("stop", "long-t", "no-such", "long-o")
    assert some.returncode == 8
    assert [line.split()[:2] for line in some.stdout.splitlines()] == [["long-two", "api"], ["long-one", "api"]]
    assert run("stop", "--all").stdout.split()[0] == "long"
    assert run("stop", "--all").returncode == 0


@pytest.mark.usefixtures("needs_logs")
def test_logs_of_the_dead_and_of_the_living(run: Run, start: Start, client: Any, namespace: str) -> None:
    session = start(session_id="talks")
    line = [COMMAND, "--namespace", namespace, "logs", "talks", "-f", "--tail", "1"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        requests.get(f"{session.url}api/no-such-thing", timeout=10)
        assert any("no-such-thing" in told for told in process.stdout)
        client.containers.get(session.container_id).kill()
        process.stdout.read()
    assert process.returncode == 0, "it ends with the server"
    assert len(run("logs", "talks", "--tail", "3").stdout.splitlines()) == 3


def test_reap_says_what_it_does(run: Run, client: Any, launcher: Launcher, pipeline_dir: Path) -> None:
    leave_created(client, launcher, pipeline_dir, "half", run=False)
    assert run("reap").stdout == ""
    assert run("reap", "--min-age", "0", "--dry-run").stdout.split("  ") == ["half", "created", "would be removed\n"]
    assert json.loads(run("reap", "--min-age", "0", "--format", "json").stdout)[0]["reason"] == "created"
    assert launcher.ids() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    assert "_JUPYTER_LAUNCHER_COMPLETE" in run("completion", shell).stdout


def test_bash_completes_ids(start: Start, namespace: str, environment: dict[str, str]) -> None:
    start(session_id="tab-one")
    start(session_id="tab-two")
    words = f"jupyter-launcher --namespace {namespace} stop tab"
    script = (
        'eval "$(jupyter-launcher completion bash)"; '
        f"COMP_WORDS=({words}); COMP_CWORD=4; _jupyter_launcher_completion jupyter-launcher; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(COMMAND).parent}:{environment['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={**environment, "PATH": path}
    )
    assert ended.stdout.split() == ["tab-one", "tab-two"], ended.stderr


def test_open_gives_the_browser_no_token(run: Run, pipeline_dir: Path, tmp_path: Path, launcher: Launcher) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\nimport json, sys, urllib.error, urllib.request as request\n"
        "page = request.urlopen(sys.argv[1])\n"
        "try:\n    again = request.urlopen(sys.argv[1]).status\n"
        "except urllib.error.HTTPError as error:\n    again = error.code\n"
        f"json.dump([sys.argv, page.status, page.url, again], open({str(seen)!r}, 'w'))\n"
    )
    browser.chmod(0o755)
    assert run("start", str(pipeline_dir), "--session-id", "open", "--open", BROWSER=f"{browser} %s").returncode == 0
    assert eventually(seen.exists)
    argv, status, url, again = json.loads(seen.read_text())
    token = launcher.get("open").server_info.token
    assert (status, again) == (200, 404)
    assert token not in str(argv)
    assert url == launcher.get("open").lab_url
    without = run("start", str(pipeline_dir), "--session-id", "open", "--open", BROWSER="/no/such/browser %s", PATH="/")
    assert "no browser opened the page" in without.stderr
    assert run("stop", "open").returncode == 0


def states(text: str) -> dict[str, str]:
    return {check["name"]: check["state"] for check in json.loads(text)}


def test_doctor_finds_nothing(run: Run, pipeline_dir: Path, gateway: str, client: Any, keeps_logs: bool) -> None:  # noqa: FBT001 - pytest's
    found = run("doctor", str(pipeline_dir), "--gateway", gateway, "--format", "json")
    assert found.returncode == 0, found.stdout
    # The engine may keep its data where this process sees none of it, and a rootless one may enforce no limits.
    log = "ok" if keeps_logs else "warning"
    seen = states(found.stdout) | {"free disk": "ok", "limits": "ok", "pool": "ok"}
    seen.pop("information", None)  # a proxy may keep it back
    assert seen == {"log": log} | dict.fromkeys(
        [
            *("engine", "API version", "image", "free disk", "pipeline dir", "gateway"),
            *("limits", "write to the pipeline dir", "reach the gateway", "published port", "container IPs", "pool"),
        ],
        "ok",
    )
    assert re.search(r"^ok +engine: (?:Docker|Podman) ", run("doctor").stdout, re.MULTILINE)
    # Another worker's probe is gone soon too.
    probes = {"label": "jupyter-launcher.purpose=doctor"}
    assert eventually(lambda: client.api.containers(all=True, filters=probes) == [])


def test_doctor_without_an_engine(run: Run) -> None:
    found = run("doctor", DOCKER_HOST="unix:///no/such.sock")
    assert found.returncode == 1
    assert re.search(r"failed +engine: .*\n +to fix: start Docker, or ", found.stdout)


def test_doctor_finds_what_is_wrong(run: Run, client: Any, tmp_path: Path, launcher: Launcher) -> None:
    folder = tmp_path / "not-writable"
    folder.mkdir(mode=0o555)
    idle = client.containers.run(launcher.image, ["sleep", "60"], entrypoint="", detach=True, init=True)
    try:
        found = run("doctor", str(folder), "--gateway", idle.name, "--format", "json")
    finally:
        idle.remove(force=True)
    assert found.returncode == 1
    wrong = {check["name"]: check for check in json.loads(found.stdout) if check["state"] in {"warning", "failed"}}
    assert set(wrong) - {"information", "limits", "log", "pool"} == {"write to the pipeline dir", "reach the gateway"}
    assert f"chmod u+rwx {folder}" in wrong["write to the pipeline dir"]["hint"]
    assert "Permission denied" in wrong["write to the pipeline dir"]["detail"]
    assert f"docker logs {idle.name}" in wrong["reach the gateway"]["hint"]
    assert states(run("doctor", "/no/such", "--gateway", "none", "--format", "json").stdout).items() >= {
        ("pipeline dir", "failed"),
        ("gateway", "failed"),
        ("published port", "ok"),
    }
    missing = run("doctor", "--image", "no/such:image", "--format", "json")
    assert missing.returncode == 0
    assert states(missing.stdout)["image"] == "warning"


def test_doctor_sees_a_network_that_publishes_nothing(run: Run, client: Any, namespace: str) -> None:
    if (
        client.version()["Components"][0]["Name"].startswith("Podman")
        and "name=rootless" in client.info()["SecurityOptions"]
    ):
        pytest.skip("a rootless Podman publishes ports of internal networks too")
    network = client.networks.create(f"{namespace}-internal", driver="bridge", internal=True)
    try:
        found = run("doctor", "--network", network.name, "--format", "json")
    finally:
        network.remove()
    assert found.returncode == 1
    assert states(found.stdout)["published port"] == "failed"


def test_a_build_has_a_bar_and_ends_at_ctrl_c(terminal: Open, client: Any, base_image: str) -> None:
    containers = {item["Id"] for item in client.api.containers(all=True)}
    shown = terminal("build", "--tag", "jupyter-launcher/test:bar", "--base-image", base_image, "--force")
    shown.wait_for(r"image +\d+\.\d\d s .*[━╸].*(?:Step|STEP) [2-9]/\d+ : ")
    shown.type(CTRL_C)
    assert shown.end() == 130
    assert "Traceback" not in shown.text
    assert client.images.list("jupyter-launcher/test:bar") == []
    assert eventually(lambda: {item["Id"] for item in client.api.containers(all=True)} == containers)


@pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs docker-registry; `make tools` installs it")
def test_a_pull_has_a_bar(terminal: Open, client: Any, pipeline_dir: Path, tmp_path: Path) -> None:
    if client.version()["Components"][0]["Name"].startswith("Podman"):
        pytest.skip("Podman takes a registry without TLS only where registries.conf names it")
    if "name=rootless" in client.info()["SecurityOptions"]:
        pytest.skip("a rootless Docker has a loopback of its own, where this machine's registry is not")
    (tmp_path / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\n"
        "http: {addr: 127.0.0.1:5123}\n"
    )
    image = "127.0.0.1:5123/team/jupyter:1"
    with subprocess.Popen(["docker-registry", "serve", str(tmp_path / "registry.yml")]) as registry:
        try:
            assert eventually(lambda: _answers("http://127.0.0.1:5123/v2/"))
            client.api.import_image_from_data(layer(100), "127.0.0.1:5123/team/jupyter", "1")
            client.images.push(image)
            client.images.remove(image)
            shown = terminal("start", str(pipeline_dir), "--image", image)
            # There is no shell in it: the container ends at once, before or after its port was looked for. Where the
            # engine maps users, it cannot look at the directory.
            assert shown.end() in {3, 4, 7}, shown.text
            assert re.search(r"image +\d+\.\d\d s .*[━╸].* Downloading", shown.text)
        finally:
            registry.terminate()
            if client.images.list(image):
                client.images.remove(image, force=True)


def layer(megabytes: int) -> bytes:
    """A file system with one file that can't be made smaller."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("noise")
        member.size = megabytes * 2**20
        archive.addfile(member, io.BytesIO(os.urandom(member.size)))
    return buffer.getvalue()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.parametrize("line", [(sys.executable, "-m", "jupyter_launcher"), ("jupyter", "launcher")])
def test_other_ways_to_call_it(line: tuple[str, ...], environment: dict[str, str]) -> None:
    path = f"{Path(COMMAND).parent}:{environment['PATH']}"
    ended = subprocess.run(
        [*line, "--version"], capture_output=True, text=True, check=True, env={**environment, "PATH": path}
    )
    assert "jupyter-launcher, version " in ended.stdout

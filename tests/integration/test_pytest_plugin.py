"""The plugin in test runs of its own, against the real engine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import DEFAULT_IMAGE, Launcher, SessionState
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.host import process
from jupyter_launcher.pytest_plugin import owner
from jupyter_launcher.pytest_plugin.reuse import Reuse
from tests.containers import eventually
from tests.integration.test_images import CERTIFICATES
from tests.unit.work.notebook import code, notebook, text_cell

NO_ENGINE = "unix:///no/such.sock"


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of somebody else's: not on CI, and not a worker of ours."""
    for name in ("CI", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def of_runs(client: Any, namespace: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """The containers of the nested runs, by name."""
    this_run = namespace.rpartition("-")[0]  # all of its workers

    def found() -> dict[str, Any]:
        # One call, and no inspect of each: those of other workers come and go meanwhile.
        containers = client.api.containers(all=True, filters={"label": "jupyter-launcher.owner"})
        named = {item["Names"][0].lstrip("/"): item for item in containers}
        return {
            name: item
            for name, item in named.items()
            if item["Labels"]["jupyter-launcher.owner"].startswith("pytest")
            and not any(this_run in text for text in (name, *item["Labels"].values()))
        }

    assert found() == {}
    yield found
    left = found()
    for item in left.values():
        client.api.remove_container(item["Id"], force=True, v=True)
    assert list(left) == []


def run(pytester: pytest.Pytester, *options: str, **tests: str) -> pytest.RunResult:
    for name, text in tests.items():
        pytester.makepyfile(**{name: text})
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)


SERVER_ANSWERS = """
    import requests

    def test_it(jupyter_server):
        assert requests.get(jupyter_server.lab_url, timeout=10).status_code == 200
"""
FAILS = """
    def test_fails(jupyter_server_factory):
        session = jupyter_server_factory(session_id="the-one")
        print("token:", session.server_info.token)
        assert False

    def test_passes(jupyter_server_factory):
        jupyter_server_factory(session_id="the-other")
"""
WRITES = "print('before')\nopen('made.txt', 'w')"
WAITS = """
    import pathlib, signal

    def test_it(jupyter_server, jupyter_gateway):
        pathlib.Path("up").write_text(jupyter_server.container_id)
        signal.pause()
"""


def test_what_does_not_use_it_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        import sys

        def pytest_unconfigure():
            print("imported:", sorted({"docker", "requests", "tenacity"} & set(sys.modules)))
    """)
    result = run(pytester, "-s", test_a="def test_it(tmp_path): pass")
    result.stdout.fnmatch_lines(["*1 passed*", "imported: [[][]]"])
    result.stdout.no_fnmatch_line("jupyter*")


@pytest.mark.usefixtures("of_runs")
def test_the_fixtures_give_real_servers(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        test_a="""
        import requests
        from run_pipeline import kernel_client

        def get(session, name):
            url, token = f"{session.url}api/contents/{name}", session.server_info.token
            return requests.get(url, headers={"Authorization": f"token {token}"}, timeout=10).json()

        def test_server(jupyter_server, jupyter_pipeline_dir, tmp_path):
            assert jupyter_pipeline_dir == tmp_path == jupyter_server.pipeline_dir
            (jupyter_pipeline_dir / "here.txt").write_text("found")
            assert get(jupyter_server, "here.txt")["content"] == "found"
            assert jupyter_server.gateway is None

        def test_factory(jupyter_server_factory, tmp_path_factory, jupyter_launcher):
            first = jupyter_server_factory(base_url="/a")
            second = jupyter_server_factory(tmp_path_factory.mktemp("other"), session_id="second")
            assert first.url.endswith("/a/")
            assert {item.session_id for item in jupyter_launcher.list()} == {first.id, "second"}

        def test_stopped(jupyter_launcher):
            assert jupyter_launcher.list() == []

        def test_gateway(jupyter_gateway, jupyter_server, jupyter_pipeline_dir):
            assert jupyter_server.gateway.name == str(jupyter_gateway)
            (jupyter_pipeline_dir / "data").write_text("of this test")
            with kernel_client(jupyter_server) as kernel:
                reply = kernel.execute("import socket; print(open('data').read(), socket.gethostname())")
            host = jupyter_server.gateway.container_id[:12]
            assert reply["outputs"][0]["text"].split() == ["of", "this", "test", host]

        def test_the_gateways_directory_is_empty_again(jupyter_gateway, jupyter_pipeline_dir, tmp_path):
            assert list(jupyter_pipeline_dir.iterdir()) == []

        def test_left_running(jupyter_launcher, jupyter_pipeline_dir):
            jupyter_launcher.start(jupyter_pipeline_dir)
        """,
        conftest=f"import sys; sys.path.append({str(Path(__file__).parents[2] / 'examples')!r})",
    )
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines([f"jupyter: * (API *) at *, image {DEFAULT_IMAGE}"])


def test_the_configuration_reaches_servers_and_gateway(
    pytester: pytest.Pytester, client: Any, gateway: str, namespace: str, of_runs: object
) -> None:
    network = client.networks.create(f"{namespace}-plugin", driver="bridge")
    network.connect(gateway)
    client.images.get(DEFAULT_IMAGE).tag("jupyter-launcher/test", "own")
    pytester.makeconftest(f"""
        import dataclasses, pytest

        @pytest.fixture(scope="session")
        def jupyter_launcher_config(jupyter_launcher_config):
            return dataclasses.replace(jupyter_launcher_config, gateway={gateway!r}, network={network.name!r},
                                       options={{"shm_size": "1g", "environment": {{"FLAVOUR": "salt"}}}})
    """)
    try:
        result = run(
            pytester,
            "--jupyter-image=jupyter-launcher/test:own",
            "--jupyter-start-timeout=31.5",
            test_a=f"""
            import docker

            def test_it(jupyter_server, jupyter_gateway, jupyter_launcher):
                assert jupyter_gateway == jupyter_server.gateway.name == {gateway!r}
                assert jupyter_launcher.timeouts.start == 31.5
                attrs = docker.from_env().containers.get(jupyter_server.container_id).attrs
                assert attrs["HostConfig"]["ShmSize"] == 2**30
                assert "FLAVOUR=salt" in attrs["Config"]["Env"]
                assert attrs["Config"]["Image"].endswith("jupyter-launcher/test:own")
                assert list(attrs["NetworkSettings"]["Networks"]) == [{network.name!r}]
            """,
        )
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["jupyter: *, image jupyter-launcher/test:own"])
    finally:
        client.images.remove("jupyter-launcher/test:own")
        network.disconnect(gateway)
        network.remove()


@pytest.mark.usefixtures("of_runs")
def test_notebooks_are_tests(pytester: pytest.Pytester) -> None:
    steps = pytester.mkdir("steps")
    (steps / "data.txt").write_text("of the folder")
    for name, source in {"good": "assert open('data.txt').read() == 'of the folder'", "bad": WRITES}.items():
        (steps / f"{name}.ipynb").write_text(json.dumps(notebook(text_cell("# Head"), code("x = 1"), code(source))))
    before = {path.name: path.read_bytes() for path in steps.iterdir()}
    result = run(pytester, "-n2", "--jupyter-notebooks=steps/*.ipynb", test_a="def test_it(): pass")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "cell 3 of bad.ipynb raised OSError: *Read-only file system*",
            "*- source -*",
            "open('made.txt', 'w')",
            "*- outputs -*",
            "before",
            "*- traceback -*",
            "*OSError*",
            "*jupyter session *",
            "FAILED steps/bad.ipynb::bad - cell 3 of bad.ipynb *",
        ]
    )
    result.stdout.no_fnmatch_line("*CellError*")
    assert {path.name: path.read_bytes() for path in steps.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "ci", "outcome"),
    [
        ((), False, {"skipped": 1}),
        ((), True, {"errors": 1}),
        (("--jupyter-docker=skip",), True, {"skipped": 1}),
        (("--jupyter-docker=require",), False, {"errors": 1}),
        (("-o", "jupyter_docker=require"), False, {"errors": 1}),
        (("-o", "jupyter_docker=require", "--jupyter-docker=skip"), False, {"skipped": 1}),
    ],
)
def test_without_an_engine(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    ci: bool,  # noqa: FBT001 - pytest hands it over by name
    outcome: dict[str, int],
) -> None:
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    if ci:
        monkeypatch.setenv("CI", "true")
    result = run(pytester, "-rs", *options, test_a=SERVER_ANSWERS)
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines([f"jupyter: *{NO_ENGINE}*", f"*{NO_ENGINE}*start Docker*"])


@pytest.mark.parametrize("option", ["jupyter_docker=maybe", "jupyter_keep=some", "jupyter_start_timeout=soon"])
def test_ini_options_that_cannot_be(pytester: pytest.Pytester, option: str) -> None:
    result = run(pytester, "-o", option, test_a="def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option.partition('=')[0]} is *; give *"])


@pytest.mark.usefixtures("needs_logs")
def test_a_failed_test_shows_the_containers_and_not_the_token(
    pytester: pytest.Pytester, of_runs: Callable[[], object]
) -> None:
    result = run(
        pytester,
        test_a="""
        def test_call(jupyter_gateway, jupyter_server):
            jupyter_server.server_info
            assert False
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- jupyter session *",
            "container jupyter-server.pytest-*-main.* of image *",
            "state: running, exit code 0, out of memory: no",
            "networks: bridge 1*",
            "ports: 8888/tcp -> [0-9]*",
            "url: http://127.0.0.1:*/",
            "*JupyterLab extension loaded*",
            "*- jupyter gateway -*",
            "container kernel-gateway.pytest-*",
            "*Jupyter * Gateway * is available at *",
        ]
    )
    assert not re.search(r"token=[0-9a-f]", result.stdout.str())


@pytest.mark.usefixtures("of_runs", "needs_logs")
def test_a_failed_set_up_shows_the_container_that_is_no_more(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        test_a="""
        import pytest

        @pytest.fixture
        def broken(jupyter_server_factory):
            return jupyter_server_factory(lab_args=["--ServerApp.max_body_size=no-number"])

        def test_set_up(broken): pass
        """,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E  *ServerStartError: *",
            "*- jupyter session *, which failed to start -*",
            "state: exited, exit code 1, out of memory: no",
            "*max_body_size*",
        ]
    )
    result.stdout.no_fnmatch_line("*tenacity*")


@pytest.mark.parametrize(
    ("keep", "kept"), [("never", set()), ("failed", {"the-one"}), ("always", {"the-one", "the-other"})]
)
def test_sessions_that_are_kept(
    pytester: pytest.Pytester, of_runs: Callable[[], dict[str, Any]], keep: str, kept: set[str]
) -> None:
    result = run(pytester, f"--jupyter-keep={keep}", test_a=FAILS)
    result.assert_outcomes(failed=1, passed=1)
    assert {name.rpartition(".")[2] for name in of_runs()} == kept
    # A run that follows leaves them alone.
    run(pytester, "-k", "passes").assert_outcomes(passed=1, deselected=1)
    assert {name.rpartition(".")[2] for name in of_runs()} == kept
    told = result.stdout.str().partition("jupyter sessions that were kept")[2]
    links = re.findall(r"with the token: (.*)", told)
    assert len(links) == len(kept)
    for link in links:
        command = link.replace("python", sys.executable, 1)
        lab_url = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S602 - as it is printed
        assert requests.get(lab_url, timeout=10).status_code == 200
        assert lab_url.partition("?")[0] in told
        assert lab_url.partition("token=")[2] not in told
    for line in re.findall(r"to remove it: (.*)", told):
        subprocess.run(line, shell=True, capture_output=True, check=True)  # noqa: S602 - as it is printed


def test_a_kept_session_keeps_its_gateway_and_its_files(
    pytester: pytest.Pytester, of_runs: Callable[[], dict[str, Any]], client: Any
) -> None:
    result = run(
        pytester,
        "--jupyter-keep=failed",
        test_a="""
        def test_it(jupyter_gateway, jupyter_server, jupyter_pipeline_dir):
            (jupyter_pipeline_dir / "evidence").write_text("here")
            assert False
        """,
    )
    kinds = sorted(name.partition(".")[0] for name in of_runs())
    assert kinds == ["jupyter-server", "kernel-gateway"]
    session = next(name for name in of_runs() if name.startswith("jupyter-server"))
    assert client.containers.get(session).exec_run(["cat", "evidence"]).output == b"here"
    told = result.stdout.str()
    for command in (*re.findall(r"to remove it: (.*)", told), *re.findall(r"their gateway: (.*)", told)):
        subprocess.run(command, shell=True, capture_output=True, check=True)  # noqa: S602 - as it is printed


def test_workers_have_namespaces_of_their_own_and_build_the_image_once(
    pytester: pytest.Pytester, client: Any, of_runs: object, base_image: str
) -> None:
    kept = f"jupyter-launcher/test:{uuid.uuid4().hex}"
    client.images.get(DEFAULT_IMAGE).tag(*kept.split(":"))
    client.images.remove(DEFAULT_IMAGE)
    pytester.makeconftest(f"""
        import dataclasses, os, pathlib, pytest
        from jupyter_launcher import BuildOptions

        def note(event):
            if event.kind.value == "progress" and event.phase.value == "image":
                with pathlib.Path({str(pytester.path)!r}, "built").open("a") as file:
                    file.write(os.environ["PYTEST_XDIST_WORKER"] + chr(10))

        @pytest.fixture(scope="session")
        def jupyter_launcher_config(jupyter_launcher_config):
            build = BuildOptions(base_image={base_image!r}, ca_certificates={tuple(map(str, CERTIFICATES))!r})
            return dataclasses.replace(jupyter_launcher_config, launcher={{"build": build, "on_event": note}})
    """)
    try:
        result = run(
            pytester,
            "-n4",
            "--dist=each",
            test_a="""
            import json, pathlib

            def test_it(jupyter_server_factory, jupyter_launcher, worker_id, pytestconfig):
                session = jupyter_server_factory(session_id="the-same-for-all")
                assert [item.session_id for item in jupyter_launcher.list()] == [session.id]
                pathlib.Path(pytestconfig.rootpath, worker_id).write_text(session.container_name)
            """,
        )
        result.assert_outcomes(passed=4)
        assert len({(pytester.path / f"gw{number}").read_text() for number in range(4)}) == 4
        assert len(set((pytester.path / "built").read_text().split())) == 1
        assert len(re.findall(r"^jupyter: (?:Docker|Podman) .* image ", result.stdout.str(), re.MULTILINE)) == 1
    finally:
        if not client.images.list(DEFAULT_IMAGE):
            client.images.get(kept).tag(*DEFAULT_IMAGE.split(":"))
        client.images.remove(kept)


def test_workers_tell_of_failures_and_of_kept_sessions(
    pytester: pytest.Pytester, of_runs: Callable[[], dict[str, Any]]
) -> None:
    result = run(pytester, "-n2", "--jupyter-keep=failed", test_a=FAILS)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*- jupyter session the-one -*", "*jupyter sessions that were kept*", "test_fails: http*"]
    )
    (name,) = of_runs()
    subprocess.run(["docker", "rm", "-f", "-v", name], capture_output=True, check=True)


def test_the_first_failure_ends_the_run_cleanly(pytester: pytest.Pytester, of_runs: Callable[[], object]) -> None:
    run(pytester, "-x", test_a=FAILS).assert_outcomes(failed=1)
    assert of_runs() == {}


REUSED = """
    import json, pathlib

    def test_it(jupyter_server, jupyter_pipeline_dir):
        seen = [
            jupyter_server.joined,
            jupyter_server.container_id,
            [path.name for path in jupyter_pipeline_dir.iterdir()],
            [kernel.id for kernel in jupyter_server.kernels()],
            jupyter_server.request("GET", "api/terminals").json(),
        ]
        pathlib.Path("seen.json").write_text(json.dumps(seen))
        for path in ("api/kernels", "api/terminals"):
            assert jupyter_server.request("POST", path).status in (200, 201)
        (jupyter_pipeline_dir / "left").write_text("by an earlier test")
"""


@pytest.fixture
def reused(client: Any, pytester: pytest.Pytester, tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """The ids of the servers that stay for a next run of this test's folder."""
    known = Reuse.take(tmp_path, pytester.path, "main")
    assert known is not None
    known.close()

    def found() -> list[str]:
        filters = {"label": f"jupyter-launcher.namespace={known.namespace}"}
        return [item["Id"] for item in client.api.containers(all=True, filters=filters)]

    yield found
    for container in found():
        client.api.remove_container(container, force=True, v=True)


def test_the_next_run_finds_its_servers(pytester: pytest.Pytester, reused: Callable[[], list[str]]) -> None:
    def look(*options: str) -> tuple[bool, str, pytest.RunResult]:
        result = pytester.runpytest_subprocess("--jupyter-reuse", *options)
        result.assert_outcomes(passed=1)
        joined, container, *found = json.loads((pytester.path / "seen.json").read_text())
        assert found == [[], [], []], "files, kernels, terminals"
        return joined, container, result

    pytester.makepyfile(test_a=REUSED)
    joined, first, _ = look()
    assert not joined
    assert look()[:2] == (True, first)
    pytester.makeconftest("""
        import dataclasses, pytest

        @pytest.fixture(scope="session")
        def jupyter_launcher_config(jupyter_launcher_config):
            return dataclasses.replace(jupyter_launcher_config, options={"environment": {"STAGE": "test"}})
    """)
    joined, changed, result = look()
    assert (joined, changed != first) == (False, True)
    assert reused() == [changed]
    # It ends as the run has said.
    told = re.search(r"to stop them: jupyter-launcher (.*)", result.stdout.str())
    assert told
    subprocess.run([sys.executable, "-m", "jupyter_launcher", *told[1].split()], capture_output=True, check=True)
    assert reused() == []


def waiting(pytester: pytest.Pytester, *options: str) -> subprocess.Popen[str]:
    """A run whose test has a server and a gateway, and waits."""
    pytester.makepyfile(test_waits=WAITS)
    # In what a shell runs in the background, SIGINT is ignored, and the children inherit that.
    code = (
        "import pytest, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(pytest.main())"
    )
    line = [sys.executable, "-c", code, "-p", "no:cacheprovider", *options]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    up = pytester.path / "up"
    assert eventually(lambda: up.exists() or process.poll() is not None, 60)
    assert up.exists(), process.communicate()[0]
    return process


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["alone", "xdist"])
def test_ctrl_c_leaves_nothing(
    pytester: pytest.Pytester, of_runs: Callable[[], object], options: tuple[str, ...]
) -> None:
    process = waiting(pytester, *options)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED, printed
    assert of_runs() == {}, printed


def test_what_a_killed_run_left_is_reaped_by_the_next_one(
    pytester: pytest.Pytester, of_runs: Callable[[], dict[str, Any]]
) -> None:
    process = waiting(pytester)
    assert len(of_runs()) == 2
    # While it lives, another run leaves its containers alone.
    run(pytester, "test_b.py", test_b=SERVER_ANSWERS).assert_outcomes(passed=1)
    assert len(of_runs()) == 2
    process.kill()
    process.communicate()
    assert len(of_runs()) == 2
    run(pytester, "test_b.py").assert_outcomes(passed=1)
    assert of_runs() == {}


def test_what_a_crashed_worker_left_is_gone_when_the_run_ends(
    pytester: pytest.Pytester, of_runs: Callable[[], object]
) -> None:
    result = run(
        pytester,
        "-n1",
        test_a="""
        import os, signal

        def test_it(jupyter_server, jupyter_gateway):
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed*"])
    assert of_runs() == {}


def test_what_runs_elsewhere_have_left_is_reaped_when_it_has_ended_and_is_old(
    launcher: Launcher, pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = owner.owner_id().replace(process._pid_space()[0], "another-machine")
    with Launcher(namespace=launcher.namespace, owner=mark) as elsewhere:
        session = elsewhere.start(pipeline_dir)
    engine = launcher._engine
    assert isinstance(engine, DockerEngine)

    def open_launcher(namespace: str) -> Launcher:
        return Launcher(client=engine.client, namespace=namespace)

    now = engine.now
    monkeypatch.setattr(engine, "now", lambda: now() + 100_000)
    assert owner.reap_dead_runs(engine, open_launcher) == []
    assert session.status().state is SessionState.READY
    engine.api.stop(session.container_id)
    monkeypatch.setattr(engine, "now", now)
    assert owner.reap_dead_runs(engine, open_launcher) == []
    monkeypatch.setattr(engine, "now", lambda: now() + 100_000)
    assert owner.reap_dead_runs(engine, open_launcher) == [session.container_name]
    assert session.status().state is SessionState.GONE

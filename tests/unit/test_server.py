from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    ExecError,
    Gateway,
    GatewayUnreachableError,
    ServerError,
    ServerInfoError,
    ServerNotRunningError,
    ServerStartError,
    ServerTimeoutError,
)
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.server import (
    JupyterApi,
    argv,
    check_kernelspecs,
    end_kernels,
    exec_start,
    read_server_info,
    wait_until_ready,
)
from jupyter_launcher.server_config import PARTITIONED_COOKIES, config_file
from tests.unit.fakes import FakeEngine, container, http_server, printed
from tests.unit.test_models import SERVER_INFO
from tests.unit.test_spec import spec

INFO = json.dumps(SERVER_INFO)
GATEWAY = Gateway(name="gw", url="http://10.0.0.1:8888")


def test_argv_has_the_hard_coded_settings_first(tmp_path: Path) -> None:
    line = argv(spec(tmp_path, lab_args=["--LabApp.x=1"]), GATEWAY)
    assert line[:6] == (
        "jupyter",
        "lab",
        "--ip=0.0.0.0",
        "--port=8888",
        "--notebook-dir=/pipeline-dir",
        "--gateway-url=http://10.0.0.1:8888",
    )
    assert line[-1] == "--LabApp.x=1"


def test_argv_without_a_gateway_and_with_a_base_url(tmp_path: Path) -> None:
    line = argv(spec(tmp_path, base_url="/x"), None)
    assert not any("gateway" in item for item in line)
    assert "--ServerApp.base_url=/x/" in line


def settings(line: tuple[str, ...], name: str) -> Any:
    (value,) = [item.partition("=")[2] for item in line if item.startswith(f"--{name}=")]
    return value if value[0] != "{" else ast.literal_eval(value)


@pytest.mark.parametrize("origin", ["https://ide.example", "http://localhost:3000", "http://127.0.0.2:3000"])
def test_an_origin_and_cookies_for_frames_of_another_site(tmp_path: Path, origin: str) -> None:
    made = spec(tmp_path, allow_origin=origin, base_url="/x", lab_args=["--last"])
    line = argv(made, None)
    cookies = {"samesite": "None", "secure": True, "partitioned": True}
    assert settings(line, "ServerApp.allow_origin") == origin
    assert settings(line, "ServerApp.tornado_settings") == {
        "headers": {"Content-Security-Policy": f"frame-ancestors 'self' {origin}"},
        "xsrf_cookie_kwargs": {"path": "/x/", **cookies},
    }
    assert settings(line, "IdentityProvider.cookie_options") == cookies
    assert not any("xsrf=" in item or "*" in item for item in line)
    assert line[-1] == "--last"
    assert "partitioned" in config_file(made, None)


def test_an_origin_of_plain_http_leaves_the_cookies_as_they_are(tmp_path: Path) -> None:
    made = spec(tmp_path, allow_origin="http://ide.example")
    policy = {"Content-Security-Policy": "frame-ancestors 'self' http://ide.example"}
    assert settings(argv(made, None), "ServerApp.tornado_settings") == {"headers": policy}
    assert not any("cookie" in item for item in argv(made, None))
    assert "partitioned" not in config_file(made, None)


def test_without_an_origin_nothing_is_set(tmp_path: Path) -> None:
    assert not any("origin" in item or "tornado" in item or "cookie" in item for item in argv(spec(tmp_path), None))
    assert "partitioned" not in config_file(spec(tmp_path), None)


def test_every_configuration_is_python(tmp_path: Path) -> None:
    ast.parse(config_file(spec(tmp_path, allow_origin="https://ide.example"), GATEWAY))
    assert "partitioned" not in config_file(spec(tmp_path), GATEWAY)


def test_the_cookies_that_the_server_is_told_of_are_known() -> None:
    # In a process of its own, since it changes the standard library.
    code = f"{PARTITIONED_COOKIES}\nm = Morsel(); m.set('a', 'b', 'b'); m['partitioned'] = True; print(m)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "Set-Cookie: a=b; Partitioned"


def test_the_configuration_is_handed_to_the_script() -> None:
    engine = FakeEngine({"c": container()}, [printed(INFO)])
    exec_start(engine, "c", ("jupyter",), Deadline(5), lease=7, tune=False, config="# config")
    assert engine.execs[0][-4:] == ("7", "", "# config", "jupyter")


def test_output_that_was_lost_is_asked_for_again() -> None:
    engine = FakeEngine({"c": container()}, [printed(""), printed(""), printed(INFO)])
    assert exec_start(engine, "c", ("jupyter",), Deadline(5)).token == SERVER_INFO["token"]
    assert len(engine.execs) == 3


def test_half_written_server_info_is_asked_for_again() -> None:
    engine = FakeEngine({"c": container()}, [printed(INFO[:50]), printed(""), printed(INFO)])
    assert read_server_info(engine, "c", Deadline(5)).pid == SERVER_INFO["pid"]


def test_no_server_info_at_all() -> None:
    with pytest.raises(ServerInfoError, match="no server runs"):
        read_server_info(FakeEngine({"c": container()}, [printed("")]), "c", Deadline(0.05))


def test_server_info_of_a_container_that_ended() -> None:
    engine = FakeEngine({"c": container(state="exited", exit_code=3)}, [ExecError("not running")])
    with pytest.raises(ServerNotRunningError) as caught:
        read_server_info(engine, "c", Deadline(5))
    assert caught.value.exit_code == 3


def test_a_start_script_that_fails_says_why() -> None:
    engine = FakeEngine({"c": container(state="exited", exit_code=70)}, [printed("", 70, "mkdir: no space left")])
    with pytest.raises(ServerStartError, match="no space left") as caught:
        exec_start(engine, "c", ("jupyter",), Deadline(5))
    assert caught.value.exit_code == 70


def test_a_container_removed_during_the_start() -> None:
    with pytest.raises(ServerStartError, match="removed by somebody else"):
        exec_start(FakeEngine({}, [ExecError("gone")]), "c", ("jupyter",), Deadline(5))


def test_a_stalled_exec_is_a_timeout() -> None:
    with pytest.raises(ServerTimeoutError):
        exec_start(FakeEngine({"c": container()}, [ExecError("stalled")]), "c", ("jupyter",), Deadline(0.0))


def test_ready_is_an_answer_with_our_token() -> None:
    asked: list[str | None] = []

    def answer(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append(headers.get("Authorization"))
        if len(asked) < 4:
            return 500, b"starting"
        return (200, b"{}") if headers.get("Authorization") == "token right" else (403, b"{}")

    with http_server(answer) as url:
        wait_until_ready(JupyterApi(url, "right"), FakeEngine({"c": container()}), "c", Deadline(5))
    assert asked == ["token right", None] * 3


def test_a_server_that_takes_another_token_is_not_ready() -> None:
    with http_server(lambda *_: (403, b"{}")) as url, pytest.raises(ServerTimeoutError, match="HTTP 403"):
        wait_until_ready(JupyterApi(url, "t"), FakeEngine({"c": container()}), "c", Deadline(0.2))


def test_a_server_without_authentication_is_refused() -> None:
    with http_server(lambda *_: (200, b"{}")) as url, pytest.raises(ServerError, match="without a token"):
        wait_until_ready(JupyterApi(url, "t"), FakeEngine({"c": container()}), "c", Deadline(5))


def test_a_container_that_dies_while_waiting() -> None:
    engine = FakeEngine({"c": container(state="exited", exit_code=137, oom_killed=True)})
    with http_server(lambda *_: (500, b"")) as url, pytest.raises(ServerStartError, match="HTTP 500") as caught:
        wait_until_ready(JupyterApi(url, "t"), engine, "c", Deadline(30))
    assert (caught.value.exit_code, caught.value.oom_killed, caught.value.log_tail) == (137, True, "the log")


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (503, b'{"message": "gateway is down"}', "gateway is down"),
        (404, b"not found", "HTTP 404"),
        (200, b'{"kernelspecs": {}}', "no kernel specs at all"),
        (200, b"[1, 2]", "[1, 2]"),
    ],
)
def test_a_gateway_that_gives_no_kernel_specs(status: int, body: bytes, seen: str) -> None:
    with http_server(lambda *_: (status, body)) as url, pytest.raises(GatewayUnreachableError) as caught:
        check_kernelspecs(JupyterApi(url, "t"), GATEWAY, FakeEngine(), "c", 5.0)
    assert seen in str(caught.value)
    assert (caught.value.status, caught.value.gateway_url) == (status, GATEWAY.url)


def kernels_server(kernels: set[str], *, sticky: str = "") -> Any:
    def answer(method: str, path: str, _: dict[str, str]) -> tuple[int, bytes]:
        if method == "DELETE":
            kernels.difference_update({path.rpartition("/")[2]} - {sticky})
            return 204, b""
        return 200, json.dumps([{"id": kernel} for kernel in sorted(kernels)]).encode()

    return answer


def test_kernels_that_are_left_are_deleted_and_no_others() -> None:
    kernels = {"a", "b", "other"}
    with http_server(kernels_server(kernels)) as url:
        assert end_kernels(JupyterApi(url), ("a", "b", "gone"), Deadline(5)) == ("a", "b", "gone")
    assert kernels == {"other"}


def test_a_kernel_that_stays_is_not_said_to_be_gone() -> None:
    with http_server(kernels_server({"a", "b"}, sticky="b")) as url:
        assert end_kernels(JupyterApi(url), ("a", "b"), Deadline(0.2)) == ("a",)


@pytest.mark.parametrize(("status", "body"), [(403, b"{}"), (200, b"{}"), (200, b"no json")])
def test_kernels_that_must_not_be_listed_are_unknown(status: int, body: bytes) -> None:
    with http_server(lambda *_: (status, body)) as url:
        assert JupyterApi(url).kernels() is None
        assert end_kernels(JupyterApi(url), ("a",), Deadline(5)) == ()


def test_nobody_at_home() -> None:
    with http_server(lambda *_: (200, b"{}")) as url:
        pass
    api = JupyterApi(url, "t")
    assert api.kernels() is None
    assert not api.answers()
    assert not api.shutdown(timeout=1)
    api.delete_kernels(["a"], timeout=1)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with http_server(lambda *_: (200, b"{}")) as url:
        assert JupyterApi(url, "t").answers()

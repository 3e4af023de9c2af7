"""What is sent into the container: the server's command, its configuration, its scripts."""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from typing import Any

import pytest

from jupyter_launcher import Gateway
from jupyter_launcher.spec.server import launch_script, read_script, server_command, server_config
from tests.unit.fakes import session_spec

GATEWAY = Gateway(name="gw", url="http://10.0.0.1:8888")


def test_the_command_has_the_hard_coded_settings_first() -> None:
    line = server_command(session_spec(lab_args=["--LabApp.x=1"]), GATEWAY)
    assert line[:6] == (
        "jupyter",
        "lab",
        "--ip=0.0.0.0",
        "--port=8888",
        "--notebook-dir=/pipeline-dir",
        "--gateway-url=http://10.0.0.1:8888",
    )
    assert line[-1] == "--LabApp.x=1"


def test_the_command_without_a_gateway_and_with_a_base_url() -> None:
    line = server_command(session_spec(base_url="/x"), None)
    assert not any("gateway" in item for item in line)
    assert "--ServerApp.base_url=/x/" in line
    assert not any("base_url" in item for item in server_command(session_spec(), None))


def test_settings_are_in_the_home_and_each_session_has_workspaces_of_its_own() -> None:
    line = server_command(session_spec(home="/srv/alice", session_id="one", lab_args=["--x"]), None)
    assert line[-3:] == (
        "--LabApp.user_settings_dir=/home/jupyter-launcher/.jupyter/lab/user-settings",
        "--LabApp.workspaces_dir=/home/jupyter-launcher/.jupyter/lab/workspaces/one",
        "--x",
    )
    assert not any("LabApp" in item for item in server_command(session_spec(), None))


def test_a_port_that_is_taken_does_not_become_the_next_one() -> None:
    line = server_command(session_spec(), None)
    assert {"--port-retries=0", "--no-browser", "--allow-root"} <= set(line)


def settings(line: tuple[str, ...], name: str) -> Any:
    (value,) = [item.partition("=")[2] for item in line if item.startswith(f"--{name}=")]
    return value if value[0] != "{" else ast.literal_eval(value)


@pytest.mark.parametrize("origin", ["https://ide.example", "http://localhost:3000", "http://127.0.0.2:3000"])
def test_an_origin_and_cookies_for_frames_of_another_site(origin: str) -> None:
    made = session_spec(allow_origin=origin, base_url="/x", lab_args=["--last"])
    line = server_command(made, None)
    cookies = {"samesite": "None", "secure": True, "partitioned": True}
    assert settings(line, "ServerApp.allow_origin") == origin
    assert settings(line, "ServerApp.tornado_settings") == {
        "headers": {"Content-Security-Policy": f"frame-ancestors 'self' {origin}"},
        "xsrf_cookie_kwargs": {"path": "/x/", **cookies},
    }
    assert settings(line, "IdentityProvider.cookie_options") == cookies
    assert not any("xsrf=" in item or "*" in item for item in line)
    assert line[-1] == "--last"
    assert "partitioned" in server_config(made, None)


def test_an_origin_of_plain_http_leaves_the_cookies_as_they_are() -> None:
    made = session_spec(allow_origin="http://ide.example")
    policy = {"Content-Security-Policy": "frame-ancestors 'self' http://ide.example"}
    assert settings(server_command(made, None), "ServerApp.tornado_settings") == {"headers": policy}
    assert not any("cookie" in item for item in server_command(made, None))
    assert "partitioned" not in server_config(made, None)


def test_without_an_origin_nothing_is_set() -> None:
    line = server_command(session_spec(), None)
    assert not any("origin" in item or "tornado" in item or "cookie" in item for item in line)
    assert "partitioned" not in server_config(session_spec(), None)


def test_every_configuration_is_python() -> None:
    ast.parse(server_config(session_spec(allow_origin="https://ide.example"), GATEWAY))
    assert "partitioned" not in server_config(session_spec(), GATEWAY)


def test_a_configuration_has_the_patches_that_the_session_needs_and_no_others() -> None:
    def patches(*names: str) -> str:
        return "\n".join(read_script(f"patches/{name}.py") for name in names)

    always = (
        "held_settings",
        "ready_signal",
        "quiet_look",
        "kernel_environment",
        "trash",
        "checkpoints",
        "collaboration",
        "extension_manager",
        "ipython_folder",
        "reports",
        "output_limits",
        "resume",
    )
    gateway = (
        "gateway_kernels",
        "gateway_shutdown",
        "gateway_websocket",
        "gateway_messages",
        "gateway_errors",
        "gateway_buffers",
    )
    assert server_config(session_spec(), None) == patches(*always)
    assert server_config(session_spec(), GATEWAY) == patches(*always, *gateway)
    ours = replace(GATEWAY, token="t")
    assert server_config(session_spec(), ours) == patches(*always, "gateway_token", *gateway)
    embedded = session_spec(allow_origin="https://x")
    assert server_config(embedded, GATEWAY) == patches(*always, "partitioned_cookies", "login_cookies", *gateway)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({"idle_timeout": 1800}, (1800, None)),
        ({"idle_kernel_timeout": 60}, (None, 60)),
        ({"idle_timeout": 1800, "idle_kernel_timeout": 60}, (1800, 60)),
    ],
)
def test_a_configuration_with_a_limit_of_idleness_has_it(
    options: dict[str, Any], limits: tuple[int | None, ...]
) -> None:
    config = server_config(session_spec(**options), GATEWAY)
    ast.parse(config)
    assert f"_idle_timeout, _idle_kernel_timeout = {limits[0]}, {limits[1]}\n" in config
    assert config.index("_writes = []") < config.index("class _Idleness")
    assert "# {limits}" not in config
    assert "_Idleness" not in server_config(session_spec(), GATEWAY)


def test_the_launch_script_has_the_tunings() -> None:
    script = launch_script(session_spec())
    ast.parse(script)
    for name in ("rfc3987_syntax", "yarn_config", "late_collection", "late_imports", "extension_client", "quick_exit"):
        assert read_script(f"patches/{name}.py") in script
    assert "# {tunings}" not in script


def test_without_tuning_the_launch_script_restores_the_environment_alone() -> None:
    script = launch_script(session_spec(tune=False))
    assert script == read_script("launch.py").replace("# {tunings}\n", "")
    assert "/proc/1/environ" in script
    assert "get_ipython_dir" not in server_config(session_spec(tune=False), None)


def test_no_two_patches_of_one_file_have_a_name_in_common() -> None:
    # They share the names of one module, and some keep there what they replace.
    texts = (
        server_config(session_spec(allow_origin="https://ide.example"), GATEWAY),
        launch_script(session_spec()),
    )
    for text in texts:
        names = [
            name
            for node in ast.walk(ast.parse(text))
            for name in ([node.name] if isinstance(node, ast.FunctionDef) else _assigned(node))
            if name.startswith("_")
        ]
        assert len(names) == len(set(names))


def _assigned(node: ast.AST) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def run_settings(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[dict[str, str], list[int]]:
    """The variables and the umasks that the first lines of the configuration set."""
    text = server_config(session_spec(**options), None).partition(read_script("patches/ready_signal.py"))[0]
    environment, masks = {"MKL_NUM_THREADS": "7"}, list[int]()
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(os, "umask", masks.append)
    exec(text)  # noqa: S102 - our own
    return environment, masks


def test_the_server_and_its_kernels_know_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    found, masks = run_settings(monkeypatch, memory="1g", cpus=1.5)
    assert (found["MEM_LIMIT"], found["CPU_LIMIT"]) == (str(2**30), "1.5")
    assert (found["OMP_NUM_THREADS"], found["OPENBLAS_NUM_THREADS"], found["PYTHON_CPU_COUNT"]) == ("2", "2", "2")
    assert found["MKL_NUM_THREADS"] == "7"  # what is there already stays
    assert masks == []
    assert run_settings(monkeypatch, cpus=0.1)[0]["OMP_NUM_THREADS"] == "1"
    assert "CPU_LIMIT" not in run_settings(monkeypatch, memory="1g")[0]


def test_the_umask_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_settings(monkeypatch, umask="0027") == ({"MKL_NUM_THREADS": "7"}, [0o027])


def test_without_these_options_nothing_is_set() -> None:
    assert server_config(session_spec(), None).startswith(read_script("patches/held_settings.py"))
    assert session_spec(memory="1g").to_options() == {**session_spec().to_options(), "memory": 2**30}

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Mount, OptionError, PipelineDirError, Timeouts
from jupyter_launcher.pipeline_dir import PipelineDir
from jupyter_launcher.spec import SessionSpec, check_name


def spec(folder: Path, **options: Any) -> SessionSpec:
    return SessionSpec.from_options(folder, **{"namespace": "unit", "image": "image", **options})


def test_defaults_are_plain(tmp_path: Path) -> None:
    made = spec(tmp_path)
    status = tmp_path.stat()
    assert made.user == f"{status.st_uid}:{status.st_gid}"
    assert (made.host_ip, made.host_port, made.base_url) == ("127.0.0.1", None, "/")
    assert check_name(made.session_id, "session_id") == made.session_id
    assert spec(tmp_path).session_id != made.session_id


@pytest.mark.parametrize(
    ("given", "size"), [(512, 512), ("512", 512), ("1k", 1024), ("1.5m", 1572864), ("2GB", 2**31), ("2GiB", 2**31)]
)
def test_sizes(tmp_path: Path, given: int | str, size: int) -> None:
    assert spec(tmp_path, memory=given).memory == size


@pytest.mark.parametrize(
    ("given", "path"),
    [("/", "/"), ("", "/"), ("a", "/a/"), ("/a", "/a/"), ("/a/b/", "/a/b/"), ("~me/x-1_2.3", "/~me/x-1_2.3/")],
)
def test_base_urls(tmp_path: Path, given: str, path: str) -> None:
    assert spec(tmp_path, base_url=given).base_url == path


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        (None, None),
        ("https://ide.example", "https://ide.example"),
        ("HTTPS://Ide.Example:8443", "https://ide.example:8443"),
        ("https://ide.example:443", "https://ide.example"),
        ("http://ide.example:80", "http://ide.example"),
        ("http://ide.example:443", "http://ide.example:443"),
        ("http://127.0.0.1:03000", "http://127.0.0.1:3000"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://xn--id-cja.example", "https://xn--id-cja.example"),
    ],
)
def test_origins_are_spelled_as_browsers_do(tmp_path: Path, given: str | None, origin: str | None) -> None:
    made = spec(tmp_path, allow_origin=given)
    assert (made.allow_origin, made.to_options()["allow_origin"]) == (origin, origin)


@pytest.mark.parametrize(
    "argument",
    [
        "--ServerApp.allow_origin=*",
        "--ServerApp.allow_origin_pat=.*",
        "--ServerApp.tornado_settings={}",
        "--IdentityProvider.cookie_options={}",
    ],
)
def test_what_the_origin_sets_is_not_set_twice(tmp_path: Path, argument: str) -> None:
    assert spec(tmp_path, lab_args=[argument]).lab_args == (argument,)
    with pytest.raises(OptionError, match="which allow_origin sets") as caught:
        spec(tmp_path, lab_args=[argument], allow_origin="https://ide.example")
    assert caught.value.option == "lab_args"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("session_id", "no spaces"),
        ("session_id", 7),
        ("namespace", ""),
        ("host_ip", "localhost"),
        ("host_ip", "300.1.1.1"),
        ("host_port", 0),
        ("host_port", 65536),
        ("host_port", "8888"),
        ("host_port", True),
        ("base_url", "http://else/where"),
        ("base_url", "/a?b"),
        ("allow_origin", "*"),
        ("allow_origin", ""),
        ("allow_origin", "null"),
        ("allow_origin", 7),
        ("allow_origin", "ide.example"),
        ("allow_origin", "//ide.example"),
        ("allow_origin", "ftp://ide.example"),
        ("allow_origin", "https://*.example"),
        ("allow_origin", "https://ide.example/"),
        ("allow_origin", "https://ide.example/path"),
        ("allow_origin", "https://user@ide.example"),
        ("allow_origin", "https://ide.example:0"),
        ("allow_origin", "https://ide.example:65536"),
        ("allow_origin", "https://ide.example:"),
        ("allow_origin", "https://ide.example https://other.example"),
        ("allow_origin", "https://ide.example; script-src *"),
        ("allow_origin", "https://ide.example\n"),
        ("allow_origin", "https://-ide.example"),
        ("allow_origin", "https://[::1]:80"),
        ("allow_origin", "https://idé.example"),
        ("memory", "much"),
        ("memory", 0),
        ("memory", "-1g"),
        ("memory", "nan"),
        ("shm_size", "b"),
        ("cpus", 0),
        ("cpus", "2"),
        ("cpus", float("nan")),
        ("gpus", 0),
        ("gpus", "some"),
        ("environment", {"N": 1}),
        ("environment", {"A=B": "c"}),
        ("environment", {"": "c"}),
        ("environment", {"A": "nul\0"}),
        ("environment", {"JUPYTER_TOKEN": "secret"}),
        ("environment", ["A=b"]),
        ("labels", {"a": None}),
        ("labels", {"jupyter-launcher.namespace": "other"}),
        ("mounts", ["/a:/b"]),
        ("mounts", [Mount(source="relative", target="/x")]),
        ("mounts", [Mount(source="/x", target="relative")]),
        ("mounts", [Mount(source="/x", target="/pipeline-dir/")]),
        ("mounts", [Mount(source="/x", target="/y"), Mount(source="/z", target="/y")]),
        ("lab_args", "--one-text"),
        ("lab_args", [1]),
        ("lab_args", ["--port=9999"]),
        ("lab_args", ["--ip", "1.2.3.4"]),
        ("lab_args", ["--ServerApp.token=secret"]),
        ("lab_args", ["--IdentityProvider.token="]),
        ("lab_args", ["--PasswordIdentityProvider.hashed_password=x"]),
        ("lab_args", ["--gateway-url=http://x"]),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(OptionError, match=option) as caught:
        spec(tmp_path, **{option: value})
    assert caught.value.option == option
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["engine", "start", "gateway"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "10", True, None])
def test_timeouts_that_cannot_be(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"timeouts.{name}"):
        Timeouts(**{name: value})


def test_arguments_that_only_look_like_ours_are_passed(tmp_path: Path) -> None:
    given = ("--MyApp.port=1", "--ServerApp.allow_origin=x", "ip", "--ipython")
    assert spec(tmp_path, lab_args=given).lab_args == given


def test_the_environment_is_known_by_a_digest_only(tmp_path: Path) -> None:
    one = spec(tmp_path, environment={"KEY": "s3cret"})
    other = spec(tmp_path, environment={"KEY": "0ther"})
    assert "s3cret" not in repr(one) + repr(one.to_options())
    assert one.to_options()["environment"] != other.to_options()["environment"]


def test_links_and_home_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spec(Path("~/link")).pipeline_dir == tmp_path / "real"


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PipelineDirError):
        spec(tmp_path / "loop")


@pytest.mark.parametrize("given", ["nul\0", "\udcff", None, 7])
def test_what_is_no_path_at_all(given: Any) -> None:
    with pytest.raises(PipelineDirError):
        PipelineDir.from_path(given)


@pytest.mark.parametrize(
    ("mode", "user", "allowed"),
    [
        (0o700, None, True),
        (0o300, None, False),
        (0o750, "4000000:{gid}", True),
        (0o700, "4000000:{gid}", False),
        (0o705, "4000000:4000000", True),
        (0o750, "4000000:4000000", False),
        (0o700, "by-name", True),
    ],
)
def test_the_servers_user_must_be_able_to_read(tmp_path: Path, mode: int, user: str | None, allowed: bool) -> None:  # noqa: FBT001 - pytest hands it over by name
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    folder.chmod(mode | 0o500 if os.getuid() else mode)
    given = user and user.format(gid=folder.stat().st_gid)
    if allowed or (os.getuid() and mode == 0o300):
        assert PipelineDir.from_path(folder, given).path == folder
    else:
        with pytest.raises(PipelineDirError, match="can't read"):
            PipelineDir.from_path(folder, given)

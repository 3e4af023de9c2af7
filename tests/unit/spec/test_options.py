"""``SessionSpec``: what was asked for as a whole, and what makes two starts the same."""

from __future__ import annotations

import inspect
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from jupyter_launcher import KernelImage, Launcher, Mount, OptionError, Secret
from jupyter_launcher.spec.checks import check_name
from jupyter_launcher.spec.options import SPELLINGS, SessionOptions, SessionSpec, StartOptions, differences
from tests.unit.fakes import session_spec
from tests.unit.strategies import error_of

OF_THE_SESSION = {"session_id", "namespace", "pipeline_dir", "pipeline_dir_id", "user", "image"}
WITH_KERNELS = {"isolation", "max_kernels", "kernel_idle"}
"""Options that are checked together with `kernels`, and are in its value."""

# What 0.1.0 wrote: all options, those with their defaults too.
OPTIONS_OF_0_1_0: dict[str, Any] = {
    "pipeline_dir": "/pipelines/one",
    "gateway": None,
    "network": None,
    "image": "image",
    "host_ip": "127.0.0.1",
    "host_port": None,
    "base_url": "/",
    "allow_origin": None,
    "user": "1234:1234",
    "environment": "",
    "mounts": [],
    "memory": None,
    "cpus": None,
    "shm_size": None,
    "gpus": None,
    "read_only": False,
    "tune": True,
    "lease": None,
    "labels": {},
    "lab_args": [],
}


def test_defaults_are_plain() -> None:
    made = session_spec()
    assert (made.host_ip, made.host_port, made.base_url) == ("127.0.0.1", None, "/")
    assert check_name(made.session_id, "session_id") == made.session_id


@pytest.mark.parametrize(
    "argument",
    [
        "--ServerApp.allow_origin=*",
        "--ServerApp.allow_origin_pat=.*",
        "--ServerApp.tornado_settings={}",
        "--IdentityProvider.cookie_options={}",
    ],
)
def test_what_the_origin_sets_is_not_set_twice(argument: str) -> None:
    assert session_spec(lab_args=[argument]).lab_args == (argument,)
    with pytest.raises(OptionError, match="which allow_origin sets") as caught:
        session_spec(lab_args=[argument], allow_origin="https://ide.example")
    assert caught.value.option == "lab_args"


ODD = [None, "", 5, -1, 2**70, 10**5000, float("nan"), float("inf"), "\u00b2", "\ud800", "a\0b", b"x", [], {}, object()]
NAMES = (OF_THE_SESSION | set(SessionOptions.__annotations__)) - {"pipeline_dir", "pipeline_dir_id"}


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("option", sorted(NAMES))
def test_every_option_takes_a_value_or_refuses_it_by_name(option: str, value: Any) -> None:
    def make(given: Any) -> SessionSpec:
        return session_spec(**{option: given})

    for given in (value, [value], {"name": value}):
        error = error_of(OptionError, lambda given=given: make(given))  # type: ignore[misc]
        if error is None:
            json.dumps(make(given).to_options())
            continue
        assert error.option == option
        assert error.message.startswith((f"{option} ", f'{option}["name"]'))
        assert len(str(error).encode()) < 1000


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("session_id", "no spaces"),
        ("session_id", 7),
        ("namespace", ""),
        ("user", ""),
        ("user", "\u00b2"),
        ("user", None),
        ("image", ""),
        ("image", 5),
        ("gateway", 7),
        ("gateway", ""),
        ("gateway", "gw\udcff"),
        ("network", b"net"),
        ("network", "net\0"),
        ("network", ""),
        ("network", "host"),
        ("host_ip", "localhost"),
        ("host_ip", "300.1.1.1"),
        ("host_ip", 1),
        ("host_port", 0),
        ("host_port", 65536),
        ("host_port", "8888"),
        ("host_port", True),
        ("base_url", "http://else/where"),
        ("base_url", "/a?b"),
        ("base_url", None),
        ("base_url", "/../"),
        ("base_url", "/%zz/"),
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
        ("memory", "inf"),
        ("memory", True),
        ("memory", 2**70),
        ("shm_size", "b"),
        ("shm_size", float("inf")),
        ("log_size", 5),
        ("log_size", "inf"),
        ("cpus", 0),
        ("cpus", "2"),
        ("cpus", True),
        ("cpus", float("nan")),
        ("cpus", float("inf")),
        ("cpus", 10**400),
        ("gpus", 0),
        ("gpus", True),
        ("gpus", "some"),
        ("read_only", 1),
        ("pipeline_relabel", "x"),
        ("tune", None),
        ("entrypoint", "/entry.sh"),
        ("lease", 2),
        ("lease", 3.0),
        ("lease", True),
        ("lease", 30 * 86400 + 1),
        ("idle_timeout", 0),
        ("idle_timeout", 1.5),
        ("idle_timeout", True),
        ("idle_timeout", 30 * 86400 + 1),
        ("idle_kernel_timeout", -1),
        ("idle_kernel_timeout", "60"),
        ("environment", {"N": 1}),
        ("environment", {"A=B": "c"}),
        ("environment", {"": "c"}),
        ("environment", {"A": "nul\0"}),
        ("environment", {"A": "\udcff"}),
        ("environment", {"JUPYTER_TOKEN": "secret"}),
        ("environment", ["A=b"]),
        ("labels", {"a": None}),
        ("labels", {"a": "\udcff"}),
        ("labels", {"nul\0": "a"}),
        ("labels", {"jupyter-launcher.namespace": "other"}),
        ("mounts", ["/a:/b"]),
        ("mounts", 7),
        ("mounts", [Mount(source="relative", target="/x")]),
        ("mounts", [Mount(source="/x", target="relative")]),
        ("mounts", [Mount(source="/\udcff", target="/x")]),
        ("mounts", [Mount(source="/x", target="/nul\0")]),
        ("mounts", [Mount(source="/x", target="/run/jupyter-launcher")]),
        ("mounts", [Mount(source="/x", target="/")]),
        ("mounts", [Mount(source="/x", target="/pipeline-dir/")]),
        ("mounts", [Mount(source="/x", target="/y"), Mount(source="/z", target="/y")]),
        ("lab_args", "--one-text"),
        ("lab_args", 7),
        ("lab_args", [1]),
        ("lab_args", ["nul\0"]),
        ("lab_args", ["\udcff"]),
        ("lab_args", ["--port=9999"]),
        ("lab_args", ["--ip", "1.2.3.4"]),
        ("lab_args", ["--ServerApp.token=secret"]),
        ("lab_args", ["--IdentityProvider.token="]),
        ("lab_args", ["--PasswordIdentityProvider.hashed_password=x"]),
        ("lab_args", ["--gateway-url=http://x"]),
    ],
)
def test_options_that_cannot_be(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=option) as caught:
        session_spec(**{option: value})
    assert caught.value.option == option
    assert "secret" not in str(caught.value)


OWN_HOST = {"Hostname": "Lab"}


@pytest.mark.parametrize(
    ("gateway", "options"),
    [
        ("http://lab:8888", {"container_options": OWN_HOST}),
        ("https://LAB./base", {"container_options": OWN_HOST}),
        ("http://lab.example.org", {"container_options": {**OWN_HOST, "Domainname": "example.org"}}),
        ("http://gw:8888", {"extra_hosts": {"GW": "127.0.0.2"}}),
        ("http://gw:8888", {"extra_hosts": {"gw": "::1"}}),
    ],
)
def test_a_name_that_the_options_give_to_the_session_itself_is_no_gateway(
    gateway: str, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match="is the session itself") as caught:
        session_spec(gateway=gateway, **options)
    assert caught.value.option == "gateway"


@pytest.mark.parametrize(
    ("gateway", "options"),
    [
        ("lab", {"container_options": OWN_HOST}),  # a container's, whose address is looked up
        ("http://lab.example.org", {"container_options": OWN_HOST}),
        ("http://example.org", {"container_options": {"Domainname": "example.org"}}),
        ("http://gw:8888", {"extra_hosts": {"gw": "host-gateway"}}),
        ("http://gw:8888", {"extra_hosts": {"gw": "10.0.0.1", "other": "127.0.0.1"}}),
    ],
)
def test_a_name_of_somebody_else_may_be_a_gateway(gateway: str, options: dict[str, Any]) -> None:
    assert session_spec(gateway=gateway, **options).gateway == gateway


def test_the_environment_is_known_by_a_digest_only() -> None:
    one = session_spec(environment={"KEY": "s3cret"})
    other = session_spec(environment={"KEY": "0ther"})
    assert "s3cret" not in repr(one) + repr(one.to_options())
    assert one.to_options()["environment"] != other.to_options()["environment"]


def test_a_relabel_needs_a_directory_without_a_colon() -> None:
    assert session_spec(Path("/a:b")).pipeline_relabel is None
    with pytest.raises(OptionError, match="path with ':'") as caught:
        session_spec(Path("/a:b"), pipeline_relabel="z")
    assert caught.value.option == "pipeline_relabel"


def test_options_with_their_default_are_left_out() -> None:
    assert session_spec().to_options() == {"pipeline_dir": "/pipelines/one", "user": "1234:1234", "image": "image"}


def test_options_are_plain_json() -> None:
    made = session_spec(
        gateway="gw",
        network="net",
        host_port=80,
        mounts=[Mount(source="/a", target="/b"), Mount(source="/c", target="/d", read_only=True, relabel="Z")],
        pipeline_relabel="z",
        memory="1k",
        cpus=1.5,
        gpus="all",
        read_only=True,
        tune=False,
        lease=60,
        idle_timeout=1,
        idle_kernel_timeout=30 * 86400,
        labels={"z": "1", "a": "2"},
        lab_args=["--x"],
    )
    options = made.to_options()
    assert options == json.loads(json.dumps(options))
    assert options["mounts"] == ["/a:/b:rw", "/c:/d:ro,Z"]
    assert list(dict(made.labels)) == ["z", "a"]
    assert json.dumps(options["labels"]) == '{"a": "2", "z": "1"}'
    assert (options["idle_timeout"], options["idle_kernel_timeout"]) == (1, 30 * 86400)
    assert (options["memory"], options["lab_args"], options["tune"]) == (1024, ["--x"], False)
    assert session_spec(entrypoint=False).to_options()["entrypoint"] is False
    assert "entrypoint" not in options


def test_the_order_of_mappings_makes_no_difference() -> None:
    one = session_spec(labels={"a": "1", "b": "2"}, environment={"a": "1", "b": "2"})
    other = session_spec(labels={"b": "2", "a": "1"}, environment={"b": "2", "a": "1"})
    assert differences(one.to_options(), other.to_options()) == ()


def test_a_difference_names_the_option_and_both_values() -> None:
    found = differences(session_spec().to_options(), session_spec(memory=1024, image="other").to_options())
    assert found == ("image was 'image', now 'other'", "memory was None, now 1024")


def test_the_options_that_0_1_0_wrote_are_those_of_today() -> None:
    assert len(OPTIONS_OF_0_1_0) == 20
    assert differences(OPTIONS_OF_0_1_0, session_spec().to_options()) == ()
    assert differences(session_spec().to_options(), OPTIONS_OF_0_1_0) == ()


def test_a_changed_option_of_a_session_of_0_1_0_is_named_alone() -> None:
    assert differences(OPTIONS_OF_0_1_0, session_spec(memory="1g").to_options()) == (f"memory was None, now {2**30}",)
    before = {**OPTIONS_OF_0_1_0, "memory": 512}
    assert differences(before, session_spec().to_options()) == ("memory was 512, now None",)


@pytest.mark.parametrize("image", ["jupyter-launcher/jupyter-server:0.1.0", "jupyter-launcher/jupyter-server:9.9"])
def test_our_image_of_another_version_is_no_difference(image: str) -> None:
    ours = session_spec(image="jupyter-launcher/jupyter-server:1.0").to_options()
    assert "image" not in ours
    assert differences({**OPTIONS_OF_0_1_0, "image": image}, ours) == ()
    assert differences(ours, session_spec(image=image).to_options()) == ()


def test_another_image_than_ours_is_a_difference() -> None:
    ours = session_spec(image="jupyter-launcher/jupyter-server:1.0").to_options()
    (line,) = differences({**OPTIONS_OF_0_1_0, "image": "theirs"}, ours)
    assert line.startswith("image was 'theirs', now ")
    (line,) = differences(ours, session_spec(image="theirs").to_options())
    assert line.endswith(", now 'theirs'")


def test_an_option_of_a_newer_version_is_a_difference() -> None:
    assert differences({"new": 1}, {}) == ("new was 1, now None",)


def test_start_takes_every_option_and_their_defaults_agree() -> None:
    parameters = inspect.signature(Launcher.start).parameters
    specified = {item.name: item for item in fields(SessionSpec)}
    alone = {name for name in SessionOptions.__annotations__ if name not in WITH_KERNELS}
    assert set(specified) == alone | OF_THE_SESSION
    assert session_spec(**{name: parameters[name].default for name in WITH_KERNELS}) == session_spec()
    for name in alone - {"kernels"}:
        parameter, item = parameters[name], specified[name]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if name == "host_ip":  # where to publish depends on where the engine is
            assert (parameter.default, default) == (None, "127.0.0.1")
            continue
        assert item.metadata["check"](parameter.default, name) == default


def test_kernels_are_compared_one_by_one() -> None:
    one = session_spec(kernels={"py": "image", "R": KernelImage("r", gpus=["0"], environment={"a": "secret"})})
    other = session_spec(kernels={"R": "r", "py": "image"}, isolation="kernel", max_kernels=3, kernel_idle=60)
    before = json.loads(json.dumps(one.to_options()))
    assert differences(before, one.to_options()) == ()
    assert "secret" not in json.dumps(before) + repr(one)
    lines = differences(before, other.to_options())
    assert [line.partition(" was ")[0] for line in lines] == [
        "isolation",
        "kernel_idle",
        "kernels['R']",
        "max_kernels",
    ]
    assert "kernel_idle was None, now 60" in lines
    assert "kernels" not in session_spec().to_options()
    assert [line.partition(" was ")[0] for line in differences(session_spec().to_options(), before)] == [
        "isolation",
        "kernels['R']",
        "kernels['py']",
        "max_kernels",
    ]
    assert differences({"kernels": "of a newer version"}, {}) == ("kernels was 'of a newer version', now None",)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"kernels": {"py": "image"}, "gateway": "gw"}, "kernels"),
        ({"kernels": {"py": "image"}, "pipeline_relabel": "Z"}, "pipeline_relabel"),
        ({"kernels": {"py": "image"}, "user": "jovyan"}, "user"),
        ({"kernels": ["py"]}, "kernels"),
        ({"isolation": "kernel"}, "isolation"),
        ({"isolation": "none"}, "isolation"),
        ({"max_kernels": 3}, "max_kernels"),
        ({"kernel_idle": 3}, "kernel_idle"),
    ],
)
def test_what_does_not_go_with_kernels(options: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        session_spec(**options)
    assert caught.value.option == option
    assert caught.value.hint


def test_what_hands_options_on_takes_those_of_start() -> None:
    options = get_type_hints(Launcher.start)
    del options["pipeline_dir"], options["return"]
    assert get_type_hints(StartOptions) == options


def test_start_has_no_option_that_goes_nowhere() -> None:
    names = set(inspect.signature(Launcher.start).parameters) - {"self", "timeouts", "pull", "cancel"}
    assert names == set(SessionOptions.__annotations__) | OF_THE_SESSION - {"namespace", "pipeline_dir_id"}


def test_which_directory_it_is_makes_no_other_session() -> None:
    one, other = session_spec(pipeline_dir_id="1:2"), session_spec()
    assert (one.pipeline_dir_id, other.pipeline_dir_id) == ("1:2", None)
    assert one.to_options() == other.to_options()


def test_of_a_token_only_that_it_was_given_makes_a_session_another() -> None:
    one, other = (session_spec(token=Secret(text * 32)) for text in "ab")
    assert one.to_options() == other.to_options()
    assert differences(session_spec().to_options(), one.to_options()) == ("token was False, now True",)
    assert "a" * 32 not in json.dumps(one.to_options()) + repr(one)


def test_the_size_of_the_log() -> None:
    assert (session_spec().log_size, session_spec(log_size=None).log_size) == (10 * 2**20, None)
    assert session_spec(log_size="20m").to_options()["log_size"] == 20 * 2**20
    assert session_spec(log_size=None).to_options()["log_size"] is None
    assert "log_size" not in session_spec(log_size="10m").to_options()


def test_a_path_is_written_as_text() -> None:
    assert session_spec(Path("/x y")).to_options()["pipeline_dir"] == "/x y"


def test_every_option_of_start_has_a_spelling() -> None:
    options = set(inspect.signature(Launcher.start).parameters) - {"self", "pipeline_dir", "cancel"}
    assert set(SPELLINGS) == options
    flags = [spelling.flag for spelling in SPELLINGS.values()]
    assert len(set(flags)) == len(flags)


def test_new_options_are_read_back_from_a_label_as_they_were() -> None:
    given: dict[str, Any] = {
        "ports": {"5000/udp": 7000, 6006: None},
        "extra_hosts": {"db": "10.0.0.1"},
        "groups": (2000,),
        "umask": 0o002,
        "tmpfs": {"/scratch": "1m"},
        "gpus": ("0", "3"),
        "mounts": [
            Mount(type="volume", source="cache", target="/v"),
            Mount(source="/a", target="/b", propagation="slave"),
        ],
    }
    found = session_spec(**given).to_options()
    assert json.loads(json.dumps(found)) == found
    assert differences(json.loads(json.dumps(found)), session_spec(**given).to_options()) == ()
    assert {name: found[name] for name in given} == {
        "ports": {"5000/udp": 7000, "6006/tcp": None},
        "extra_hosts": {"db": "10.0.0.1"},
        "groups": ["2000"],
        "umask": "0002",
        "tmpfs": {"/scratch": 2**20},
        "gpus": ["0", "3"],
        "mounts": ["cache:/v:rw", "/a:/b:rw,slave"],
    }
    assert set(session_spec().to_options()) & set(given) == set()

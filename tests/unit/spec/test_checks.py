"""Each check of one option, alone: the plain value, or an error that names the option and a way out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import OptionError, Timeouts
from jupyter_launcher.spec import checks, embedding, engine_options, mounts, texts
from jupyter_launcher.spec.engine_options import check_gpus
from tests.unit.fakes import session_spec
from tests.unit.strategies import error_of, json_values


@pytest.mark.parametrize(
    ("given", "size"), [(512, 512), ("512", 512), ("1k", 1024), ("1.5m", 1572864), ("2GB", 2**31), ("2GiB", 2**31)]
)
def test_sizes(given: int | str, size: int) -> None:
    assert session_spec(memory=given).memory == size


@pytest.mark.parametrize(
    ("given", "path"),
    [("/", "/"), ("", "/"), ("a", "/a/"), ("/a", "/a/"), ("/a/b/", "/a/b/"), ("~me/x-1_2.3", "/~me/x-1_2.3/")],
)
def test_base_urls(given: str, path: str) -> None:
    assert session_spec(base_url=given).base_url == path


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "a" * 48])
def test_names(name: str) -> None:
    assert checks.check_name(name, "session_id") == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a" * 49, "a\n", "é", None, 7])
def test_names_that_cannot_be(name: object) -> None:
    with pytest.raises(OptionError, match="session_id is") as caught:
        checks.check_name(name, "session_id")
    assert caught.value.option == "session_id"


@pytest.mark.parametrize(
    "path", ["/../", "/a/./b/", "..", "/%2e%2E/", "/a/%2e", "/%zz/", "/%2/", "/a%", "/%00/", "/a%0Ab/", "/%7f/"]
)
def test_base_urls_that_a_browser_changes_or_no_url_has(path: str) -> None:
    with pytest.raises(OptionError, match="base_url is") as caught:
        checks.check_base_url(path, "base_url")
    assert caught.value.option == "base_url"


def test_base_urls_with_escapes() -> None:
    assert checks.check_base_url("/a%20b/...x/%c3%a9", "base_url") == "/a%20b/...x/%c3%a9/"


@pytest.mark.parametrize(
    ("given", "plain"),
    [("127.0.0.1", "127.0.0.1"), ("0:0:0:0:0:0:0:1", "::1"), ("::", "::"), ("::ffff:10.0.0.1", "10.0.0.1")],
)
def test_addresses_are_spelled_one_way(given: str, plain: str) -> None:
    assert checks.check_host_ip(given, "host_ip") == plain


@pytest.mark.parametrize(("check", "given"), [(check_gpus, "all"), (check_gpus, 2), (checks.check_cpus, 0.5)])
def test_values_that_stay_as_they_are(check: Callable[[object, str], object], given: object) -> None:
    assert check(given, "option") == given


@pytest.mark.parametrize("given", [1, b"abcd", "fe80::1%eth0", "", "127.1", None])
def test_addresses_that_are_none(given: object) -> None:
    with pytest.raises(OptionError, match="host_ip is"):
        checks.check_host_ip(given, "host_ip")


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (0, "0"),
        (1500, "1500"),
        ("1500", "1500"),
        ("007:08", "7:8"),
        ("0:0", "0:0"),
        ("2147483647:2147483647", "2147483647:2147483647"),
        ("jovyan", "jovyan"),
        ("jovyan:users", "jovyan:users"),
        ("1500:users", "1500:users"),
        ("DOMAIN\\me", "DOMAIN\\me"),
        ("_apt", "_apt"),
    ],
)
def test_users(given: object, plain: str) -> None:
    assert checks.check_user(given, "user") == plain


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        ":",
        "5:",
        ":5",
        "1:2:3",
        "a b",
        "-1",
        "\u00b2",
        "5:\u00b2",
        "\uff11",
        "1234:0,mode=777",
        "2147483648",
        "1:2147483648",
        "9" * 5000,
        2**31,
        -1,
        True,
        1.5,
        b"me",
        ["me"],
        "me\n",
    ],
)
def test_users_that_cannot_be(given: object) -> None:
    with pytest.raises(OptionError, match="user is ") as caught:
        checks.check_user(given, "user")
    assert caught.value.option == "user"
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "name", ["x", "x:1", "host:5000/a/b@sha256:00ff", "docker.io/library/python:3.13-slim", "[::1]:5000/x", "UPPER"]
)
def test_images(name: str) -> None:
    assert checks.check_image(name, "image") == name


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "../x", "a\nb", "\u00e9", 5, None])
def test_images_that_cannot_be(name: object) -> None:
    with pytest.raises(OptionError, match="image is "):
        checks.check_image(name, "image")


@pytest.mark.parametrize("name", ["gw", "a1_b.c-d", "gw:1", "gw:65535", "http://gw:8888", "https://10.0.0.1/x"])
def test_gateways(name: str) -> None:
    assert checks.check_gateway(name, "gateway") == name


@pytest.mark.parametrize(
    "name",
    [5, "", "  ", "gw:", "gw:\u00b2", "gw:0", "gw:65536", "gw:123456", "-x", "../json", "x?all=1", "a b", "g\nw"],
)
def test_gateways_that_cannot_be(name: object) -> None:
    with pytest.raises(OptionError, match="gateway is ") as caught:
        checks.check_gateway(name, "gateway")
    assert caught.value.option == "gateway"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "0.0.0.0"])
@pytest.mark.parametrize("form", ["http://{}:8889", "https://{}/base", "{}", "{}:8889"])
def test_addresses_at_which_a_session_would_ask_itself(form: str, host: str) -> None:
    with pytest.raises(OptionError, match=r"gateway is at .* is the session itself") as caught:
        checks.check_gateway(form.format(host), "gateway")
    assert "NAME:PORT" in caught.value.hint
    assert "http://172.17.0.1:888" in caught.value.hint


@pytest.mark.parametrize(
    "host",
    [
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "127.1", "0", "0x7f000001", "127.0.0.1."),
        *("localhost.", "localhos%74", "localhost.localdomain", "ip6-localhost", "ip6-loopback"),
    ],
)
def test_other_forms_of_such_addresses_in_a_url(host: str) -> None:
    with pytest.raises(OptionError, match="is the session itself"):
        checks.check_gateway(f"http://{host}:8888", "gateway")


@pytest.mark.parametrize(
    "name",
    [
        "127",
        "0",
        "localhosts",
        "http://localhost.example",
        "http://128.0.0.1",
        "http://[fd00::1]:1",
        "http://h:x",
        "http://[x",
    ],
)
def test_gateways_that_are_elsewhere(name: str) -> None:
    assert checks.check_gateway(name, "gateway") == name


@pytest.mark.parametrize("name", ["172.17.0.9", "172.17.0.9:8888"])
def test_an_address_of_a_gateway_is_given_as_a_url(name: str) -> None:
    with pytest.raises(OptionError, match="an address is given as a URL") as caught:
        checks.check_gateway(name, "gateway")
    assert f"'http://{name}'" in caught.value.hint


@pytest.mark.parametrize("name", ["me:s3cret@host:8888", "host:8888/?token=s3cret", "host#s3cret"])
def test_what_may_be_a_secret_in_a_gateway_is_not_shown(name: str) -> None:
    with pytest.raises(OptionError) as caught:
        checks.check_gateway(name, "gateway")
    assert "s3cret" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("name", ["host", "none", "container:x", "ns:/proc/1/ns/net"])
def test_networks_on_which_nothing_is_published(name: str) -> None:
    with pytest.raises(OptionError, match="publishes no port") as caught:
        checks.check_network(name, "network")
    assert caught.value.option == "network"


@pytest.mark.parametrize("name", ["", " ", 5, b"net", "\udcff"])
def test_networks_that_cannot_be(name: object) -> None:
    with pytest.raises(OptionError, match="network is "):
        checks.check_network(name, "network")


@pytest.mark.parametrize("name", ["bridge", "mine", "default", "hosts"])
def test_networks(name: str) -> None:
    assert checks.check_network(name, "network") == name


@pytest.mark.parametrize("size", [checks.MIN_LOG_SIZE, "10m"])
def test_sizes_of_logs(size: int | str) -> None:
    assert checks.check_log_size(size, "log_size") == checks.check_size(size, "log_size")


@pytest.mark.parametrize("size", [1, checks.MIN_LOG_SIZE - 1, "1k", "x", 0])
def test_sizes_of_logs_that_are_of_no_use(size: int | str) -> None:
    with pytest.raises(OptionError, match="log_size is ") as caught:
        checks.check_log_size(size, "log_size")
    assert caught.value.option == "log_size"


@pytest.mark.parametrize(
    "size", [2**63, 2**70, pytest.param(10**5000, id="huge"), float("inf"), float("nan"), True, b"5", [], "1e30"]
)
def test_sizes_that_no_engine_takes(size: object) -> None:
    with pytest.raises(OptionError, match="memory is ") as caught:
        checks.check_size(size, "memory")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (("0", "03"), ("0", "3")),
        (["GPU-3a2b-1", "MIG-GPU-x/1/0"], ("GPU-3a2b-1", "MIG-GPU-x/1/0")),
        (["nvidia.com/gpu=0"], ("nvidia.com/gpu=0",)),
    ],
)
def test_gpus_by_their_ids(given: object, plain: tuple[str, ...]) -> None:
    assert check_gpus(given, "gpus") == plain


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("device=0,3", "give the ids: ('0', '3')"),
        ("0", "('0', '3')"),
        ("GPU-1", "('GPU-...',)"),
        (["0", "00"], "each once"),
        ([0], "each once"),
        (["x"], "each once"),
        (["all"], "each once"),
        (["nvidia.com/gpu=0", "1"], "alone"),
        ({"0": 1}, "'all'"),
        ([str(number) for number in range(1025)], "each once"),
    ],
)
def test_gpus_that_are_no_ids(given: object, hint: str) -> None:
    with pytest.raises(OptionError, match="gpus is ") as caught:
        check_gpus(given, "gpus")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("given", "plain"),
    [("0002", "0002"), ("002", "0002"), ("2", "0002"), ("77", "0077"), (0o002, "0002"), (0, "0000"), (0o077, "0077")],
)
def test_umasks(given: object, plain: str) -> None:
    assert checks.check_umask(given, "umask") == plain


@pytest.mark.parametrize(
    "given", ["", "8", "0o002", "1000", "00002", "u=rwx", "0100", -1, 0o100, True, 2.0, b"2", "\uff12"]
)
def test_umasks_that_cannot_be(given: object) -> None:
    with pytest.raises(OptionError, match="umask is ") as caught:
        checks.check_umask(given, "umask")
    assert "octal" in caught.value.hint


@pytest.mark.parametrize("gpus", [1025, 2**70, 1.0, "ALL", []])
def test_gpus_that_no_machine_has(gpus: object) -> None:
    with pytest.raises(OptionError, match="gpus is "):
        check_gpus(gpus, "gpus")


@pytest.mark.parametrize("path", [None, "/var/run/docker.sock", "/run/a b:c.sock"])
def test_sockets(path: str | None) -> None:
    assert checks.check_socket(path, "engine_socket") == path


@pytest.mark.parametrize("path", ["", "docker.sock", "unix:///var/run/docker.sock", "/run/../docker.sock", "/a\0", 5])
def test_sockets_that_are_no_absolute_path(path: object) -> None:
    with pytest.raises(OptionError, match="engine_socket is "):
        checks.check_socket(path, "engine_socket")


def test_callbacks() -> None:
    assert checks.check_callback(None, "on_event") is None
    assert checks.check_callback(print, "on_event") is print
    with pytest.raises(OptionError, match="on_event is 5"):
        checks.check_callback(5, "on_event")  # type: ignore[arg-type] # as a caller may


def test_instances() -> None:
    given = Timeouts()
    assert checks.check_instance(given, Timeouts, "timeouts") is given
    with pytest.raises(OptionError, match="timeouts is 5") as caught:
        checks.check_instance(5, Timeouts, "timeouts")
    assert caught.value.hint == "give Timeouts(...)"


@pytest.mark.parametrize("age", [0, 0.5, 10**400])
def test_ages(age: float) -> None:
    assert checks.check_age(age, "min_age") == age


@pytest.mark.parametrize("age", [-1, float("nan"), float("inf"), "5", True, None])
def test_ages_that_cannot_be(age: object) -> None:
    with pytest.raises(OptionError, match="min_age is "):
        checks.check_age(age, "min_age")


def test_ids() -> None:
    assert checks.check_ids(None, "keep") is None
    given = ["a"]
    assert checks.check_ids(given, "keep") is given


@pytest.mark.parametrize("ids", ["abc", b"abc", 5, iter(["a"]), threading.Event()])
def test_ids_that_are_none(ids: object) -> None:
    with pytest.raises(OptionError, match="keep is "):
        checks.check_ids(ids, "keep")


@pytest.mark.parametrize(
    "check",
    [
        checks.check_gateway,
        checks.check_network,
        checks.check_host_port,
        checks.check_size,
        checks.check_log_size,
        checks.check_cpus,
        check_gpus,
        checks.check_lease,
        checks.check_socket,
        checks.check_umask,
    ],
)
def test_none_is_an_option_that_was_not_given(check: Callable[[Any, str], object]) -> None:
    assert check(None, "option") is None


@pytest.mark.parametrize("lease", [checks.MIN_LEASE, 3600, checks.MAX_LEASE])
def test_leases(lease: int) -> None:
    assert checks.check_lease(lease, "lease") == lease


# Those that take a value and the option's name.
ALL: dict[str, Callable[[Any, str], object]] = {
    name: getattr(module, name)
    for module in (checks, embedding, engine_options, mounts, texts)
    for name in module.__all__
    if name.startswith("check_")
    and name not in ("check_argument_size", "check_embedding_arguments", "check_instance", "check_mount_point")
}
ODD = [None, "", 5, -1, 2**70, 10**5000, float("nan"), float("inf"), "\u00b2", "\ud800", "a\0b", b"x", [], {}, object()]


def verdict(name: str, value: Any) -> None:
    """A value, or an error that names the option, and can be shown."""
    error = error_of(OptionError, lambda: ALL[name](value, "the_option"))
    if error is not None:
        assert error.option == "the_option"
        assert error.message.startswith("the_option ")
        assert error.hint
        assert len(str(error).encode()) < 1000


@given(value=json_values(), name=st.sampled_from(sorted(ALL)))
def test_whatever_is_given_is_checked_or_refused_by_name(value: Any, name: str) -> None:
    verdict(name, value)


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", sorted(ALL))
def test_odd_values_are_checked_or_refused_by_name(name: str, value: Any) -> None:
    verdict(name, value)
    verdict(name, [value])
    verdict(name, {"name": value})

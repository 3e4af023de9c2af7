"""Which engine is meant, by the rules of the docker command."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from docker.context import ContextAPI
from docker.tls import TLSConfig

from jupyter_launcher import OptionError
from jupyter_launcher.engine.reach.target import Target, container_proxies, find_neighbour, find_target

DEFAULT = "unix:///var/run/docker.sock"
ENVIRONMENT = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of Docker's configuration, which is empty; no engine is named by the environment."""
    for name in (*ENVIRONMENT, *AUTHORITIES, *PROXIES, *map(str.lower, PROXIES)):
        monkeypatch.delenv(name, raising=False)
    found = tmp_path / "docker"
    found.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(found))
    return found


def write_context(folder: Path, name: str, text: str | None = None, **endpoint: Any) -> Path:
    """A context as the docker command writes it; its folder for certificates."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(text or json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    return folder / "contexts" / "tls" / identity / "docker"


def write_certificates(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.pem").touch()


def tls_of(target: Target) -> tuple[Any, Any, Any]:
    assert isinstance(target.tls, TLSConfig)
    return target.tls.cert, target.tls.ca_cert, target.tls.verify


def test_the_default_socket_is_taken_when_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_target(None, None) == Target(endpoint=DEFAULT, tls=None, proxies={})
    monkeypatch.setenv("DOCKER_HOST", "")  # as for the docker command
    assert find_target(None, None).endpoint == DEFAULT


def test_the_order_of_what_names_an_engine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("given", "by-environment", "current"):
        write_context(folder, name, Host=f"unix:///{name}")
    (folder / "config.json").write_text('{"currentContext": "current"}')
    assert find_target(None, None).endpoint == "unix:///current"
    monkeypatch.setenv("DOCKER_CONTEXT", "by-environment")
    assert find_target(None, None).endpoint == "unix:///by-environment"
    monkeypatch.setenv("DOCKER_HOST", "unix:///host")
    assert find_target(None, None).endpoint == "unix:///host"
    assert find_target(None, "given").endpoint == "unix:///given"
    assert find_target("unix:///argument", None).endpoint == "unix:///argument"


def test_the_default_context_is_the_engine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert find_target(None, None).endpoint == DEFAULT
    monkeypatch.setenv("DOCKER_HOST", "unix:///host")
    assert find_target(None, "default").endpoint == "unix:///host"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_context_is_found_without_a_configuration_file(
    folder: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_context(folder, "far", Host="unix:///far")
    if by == "environment":
        monkeypatch.setenv("DOCKER_CONTEXT", "far")
    assert find_target(None, "far" if by == "argument" else None).endpoint == "unix:///far"


def test_contexts_stand_in_the_home_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    write_context(tmp_path / ".docker", "far", Host="unix:///far")
    assert find_target(None, "far").endpoint == "unix:///far"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError

    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setattr(Path, "home", fail)
    assert find_target(None, None).endpoint == DEFAULT


def test_a_context_of_the_sdk(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    ContextAPI.create_context("far", host="unix:///far")
    assert find_target(None, "far").endpoint.endswith("/far")


@pytest.mark.parametrize("by", ["argument", "environment", "file"])
def test_a_context_that_does_not_exist(by: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    if by == "environment":
        monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    if by == "file":
        (folder / "config.json").write_text('{"currentContext": "nowhere"}')
    with pytest.raises(OptionError, match="no Docker context 'nowhere'") as caught:
        find_target(None, "nowhere" if by == "argument" else None)
    assert caught.value.option == "context"


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"Endpoints": {}}', '{"Endpoints": {"docker": {"Host": 5}}}'])
def test_a_context_that_cannot_be_read(folder: Path, text: str) -> None:
    write_context(folder, "odd", text)
    with pytest.raises(OptionError, match="'odd' cannot be read") as caught:
        find_target(None, "odd")
    assert caught.value.option == "context"


def test_a_context_without_an_address_is_the_default_engine(folder: Path) -> None:
    write_context(folder, "odd")
    assert find_target(None, "odd").endpoint == DEFAULT


@pytest.mark.parametrize("text", ["{", "[]", "5"])
def test_a_configuration_file_that_cannot_be_read_counts_as_empty(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert find_target(None, None).endpoint == DEFAULT
    assert container_proxies(DEFAULT).values == {}


def test_a_configuration_file_that_is_no_json_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "config.json").write_text("{")
    find_target(None, None)
    assert "config.json cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("10.0.0.5:2375", "tcp://10.0.0.5:2375"),
        ("far.example:2376", "tcp://far.example:2376"),
        ("/run/user/1000/docker.sock", "unix:///run/user/1000/docker.sock"),
        ("tcp://", "tcp://host:2375"),
        ("tcp://far.example:0", "tcp://host:2375"),
        ("http://far.example", "tcp://host:2375"),
        ("tcp://far.example:99999", "tcp://host:2375"),
        ("ftp://far.example", "ssh://user@host"),
        (" ", "ssh://user@host"),
    ],
)
@pytest.mark.parametrize("by", ["docker_host", "DOCKER_HOST", "context"])
def test_an_address_that_cannot_be_used(
    address: str, right: str, by: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "DOCKER_HOST":
        monkeypatch.setenv("DOCKER_HOST", address)
    if by == "context":
        write_context(folder, "odd", Host=address)
    with pytest.raises(OptionError, match=by) as caught:
        find_target(address if by == "docker_host" else None, "odd" if by == "context" else None)
    assert repr(address) in caught.value.message
    assert right in caught.value.hint
    assert caught.value.option == ("context" if by == "context" else "docker_host")


@pytest.mark.parametrize(
    "address",
    [
        "unix:///x",
        "http+unix:///x",
        "npipe:////./pipe/docker_engine",  # the SDK knows where it works
        "tcp://host:1",
        "tcp://me@host:1",
        "tcp://:2375",
        "tcp://[::1]:1",
        "https://host:1",
        "ssh://me@host",
        "ssh://host:22/run/me@here/docker.sock",
    ],
)
def test_addresses_that_can_be_used(address: str) -> None:
    assert find_target(address, None).endpoint == address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("tcp://me:s3cret@host:1", "tcp://***@host:1"),
        ("tcp://me:s3cret@host", "tcp://***@host"),
        ("tcp://me:s3cret/@x@host:1", "tcp://***@host:1"),
        ("ssh://me:s3cret@host", "ssh://***@host"),
        ("ssh://me%3As3cret@host", "ssh://***@host"),
        ("ftp://me:s3cret@host", "ftp://***@host"),
        ("me:s3cret@host:1", "***@host:1"),
    ],
)
def test_a_password_in_an_address_is_not_shown(address: str, shown: str) -> None:
    with pytest.raises(OptionError) as caught:
        find_target(address, None)
    assert repr(shown) in caught.value.message
    assert "s3cret" not in str(caught.value) + caught.value.hint


def test_a_path_with_an_at_is_shown_as_it_is() -> None:
    with pytest.raises(OptionError) as caught:
        find_target("/run/me@here/docker.sock", None)
    assert "'/run/me@here/docker.sock'" in caught.value.message
    assert caught.value.hint == "give unix:///run/me@here/docker.sock"


@pytest.mark.parametrize(
    ("address", "plain", "secure"),
    [
        ("tcp://host", "tcp://host:2375", "tcp://host:2376"),
        ("tcp://host:", "tcp://host:2375", "tcp://host:2376"),
        ("tcp://[fd00::1]/x", "tcp://[fd00::1]:2375/x", "tcp://[fd00::1]:2376/x"),
    ],
)
def test_an_address_without_a_port(
    address: str, plain: str, secure: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_target(address, None).endpoint == plain
    write_certificates(folder, "ca")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    assert find_target(address, None).endpoint == secure


def test_certificates_by_the_environment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    write_certificates(folder, "ca")
    assert tls_of(find_target("tcp://host:1", None)) == (None, str(folder / "ca.pem"), True)
    place = tmp_path / "certificates"
    write_certificates(place, "ca", "cert", "key")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(place))
    pair, authority = (str(place / "cert.pem"), str(place / "key.pem")), str(place / "ca.pem")
    assert tls_of(find_target("tcp://host:1", None)) == (pair, authority, True)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "")  # the folder alone switches TLS on, as for the SDK
    assert tls_of(find_target("tcp://host:1", None)) == (pair, authority, False)


def test_tls_without_verification(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificates(folder, "ca")
    assert find_target("tcp://host:1", None).tls is None
    monkeypatch.setenv("DOCKER_TLS", "1")
    assert tls_of(find_target("tcp://host:1", None)) == (None, str(folder / "ca.pem"), False)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    assert tls_of(find_target("tcp://host:1", None)) == (None, str(folder / "ca.pem"), True)


def test_a_companys_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_target(None, None).authorities is None
    monkeypatch.setenv("CURL_CA_BUNDLE", "/curl.pem")
    assert find_target(None, None).authorities == "/curl.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/company.pem")
    assert find_target(None, None).authorities == "/company.pem"


@pytest.mark.parametrize("names", [(), ("cert", "key"), ("cert",)])
def test_certificates_that_are_not_there(folder: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificates(folder, *names)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    with pytest.raises(OptionError, match="has no certificates") as caught:
        find_target("tcp://host:1", None)
    assert "ca.pem, cert.pem and key.pem" in caught.value.hint


@pytest.mark.parametrize("address", ["unix:///x", "ssh://host"])
def test_a_socket_needs_no_certificates(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    assert find_target(address, None).tls is None


def test_certificates_of_a_context(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")  # for engines without a context
    place = write_context(folder, "far", Host="tcp://host:1", SkipTLSVerify=False)
    assert find_target(None, "far").tls is None
    write_certificates(place, "ca", "cert", "key")
    pair = (str(place / "cert.pem"), str(place / "key.pem"))
    assert tls_of(find_target(None, "far")) == (pair, str(place / "ca.pem"), True)
    write_context(folder, "blind", Host="tcp://host:1", SkipTLSVerify=True)
    assert tls_of(find_target(None, "blind")) == (None, None, False)
    write_context(folder, "near", Host="unix:///x", SkipTLSVerify=True)
    assert find_target(None, "near").tls is None
    trusting = write_context(folder, "trusting", Host="tcp://host:1", SkipTLSVerify=True)
    write_certificates(trusting, "ca")
    assert tls_of(find_target(None, "trusting")) == (None, str(trusting / "ca.pem"), False)


@pytest.mark.parametrize(
    ("address", "proxies"),
    [
        ("tcp://far.example:2375", {"http": "http://proxy:1"}),
        ("https://far.example:2376", {"https": "http://proxy:2"}),
        ("tcp://near.example:2375", {}),
        ("tcp://localhost:2375", {}),
        ("tcp://127.8.8.8:2375", {}),
        ("tcp://[::1]:2375", {}),
        ("tcp://:2375", {}),
        ("unix:///x", {}),
        ("ssh://far.example", {}),
    ],
)
def test_the_proxy_to_an_engine(address: str, proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:2")
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3")  # the docker command does not know it
    monkeypatch.setenv("NO_PROXY", "near.example")
    assert find_target(address, None).proxies == proxies


def test_no_repr_shows_the_password_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:s3cret@proxy:1")
    found = find_target("tcp://far.example:2375", None)
    assert "s3cret" in str(found.proxies)
    assert "s3cret" not in repr(found)


def test_the_proxies_for_containers(folder: Path) -> None:
    sections = {
        "default": {
            "httpProxy": "http://a",
            "httpsProxy": "http://b",
            "noProxy": "c",
            "ftpProxy": "d",
            "allProxy": "e",
        },
        "tcp://far.example:2375": {"httpProxy": "http://far", "httpsProxy": "", "noProxy": 5, "other": "x"},
    }
    (folder / "config.json").write_text(json.dumps({"proxies": sections}))
    names = {"HTTP_PROXY": "http://a", "HTTPS_PROXY": "http://b", "NO_PROXY": "c", "FTP_PROXY": "d", "ALL_PROXY": "e"}
    expected = {**names, **{name.lower(): value for name, value in names.items()}}
    assert container_proxies(DEFAULT).values == expected
    assert container_proxies("tcp://far.example:2375").values == {
        "HTTP_PROXY": "http://far",
        "http_proxy": "http://far",
    }


@pytest.mark.parametrize("proxies", [5, [], {"default": 5}, {"default": {"httpProxy": "\0"}}])
def test_proxies_of_another_shape_are_none(folder: Path, proxies: object) -> None:
    (folder / "config.json").write_text(json.dumps({"proxies": proxies}))
    assert container_proxies(DEFAULT).values == {}


def test_a_neighbour_is_asked_with_the_certificates_of_the_engine_that_is_known(folder: Path) -> None:
    place = write_context(folder, "far", Host="tcp://host:2376", SkipTLSVerify=False)
    write_certificates(place, "ca", "cert", "key")
    known = find_target(None, "far")
    found = find_neighbour(known, "tcp://other")
    assert (found.endpoint, found.tls) == ("tcp://other:2376", known.tls)
    assert find_neighbour(known, "ssh://other").tls is None
    with pytest.raises(OptionError, match="its address is 'https://other', which is no engine's address"):
        find_neighbour(known, "https://other")


def test_a_neighbour_of_an_engine_without_tls_is_asked_as_the_environment_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = find_target("unix:///x", None)
    assert find_neighbour(known, "tcp://other").endpoint == "tcp://other:2375"
    write_certificates(folder, "ca")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    found = find_neighbour(known, "tcp://other")
    assert (found.endpoint, tls_of(found)) == ("tcp://other:2376", (None, str(folder / "ca.pem"), True))

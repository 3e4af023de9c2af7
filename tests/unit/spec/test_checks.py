"""Each check of one option, alone: the plain value, or an error that names the option and a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import Mount, OptionError
from jupyter_launcher.spec import checks
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


@pytest.mark.parametrize(("given", "plain"), [("127.0.0.1", "127.0.0.1"), ("0:0:0:0:0:0:0:1", "::1"), ("::", "::")])
def test_addresses_are_spelled_one_way(given: str, plain: str) -> None:
    assert checks.check_host_ip(given, "host_ip") == plain


@pytest.mark.parametrize(
    ("check", "given"), [(checks.check_gpus, "all"), (checks.check_gpus, 2), (checks.check_cpus, 0.5)]
)
def test_values_that_stay_as_they_are(check: Callable[[object, str], object], given: object) -> None:
    assert check(given, "option") == given


@pytest.mark.parametrize(
    "check",
    [
        checks.check_optional_text,
        checks.check_host_port,
        checks.check_size,
        checks.check_cpus,
        checks.check_gpus,
        checks.check_lease,
    ],
)
def test_none_is_an_option_that_was_not_given(check: Callable[[Any, str], object]) -> None:
    assert check(None, "option") is None


@pytest.mark.parametrize("check", [checks.check_environment, checks.check_labels])
def test_no_mapping_is_an_empty_one(check: Callable[[Any, str], object]) -> None:
    assert check(None, "option") == {}


def test_mappings_are_copied() -> None:
    given = {"A": "b"}
    found = checks.check_environment(given, "environment")
    given["A"] = "changed"
    assert found == {"A": "b"}


def test_mounts_may_lie_below_one_another() -> None:
    mounts = (Mount(source="/a", target="/x"), Mount(source="/b", target="/x/y", read_only=True))
    assert checks.check_mounts(mounts, "mounts") == mounts


def test_mounts_may_name_their_places_by_paths() -> None:
    given: Any = Mount(source=Path("/a"), target=Path("/x"))  # type: ignore[arg-type] # as a caller may
    assert checks.check_mounts([given], "mounts") == (Mount(source="/a", target="/x"),)


def test_arguments_that_only_look_like_ours_are_passed() -> None:
    given = ("--MyApp.port=1", "--ServerApp.allow_origin=x", "ip", "--ipython")
    assert session_spec(lab_args=given).lab_args == given


@pytest.mark.parametrize("lease", [checks.MIN_LEASE, 3600, checks.MAX_LEASE])
def test_leases(lease: int) -> None:
    assert checks.check_lease(lease, "lease") == lease


ALL: dict[str, Callable[[Any, str], object]] = {
    name: getattr(checks, name)
    for name in checks.__all__
    if name.startswith("check_") and name != "check_embedding_arguments"
}


@given(value=json_values(), name=st.sampled_from(sorted(ALL)))
def test_whatever_is_given_is_checked_or_refused_by_name(value: Any, name: str) -> None:
    error = error_of(OptionError, lambda: ALL[name](value, "the_option"))
    if error is not None:
        assert error.option == "the_option"
        assert error.message.startswith("the_option ")
        assert error.hint

"""What a session's processes and its container carry: variables, arguments, labels, and how much of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from jupyter_launcher import OptionError, Secret
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec import texts
from tests.unit.fakes import session_spec

LONGEST = 128 * 1024 - 1
"""Bytes that Linux takes for one argument or variable."""


@pytest.mark.parametrize("check", [texts.check_environment, texts.check_labels])
def test_no_mapping_is_an_empty_one(check: Callable[[Any, str], object]) -> None:
    assert check(None, "option") == {}


def test_mappings_are_copied() -> None:
    given = {"A": "b"}
    found = texts.check_environment(given, "environment")
    given["A"] = "changed"
    assert found == {"A": "b"}


@pytest.mark.parametrize("name", ["spark.master", "MY-VAR", "1ST", "A\nB", "\u00fc"])
def test_variables_need_no_shell_names(name: str) -> None:
    assert texts.check_environment({name: ""}, "environment") == {name: ""}


@pytest.mark.parametrize("value", ["x", "\u00e9"])
def test_a_variable_is_as_long_as_linux_takes(value: str) -> None:
    size = len(value.encode())
    fits = value * ((LONGEST - len("A=")) // size)
    assert texts.check_environment({"A": fits}, "environment") == {"A": fits}
    with pytest.raises(OptionError, match="the variable 'A' with more than 131071 bytes") as caught:
        texts.check_environment({"A": fits + value * 2}, "environment")
    assert caught.value.option == "environment"
    assert value * 3 not in str(caught.value)


def test_the_name_of_a_variable_counts_too_and_is_cut() -> None:
    with pytest.raises(OptionError) as caught:
        texts.check_environment({"N" * LONGEST: ""}, "environment")
    assert len(str(caught.value)) < 500


def test_the_value_of_a_variable_is_in_no_message() -> None:
    for value in ("s3cret\0", "s3cret\udcff", "s3cret" * 30_000):
        with pytest.raises(OptionError) as caught:
            texts.check_environment({"KEY": value}, "environment")
        assert "s3cret" not in str(caught.value) + repr(caught.value)


def test_an_argument_is_as_long_as_linux_takes() -> None:
    fits = "--A.b=" + "x" * (LONGEST - 6)
    assert session_spec(lab_args=[fits]).lab_args == (fits,)
    with pytest.raises(OptionError, match=r"'--A\.b' with more than 131071 bytes") as caught:
        session_spec(lab_args=[fits + "x"])
    assert caught.value.option == "lab_args"
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "arguments", "option"), [(2000, 0, "environment"), (0, 2000, "lab_args"), (900, 1100, "lab_args")]
)
def test_all_together_are_no_more_than_linux_takes(variables: int, arguments: int, option: str) -> None:
    environment = {f"N{number:04}": "s3cret".ljust(1000, "x") for number in range(variables)}
    lab_args = [f"--A.b{number:04}=".ljust(1000, "x") for number in range(arguments)]
    with pytest.raises(OptionError, match="more than Linux takes") as caught:
        session_spec(environment=environment, lab_args=lab_args)
    assert caught.value.option == option
    assert "s3cret" not in str(caught.value)


def test_a_megabyte_of_arguments_and_variables_is_taken() -> None:
    environment = {f"N{number}": "x" * 1000 for number in range(500)}
    spec = session_spec(environment=environment, lab_args=["--A.b=" + "x" * 1000] * 500)
    assert len(spec.lab_args) == 500


def test_many_small_variables_count_by_their_number() -> None:
    with pytest.raises(OptionError, match="more than Linux takes"):
        session_spec(environment={f"{number}": "" for number in range(140_000)})


def test_labels_have_a_size() -> None:
    assert texts.check_labels({"a": "x" * 1_000_000}, "labels")
    with pytest.raises(OptionError, match="labels has 1500001 bytes") as caught:
        texts.check_labels({"a": "x" * 1_500_000}, "labels")
    assert caught.value.option == "labels"


def test_arguments_that_only_look_like_ours_are_passed() -> None:
    given = ("--MyApp.port=1", "--ServerApp.allow_origin=x", "ip", "--ipython")
    assert session_spec(lab_args=given).lab_args == given


@pytest.mark.parametrize("argument", ["--NotebookApp.token=", "--NotebookApp.port=1", "--LabApp.password"])
def test_older_names_of_the_servers_settings_are_held_too(argument: str) -> None:
    with pytest.raises(OptionError, match="which the launcher itself sets"):
        session_spec(lab_args=[argument])


def test_secrets_are_copied_and_hidden() -> None:
    given = {"db": "s3cret", "A.b-c_9": "", "x" * 64: "lines\nof 'it'"}
    found = texts.check_secrets(given, "secrets")
    assert found == HiddenTexts(dict(given))
    assert "s3cret" not in repr(found)
    given["db"] = "changed"
    assert found.values["db"] == "s3cret"
    assert texts.check_secrets(found, "secrets") == found
    assert texts.check_secrets(None, "secrets") == HiddenTexts()


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (["db"], "not a mapping"),
        ([("db", "s3cret")], "not a mapping"),
        ("s3cret", "not a mapping"),
        ({"s3cret with spaces": "db"}, "unusable name of 18 characters"),
        ({"db": 5}, "not a mapping"),
        ({5: "s3cret"}, "not a mapping"),
        *(({name: "s3cret"}, "unusable name") for name in ("", ".db", "a/b", "a b", "x" * 65, "\u00fc", "a\n", "..")),
        ({"db": "s3cret\0"}, "cannot be encoded"),
        ({"db": "s3cret\udcff"}, "cannot be encoded"),
        ({"db": "s3cret" * 20_000}, "more than 65536 bytes"),
        ({f"n{number}": "s3cret" for number in range(17)}, "has 17 secrets"),
    ],
)
def test_secrets_that_are_refused_are_in_no_message_and_no_traceback(given: Any, seen: str) -> None:
    with pytest.raises(OptionError, match=seen) as caught:
        texts.check_secrets(HiddenTexts(given), "secrets")
    assert caught.value.option == "secrets"
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    shown = [repr(value) for frame in frames for value in frame.f_locals.values()]
    assert frames
    assert "s3cret" not in str(caught.value) + repr(caught.value) + "".join(shown)


def test_secrets_count_among_what_one_process_takes() -> None:
    secrets = {f"n{number}": "x" * 65536 for number in range(16)}
    session_spec(secrets=secrets)
    with pytest.raises(OptionError) as caught:
        session_spec(secrets=secrets, environment={f"V{number}": "x" * 100_000 for number in range(10)})
    assert caught.value.option == "secrets"


def test_the_names_of_secrets_are_options_and_their_values_are_not() -> None:
    spec = session_spec(secrets={"db": "s3cret", "api": "s3cret"})
    assert spec.to_options()["secrets"] == ["api", "db"]
    assert "s3cret" not in repr(spec)
    assert "secrets" not in session_spec().to_options()
    assert session_spec(secrets={"db": "one"}).to_options() == session_spec(secrets={"db": "two"}).to_options()


@pytest.mark.parametrize("given", [None, Secret("a" * 32), Secret("-_AZ09az" * 16)])
def test_tokens(given: Secret | None) -> None:
    assert texts.check_token(given, "token") is given


@pytest.mark.parametrize(
    "given",
    [
        "s3cret-" * 6,
        Secret("s3cret-" * 4),
        Secret("s3cret-" * 19),
        Secret("s3cret/" * 6),
        Secret("s3cret-" * 6 + "\n"),
        7,
    ],
)
def test_what_is_no_token_is_not_shown(given: Any) -> None:
    with pytest.raises(OptionError) as caught:
        texts.check_token(given, "token")
    assert caught.value.option == "token"
    assert "s3cret" not in str(caught.value) + repr(caught.value)

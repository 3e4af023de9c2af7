"""What callers may ask of kernels in containers."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import KernelImage, Mount, OptionError
from jupyter_launcher.spec.kernels.options import KernelOptions, check_kernel_user, check_kernels
from tests.unit.strategies import error_of, json_values

ARGV = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")


def check(
    kernels: Any, isolation: object = "environment", max_kernels: object = 16, idle: object = None
) -> KernelOptions:
    found = check_kernels(kernels, isolation, max_kernels, idle)
    assert found is not None
    return found


def checked(**fields: Any) -> KernelImage:
    return check({"k": KernelImage("image", **fields)}).images["k"]


def refused(kernels: Any, option: str = "kernels", **options: Any) -> OptionError:
    with pytest.raises(OptionError) as caught:
        check(kernels, **options)
    assert caught.value.option == option
    assert caught.value.hint
    return caught.value


def test_nobody_asks_for_any() -> None:
    assert check_kernels(None, "environment", 16, None) is None


@pytest.mark.parametrize(
    ("option", "given_options"),
    [
        ("isolation", ("kernel", 16, None)),
        ("max_kernels", ("environment", 3, None)),
        ("kernel_idle", ("environment", 16, 9)),
    ],
)
def test_options_of_kernels_need_kernels(option: str, given_options: tuple[Any, Any, Any]) -> None:
    with pytest.raises(OptionError, match="without kernels") as caught:
        check_kernels(None, *given_options)
    assert caught.value.option == option


def test_an_image_may_be_its_name_alone() -> None:
    found = check({"a": "team/a:1", "b": KernelImage("team/b:1")}, "kernel", 1000, 60)
    assert found.images == {
        "a": KernelImage("team/a:1", environment={}),
        "b": KernelImage("team/b:1", environment={}),
    }
    assert (found.isolation, found.max_kernels, found.idle) == ("kernel", 1000, 60)


def test_what_an_image_may_have() -> None:
    mount = Mount(source="/data", target="/data/", read_only=True)
    image = checked(
        display_name=" Torch ",
        argv=list(ARGV),
        memory="8g",
        cpus=4,
        gpus=["0"],
        shm_size="1g",
        environment={"A": "b"},
        mounts=[mount],
        entrypoint=False,
    )
    assert image == KernelImage(
        "image",
        display_name="Torch",
        argv=ARGV,
        memory=8 * 2**30,
        cpus=4,
        gpus=("0",),
        shm_size=2**30,
        environment={"A": "b"},
        mounts=(Mount(source="/data", target="/data", read_only=True),),
        entrypoint=False,
    )


def test_what_a_caller_changes_later_changes_nothing() -> None:
    argv, variables, mounts = list(ARGV), {"A": "b"}, [Mount(source="/a", target="/a")]
    kernels = {"k": KernelImage("image", argv=argv, environment=variables, mounts=mounts)}
    found = check(kernels)
    for item in (argv, variables, mounts, kernels):
        item.clear()
    image = found.images["k"]
    assert (image.argv, image.environment, len(tuple(image.mounts))) == (ARGV, {"A": "b"}, 1)


@pytest.mark.parametrize("name", ["a", "python-3.13", "R4.4", "x" * 48, "a_b", "0"])
def test_names(name: str) -> None:
    assert list(check({name: "image"}).images) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "-a",
        "a.",
        "a b",
        "a/b",
        "x" * 49,
        "\u00e4",
        "\u212a",
        "\u017f",
        "a\n",
        "a\0",
        "\ud800",
        5,
        None,
        b"a",
        ("a",),
    ],
)
def test_names_that_jupyter_or_a_url_does_not_take(name: object) -> None:
    assert "has the name" in refused({name: "image"}).message


def test_names_that_differ_in_case_alone() -> None:
    assert "has 'Torch' and 'torch'" in refused({"Torch": "a", "other": "a", "torch": "b"}).message


@pytest.mark.parametrize("kernels", [{}, {f"k{number}": "image" for number in range(17)}])
def test_there_are_1_to_16(kernels: dict[str, str]) -> None:
    assert len(check({f"k{number}": "image" for number in range(16)}).images) == 16
    assert f"has {len(kernels)} kernels" in refused(kernels).message


@pytest.mark.parametrize(
    "kernels", ["image", b"a", 5, [("a", "image")], {"a"}, iter([("a", "image")]), KernelImage("a"), True]
)
def test_kernels_are_a_mapping(kernels: object) -> None:
    assert "is a value of type" in refused(kernels).message


@pytest.mark.parametrize("image", [None, 5, b"image", Path("image"), ("image",), ["image"], KernelImage])
def test_an_image_is_a_name_or_a_kernel_image(image: object) -> None:
    assert refused({"k": image}).message.startswith('kernels["k"] is a value of type')


def test_no_error_shows_variables() -> None:
    for odd in ({"k": {"image": "a", "environment": {"TOKEN": "s3cret"}}}, [{"TOKEN": "s3cret"}]):
        assert "s3cret" not in str(refused(odd))
    error = refused({"k": KernelImage("image", environment={"KERNEL_ID": "s3cret"})})
    assert "s3cret" not in str(error)
    assert "s3cret" not in repr(check({"k": KernelImage("image", environment={"TOKEN": "s3cret"})}))


class Word(str, enum.Enum):
    """As callers name their constants."""

    NAME = "torch"
    IMAGE = "team/torch:2"


def test_texts_of_a_class_that_derives_from_str() -> None:
    found = check(
        {Word.NAME: KernelImage(Word.IMAGE, argv=[Word.NAME, "{connection_file}"], environment={Word.NAME: Word.IMAGE})}
    )
    image = found.images["torch"]
    texts = [
        *found.images,
        image.image,
        *(image.argv or ()),
        *(image.environment or {}),
        *(image.environment or {}).values(),
    ]
    assert texts == ["torch", "team/torch:2", "torch", "{connection_file}", "torch", "team/torch:2"]
    assert {type(text) for text in texts} == {str}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", ""),
        ("image", "a b"),
        ("image", 5),
        ("display_name", ""),
        ("display_name", "  "),
        ("display_name", "a\nb"),
        ("display_name", "x" * 129),
        ("display_name", "\ud800"),
        ("display_name", 5),
        ("argv", "python3 {connection_file}"),
        ("argv", b"{connection_file}"),
        ("argv", []),
        ("argv", ["python3"]),
        ("argv", ["{connection_file}"]),
        ("argv", ["python3", "{connection_file}", ""]),
        ("argv", ["python3", "{connection_file}", 5]),
        ("argv", ["python3", "{connection_file}", "a\0"]),
        ("argv", ["python3", "{connection_file}", "x" * 2**15]),
        ("argv", {"python3": "{connection_file}"}),
        ("argv", (word for word in ARGV)),
        ("argv", 5),
        ("memory", True),
        ("memory", "8 gigs"),
        ("memory", 0),
        ("cpus", True),
        ("cpus", 0),
        ("cpus", "4"),
        ("cpus", float("nan")),
        ("gpus", True),
        ("gpus", 0),
        ("gpus", "0"),
        ("gpus", []),
        ("shm_size", -1),
        ("environment", {"A": 5}),
        ("environment", {"": "a"}),
        ("environment", {"A=": "a"}),
        ("environment", {"A": "\0"}),
        ("environment", {"A": "x" * 2**16}),
        ("environment", [("A", "b")]),
        ("environment", {"KERNEL_USERNAME": "a"}),
        ("environment", {"JUPYTER_LAUNCHER_AGENT": "a"}),
        ("environment", {"JUPYTER_TOKEN": "a"}),
        ("entrypoint", 1),
        ("entrypoint", None),
        ("mounts", None),
        ("mounts", "/a:/b"),
        ("mounts", Mount(source="/a", target="/b")),
        ("mounts", [("/a", "/b")]),
        ("mounts", [Mount(source="a", target="/b")]),
        ("mounts", iter([Mount(source="/a", target="/b")])),
        ("mounts", (Mount(source=item, target=item) for item in ("/a", "/b"))),
        ("mounts", [Mount(source="/a", target="/pipeline-dir")]),
        ("mounts", [Mount(source="/a", target="/run/jupyter-launcher")]),
        ("mounts", [Mount(source="/a", target="/run/jupyter-launcher/home")]),
        ("mounts", [Mount(source="/a", target="/run/jupyter-launcher-broker")]),
        ("mounts", [Mount(source="/a", target="/var/run/jupyter-launcher-broker/x")]),
        ("mounts", [Mount(source="/a", target="/proc")]),
        ("mounts", [Mount(source="/a", target="/b"), Mount(source="/c", target="/b")]),
    ],
)
def test_fields_that_cannot_be(field: str, value: object) -> None:
    image: Any = KernelImage(**{"image": "image", field: value})  # type: ignore[arg-type] # as a caller may
    assert refused({"other": "image", "k": image}).message.startswith(f'kernels["k"].{field} ')


@pytest.mark.parametrize("isolation", [None, "", "environments", "Kernel", 5, b"kernel", ["kernel"], True])
def test_isolations_that_are_none(isolation: object) -> None:
    assert "isolation is " in refused({"k": "image"}, "isolation", isolation=isolation).message


@pytest.mark.parametrize("count", [None, 0, 1001, -1, True, 1.0, "16"])
def test_counts_that_are_none(count: object) -> None:
    assert "max_kernels is " in refused({"k": "image"}, "max_kernels", max_kernels=count).message


@pytest.mark.parametrize("count", [1, 1000])
def test_counts(count: int) -> None:
    assert check({"k": "image"}, max_kernels=count).max_kernels == count


@pytest.mark.parametrize("seconds", [0, True, 1.5, "60", 31 * 86400])
def test_idle_times_that_are_none(seconds: object) -> None:
    assert "kernel_idle is " in refused({"k": "image"}, "kernel_idle", idle=seconds).message


def test_what_makes_two_requests_the_same() -> None:
    one = {"a": KernelImage("a:1", gpus={"1", "0"}, environment={"A": "1", "B": "2"}), "b": "b:1"}
    other = {"b": KernelImage("b:1"), "a": KernelImage("a:1", gpus=["0", "1"], environment={"B": "2", "A": "1"})}
    assert json.dumps(check(one).to_options()) == json.dumps(check(other).to_options())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", "other"),
        ("display_name", "A"),
        ("argv", ["a", "{connection_file}"]),
        ("memory", "1g"),
        ("cpus", 1),
        ("gpus", "all"),
        ("shm_size", "1g"),
        ("environment", {"A": "b"}),
        ("mounts", [Mount(source="/a", target="/b")]),
        ("entrypoint", False),
    ],
)
def test_each_field_makes_a_difference(field: str, value: object) -> None:
    given_image: Any = KernelImage(**{"image": "image", field: value})  # type: ignore[arg-type] # as a caller may
    plain, changed = check({"k": "image"}).to_options(), check({"k": given_image}).to_options()
    assert plain["images"] == {"k": {"image": "image"}}
    images: Any = changed["images"]
    assert images != plain["images"]
    assert set(images["k"]) == {"image", field}
    assert json.loads(json.dumps(changed)) == changed


@pytest.mark.parametrize("more", [{"isolation": "kernel"}, {"max_kernels": 3}, {"idle": 9}])
def test_each_option_makes_a_difference(more: dict[str, Any]) -> None:
    assert check({"k": "image"}).to_options() != check({"k": "image"}, **more).to_options()


def test_of_variables_only_a_digest_is_told() -> None:
    one, other = (check({"k": KernelImage("image", environment={"A": text})}).to_options() for text in ("s3cret", "b"))
    assert one != other
    assert "s3cret" not in json.dumps(one)


def test_every_field_of_an_image_has_its_check() -> None:
    from dataclasses import fields

    from jupyter_launcher.spec.kernels.options import _CHECKS

    assert list(_CHECKS) == [item.name for item in fields(KernelImage)]


@pytest.mark.parametrize("user", ["0:0", "1000:100", "2147483647:0"])
def test_users(user: str) -> None:
    assert check_kernel_user(user) == user


@pytest.mark.parametrize("user", ["jovyan", "1000", "1000:users", "jovyan:100", "", "1000:", "\u0661:1", "1:1\n"])
def test_users_that_are_no_numbers(user: str) -> None:
    with pytest.raises(OptionError, match="user is ") as caught:
        check_kernel_user(user)
    assert caught.value.option == "user"


def verdict(kernels: Any, isolation: object, count: object, idle: object) -> None:
    """Plain options, or an error that names one of them, and can be shown."""
    names = ("kernels", "isolation", "max_kernels", "kernel_idle")
    error = error_of(OptionError, lambda: check_kernels(kernels, isolation, count, idle))
    if error is not None:
        assert error.option in names
        assert error.message.startswith(names)
        assert len(str(error).encode()) < 2000


@given(value=json_values(), place=st.integers(0, 3))
def test_whatever_is_given_for_an_option(value: object, place: int) -> None:
    options: list[Any] = [{"k": "image"}, "kernel", 16, None]
    options[place] = value
    verdict(*options)


@given(value=json_values(), field=st.sampled_from(sorted(KernelImage.__dataclass_fields__)))
def test_whatever_is_given_for_a_field(value: Any, field: str) -> None:
    known: dict[str, Any] = {"image": "image"}
    if field != "_":
        verdict({"k": KernelImage(**{**known, field: value})}, "kernel", 16, None)


@given(kernels=st.dictionaries(json_values().filter(lambda value: not isinstance(value, (dict, list))), json_values()))
def test_whatever_is_given_for_kernels(kernels: Mapping[Any, Any] | Sequence[Any]) -> None:
    verdict(kernels, "kernel", 16, None)

"""What a look into an image has seen, and the kernel that comes of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import KernelImage, Mount
from jupyter_launcher.spec.kernels.found import FoundKernel, NoKernelError, Seen, SeenSpec, find_kernel, parse_seen
from tests.unit.strategies import FEW, json_values, replaced

MARK = "0123456789abcdef" * 2
PYTHON = "/opt/env/bin/python3"
FOLDER = "/opt/env/share/jupyter/kernels"
ARGV = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
KERNEL_JSON: dict[str, Any] = {
    "argv": ARGV,
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "metadata": {"debugger": True, "supported_encryption": ["curve"]},
    "kernel_protocol_version": "5.5",
}
IMAGE = KernelImage("image", environment={})


def spec(name: str = "python3", *, python: str = PYTHON, folder: str = FOLDER, **changes: Any) -> SeenSpec:
    files = {"kernel.json": json.dumps({**KERNEL_JSON, **changes}).encode()}
    return SeenSpec(name=name, folder=f"{folder}/{name}", python=python, files=files)


def seen(*specs: SeenSpec, **changes: Any) -> Seen:
    known: dict[str, Any] = {
        "specs": specs,
        "pythons": {PYTHON: "7.4.0"},
        "programs": frozenset({"python", "R", "/usr/bin/R"}),
        "commands": {"python3": PYTHON},
    }
    return Seen(**{**known, **changes})


def find(what: Seen, *, needs_python: bool = False, **fields: Any) -> FoundKernel:
    return find_kernel("torch", replace(IMAGE, **fields), what, needs_python=needs_python)


def refused(what: Seen, *, needs_python: bool = False, **fields: Any) -> NoKernelError:
    with pytest.raises(NoKernelError) as caught:
        find(what, needs_python=needs_python, **fields)
    assert caught.value.hint
    return caught.value


def lines(*words: str, mark: str = MARK) -> str:
    return "".join(f"{mark} {word}\n" for word in words)


def encoded(data: bytes) -> list[str]:
    return [f": {line}" for line in base64.encodebytes(data).decode().splitlines()]


PRINTED = (
    "begin",
    "home writable",
    "command python3 /usr/bin/python 3",
    "python 7.4.0 /usr/bin/python 3",
    "python none /opt/python",
    "spec python3 /a b/kernels/python3",
    "own /a b/bin/python3",
    "file kernel.json",
    *encoded(b"{}" * 100),
    "program python",
    "file logo-64x64.png",
    *encoded(b"\x89PNG"),
    "spec ir /kernels/ir",
    "file kernel.json",
    "x  7b 7d",
    "program /usr/lib/R/bin/R",
    "end",
)
PARSED = Seen(
    specs=(
        SeenSpec(
            name="python3",
            folder="/a b/kernels/python3",
            python="/a b/bin/python3",
            files={"kernel.json": b"{}" * 100, "logo-64x64.png": b"\x89PNG"},
        ),
        SeenSpec(name="ir", folder="/kernels/ir", files={"kernel.json": b"{}"}),
    ),
    pythons={"/usr/bin/python 3": "7.4.0", "/opt/python": ""},
    programs=frozenset({"python", "/usr/lib/R/bin/R"}),
    commands={"python3": "/usr/bin/python 3"},
)


def test_what_is_printed_is_read() -> None:
    assert parse_seen(lines(*PRINTED), MARK) == PARSED
    assert parse_seen(lines(*PRINTED).replace("\n", "\r\n"), MARK) == PARSED
    assert parse_seen(lines("begin", "home closed", "end"), MARK) == Seen(home_is_writable=False)


def test_what_an_entrypoint_prints_is_passed_over() -> None:
    noisy = "".join(f"{line}\nnoise\nbegin\nend\n" for line in lines(*PRINTED).splitlines())
    assert parse_seen(f"Welcome!\nno end of line: {noisy}bye\n", MARK) == PARSED


def test_an_entrypoint_may_print_its_arguments() -> None:
    assert parse_seen(f"running sh -c ... look {MARK} now\n{lines(*PRINTED)}", MARK) == PARSED


@pytest.mark.parametrize(
    "printed", ["", "\n", "Welcome!\n", "begin\nend\n", lines("end"), lines(*PRINTED, mark="f" * 32)]
)
def test_nothing_of_ours_was_printed(printed: str) -> None:
    assert parse_seen(printed, MARK) is None


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "begin",
        "home",
        "home maybe",
        "python 7.4.0",
        "python 7.4.0 python3",
        "command python3 python3",
        "command sh /bin/sh",
        "program ",
        "own /a/bin/python3",
        "file kernel.json",
        ": e30=",
        "x 7b",
        "spec python3",
        "spec a/b /kernels/a/b",
        "spec python3 kernels/python3",
        "something else",
    ],
)
def test_what_the_look_never_prints(odd: str) -> None:
    with pytest.raises(ValueError, match="it printed"):
        parse_seen(lines("begin", "home writable", odd, "end"), MARK)


@pytest.mark.parametrize(
    "odd",
    [
        ("own bin/python3",),
        ("file a/b",),
        ("file ",),
        ("file kernel.json", "file kernel.json"),
        ("file kernel.json", ": e30=", "x 7b"),
        ("file kernel.json", ": no base64!"),
        ("file kernel.json", "x 7"),
        ("file kernel.json", "x zz"),
    ],
)
def test_what_the_look_never_prints_of_a_spec(odd: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_seen(lines("begin", "home writable", "spec a /kernels/a", *odd, "end"), MARK)


@pytest.mark.parametrize("count", range(1, len(PRINTED)))
def test_a_look_that_breaks_off(count: int) -> None:
    with pytest.raises(ValueError, match="breaks off"):
        parse_seen(lines(*PRINTED[:count]), MARK)


def test_a_look_that_tells_nothing_of_home() -> None:
    with pytest.raises(ValueError, match="HOME"):
        parse_seen(lines("begin", "end"), MARK)


@given(words=st.lists(st.sampled_from(PRINTED) | st.text(max_size=30)))
def test_whatever_is_printed(words: Iterable[str]) -> None:
    try:
        found = parse_seen(lines("begin", *words), MARK)
    except ValueError:
        return
    assert isinstance(found, Seen)


def test_the_kernel_of_the_spec() -> None:
    assert find(seen(spec()), needs_python=True) == FoundKernel(
        argv=(PYTHON, *ARGV[1:]),
        display_name="torch",
        language="python",
        interrupt_mode="message",
        metadata={"debugger": True},
        encrypts=True,
        python=PYTHON,
    )


def test_a_display_name_of_the_callers() -> None:
    assert find(seen(spec()), display_name="Torch 2").display_name == "Torch 2"


@pytest.mark.parametrize("names", [("python3",), ("ir",), ("ir", "python3"), ("Python3", "ir"), ("a", "b", "python3")])
def test_which_spec_is_taken(names: tuple[str, ...]) -> None:
    """``python3``, else the only one."""
    taken = next((name for name in names if name.lower() == "python3"), names[0])
    specs = [spec(name, language=name) for name in names]
    assert find(seen(*specs)).language == taken


def test_several_specs_and_none_is_meant() -> None:
    error = refused(seen(spec("ir"), spec("bash")))
    assert error.seen == "has several kernel specs and none is named python3: bash, ir"
    assert "argv=" in error.hint
    assert find(seen(spec("ir"), spec("bash")), argv=("R", "{connection_file}")).argv == ("R", "{connection_file}")


@pytest.mark.parametrize("word", ["python", "python3", "python3.13"])
def test_the_python_of_a_spec_is_that_of_its_folder_tree(word: str) -> None:
    assert (
        find(seen(spec(argv=[word, "{connection_file}"]), commands={"python3": "/usr/bin/python3"})).argv[0] == PYTHON
    )


@pytest.mark.parametrize(
    ("word", "path"),
    [("python3", "/usr/bin/python3"), ("python", "/usr/bin/python"), ("python3.13", "/usr/bin/python3")],
)
def test_the_python_of_a_spec_that_is_in_no_such_tree(word: str, path: str) -> None:
    commands = {"python3": "/usr/bin/python3", "python": "/usr/bin/python"}
    found = find(seen(spec(argv=[word, "{connection_file}"], python=""), commands=commands, pythons={path: ""}))
    assert found.argv[0] == path


def test_other_programs_stay_as_they_are() -> None:
    argv = ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    found = find(seen(spec("ir", argv=argv, language="R", metadata={}, interrupt_mode="message", env={"A": "${B}"})))
    assert found == FoundKernel(
        argv=tuple(argv),
        display_name="torch",
        language="R",
        interrupt_mode="message",
        environment={"A": "${B}"},
        python=PYTHON,
    )


def test_a_spec_does_not_say_whose_kernel_it_is() -> None:
    """A session's stop finds its kernels by such a variable, and an agent tells the kernel's id by another one."""
    held = {"KERNEL_JUPYTER_LAUNCHER": "another", "KERNEL_ID": "x", "JPY_PARENT_PID": "1", "JUPYTER_LAUNCHER_X": "y"}
    assert find(seen(spec(env={**held, "A": "b"}))).environment == {"A": "b"}


def test_places_in_a_command_are_filled_in() -> None:
    argv = ["R", "{resource_dir}/main.R", "{prefix}/lib", "{other}", "{connection_file}"]
    assert find(seen(spec(argv=argv))).argv[1:] == (
        f"{FOLDER}/python3/main.R",
        "/opt/env/lib",
        "{other}",
        "{connection_file}",
    )


@pytest.mark.parametrize(
    ("version", "metadata", "can"),
    [
        ("7.4.0", {}, (True, "message")),
        ("7.3", {}, (True, "message")),
        ("10.0.1", {}, (True, "message")),
        ("7.3.0a1", {}, (True, "message")),
        ("7.2.9", {}, (False, "message")),
        ("7.0.0", {}, (False, "message")),
        ("6.31.0", {}, (False, "signal")),
        ("6.31.0", {"supported_encryption": ["curve"]}, (False, "signal")),
        ("", {"supported_encryption": ["curve"]}, (True, "signal")),
        ("", {"supported_encryption": "curve"}, (True, "signal")),
        ("", {"supported_encryption": ["other"]}, (False, "signal")),
        ("", {"supported_encryption": 5}, (False, "signal")),
        ("", {}, (False, "signal")),
    ],
)
def test_what_ipykernel_can(version: str, metadata: dict[str, Any], can: tuple[bool, str]) -> None:
    found = find(seen(spec(metadata=metadata), pythons={PYTHON: version}))
    assert (found.encrypts, found.interrupt_mode) == can


def test_what_ipykernel_can_is_asked_of_the_python_that_runs_it() -> None:
    pythons = {"/usr/bin/python3": "7.4.0", PYTHON: "6.0.0"}
    assert not find(seen(spec(), pythons=pythons)).encrypts
    assert find(seen(spec(argv=["/usr/bin/python3", *ARGV[1:]]), pythons=pythons)).encrypts


def test_another_kernel_says_itself_what_it_can() -> None:
    argv = ["R", "{connection_file}"]
    assert find(seen(spec(argv=argv, metadata={"supported_encryption": ["curve"]}))).encrypts
    assert not find(seen(spec(argv=argv, metadata={}))).encrypts
    assert find(seen(spec(argv=argv, interrupt_mode="message"))).interrupt_mode == "message"


def test_ipykernel_without_a_spec() -> None:
    pythons = {"/usr/bin/python3": "", PYTHON: "7.4.0"}
    found = find(seen(pythons=pythons, commands={"python3": "/usr/bin/python3"}), needs_python=True)
    assert found.argv == (PYTHON, *ARGV[1:])
    assert (found.language, found.encrypts, found.python) == ("python", True, "/usr/bin/python3")


def test_no_kernel_at_all() -> None:
    error = refused(seen(pythons={PYTHON: ""}))
    assert error.seen.startswith("has no kernel")
    assert "ipykernel" in error.hint


def test_an_agent_needs_a_python() -> None:
    what = seen(spec("ir", argv=["R", "{connection_file}"], python=""), pythons={}, commands={})
    assert find(what).python == ""
    error = refused(what, needs_python=True)
    assert "no Python 3.8" in error.seen
    assert 'isolation="kernel"' in error.hint


def test_the_python_on_the_path_runs_the_agent_if_it_is_new_enough() -> None:
    commands = {"python3": "/old/python3", "python": "/usr/bin/python"}
    assert (
        find(seen(spec(), commands=commands, pythons={PYTHON: "7.4.0", "/usr/bin/python": ""})).python
        == "/usr/bin/python"
    )
    assert find(seen(spec(), commands={"python3": "/old/python3"}, pythons={PYTHON: "7.4.0"})).python == PYTHON


def test_home() -> None:
    assert find(seen(spec())).home_is_writable
    assert not find(seen(spec(), home_is_writable=False)).home_is_writable


def test_logos() -> None:
    files = {
        **spec().files,
        "logo-64x64.png": b"png",
        "logo-svg.svg": b"x" * 2**14,
        "logo-large.png": b"x" * (2**14 + 1),
        "logo-empty.png": b"",
        "kernel.js": b"js",
    }
    found = find(seen(replace(spec(), files=files)))
    assert found.logos == {"logo-64x64.png": b"png", "logo-svg.svg": b"x" * 2**14}


@pytest.mark.parametrize(
    ("metadata", "taken"),
    [
        ({"debugger": True, "a": [1]}, {"debugger": True, "a": [1]}),
        ({"kernel_provisioner": {"provisioner_name": "x"}, "debugger": True}, {"debugger": True}),
        ({"a": "x" * 5000}, {}),
        (None, {}),
    ],
)
def test_metadata(metadata: Any, taken: dict[str, Any]) -> None:
    assert find(seen(spec(metadata=metadata))).metadata == taken


def test_a_command_of_the_callers() -> None:
    argv = ("R", "--args", "{connection_file}")
    found = find(seen(), argv=argv, needs_python=True)
    assert found == FoundKernel(argv=argv, display_name="torch", python=PYTHON)


def test_a_command_of_the_callers_beside_a_spec_of_another_kind() -> None:
    found = find(seen(spec(env={"A": "b"})), argv=("R", "{connection_file}"))
    assert (found.language, found.environment, found.encrypts, found.interrupt_mode) == ("", {}, False, "signal")


def test_a_command_of_the_callers_beside_a_spec_of_the_same_kind() -> None:
    argv = ("python3", "-Xutf8", *ARGV[1:], "--debug")
    found = find(seen(spec(env={"A": "b"})), argv=argv)
    assert (found.argv, found.language, found.environment, found.encrypts) == (argv, "python", {"A": "b"}, True)


def test_a_command_of_the_callers_beside_a_spec_that_cannot_be_read() -> None:
    assert find(seen(spec(argv=5)), argv=("R", "{connection_file}")).argv == ("R", "{connection_file}")


@pytest.mark.parametrize("program", ["julia", "/usr/bin/julia"])
def test_a_program_that_is_not_there(program: str) -> None:
    argv = [program, "{connection_file}"]
    assert "which its kernel spec names" in refused(seen(spec(argv=argv))).seen
    error = refused(seen(spec()), argv=tuple(argv))
    assert error.seen == f"has no program {program!r}, which argv names"


def test_a_program_that_may_be_in_a_mount() -> None:
    mounts = (Mount(source="/tools", target="/tools"),)
    for program in ("/tools/bin/julia", "julia", "./julia"):
        assert find(seen(), argv=(program, "{connection_file}"), mounts=mounts).argv[0] == program
    assert "has no program" in refused(seen(), argv=("/toolsets/julia", "{connection_file}"), mounts=mounts).seen


@pytest.mark.parametrize("program", ["/a b/c,d", 'say "x"', "back\\slash", "tab\t"])
def test_a_program_that_the_look_does_not_look_for(program: str) -> None:
    assert find(seen(spec(argv=[program, "{connection_file}"]))).argv[0] == program


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "{",
        '{"argv": []}',
        '{"argv": [""]}',
        '{"argv": "python"}',
        '{"argv": ["python", 5]}',
        "[" * 10**5,
    ],
)
def test_a_spec_that_is_none(text: str) -> None:
    error = refused(seen(replace(spec(), files={"kernel.json": text.encode()})))
    assert error.seen == f"has the kernel spec {FOLDER}/python3, which cannot be read"


def test_a_spec_without_its_file() -> None:
    """It was too large, or went away."""
    assert "cannot be read" in refused(seen(replace(spec(), files={}))).seen
    assert "cannot be read" in refused(seen(replace(spec(), files={"kernel.json": b"\xff\xfe"}))).seen


def test_a_spec_whose_command_takes_no_connection_file() -> None:
    assert "has no {connection_file}" in refused(seen(spec(argv=["python", "-m", "x"]))).seen


@FEW
@given(value=json_values())
def test_whatever_a_spec_says(value: object) -> None:
    for document in replaced({**KERNEL_JSON, "env": {"A": "b"}, "interrupt_mode": "signal"}, value):
        what = seen(replace(spec(), files={"kernel.json": json.dumps(document).encode("utf-8", "surrogatepass")}))
        try:
            found = find(what)
        except NoKernelError as error:
            assert error.hint  # noqa: PT017 - which of them raise is not known
            continue
        assert all(isinstance(word, str) for word in found.argv)
        assert all(isinstance(text, str) for pair in found.environment.items() for text in pair)
        json.dumps(dict(found.metadata)).encode()

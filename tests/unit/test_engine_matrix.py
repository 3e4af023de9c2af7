"""The engines that `make test-engines` knows, and the table that it prints."""

from __future__ import annotations

from collections import defaultdict

import pytest
from engine_matrix import Row, read_report, table
from engines import ENGINES, USER, Packaged

REPORT = """<testsuites><testsuite time="2.4">
<testcase classname="tests.integration.test_session" name="test_one"/>
<testcase classname="tests.integration.test_session" name="test_two"><failure message="no"/></testcase>
<testcase classname="tests.integration.test_session" name="test_three"><error message="no"/></testcase>
<testcase classname="tests.integration.test_options" name="test_four"><skipped message="needs root"/></testcase>
<testcase classname="tests.integration.test_options" name="test_five"><skipped message="needs root"/></testcase>
</testsuite></testsuites>"""


def data_of(name: str, engine: Packaged) -> str:
    command = [part.format(name=name, socket="socket") for part in engine.command]
    return command[command.index("--data-root") + 1] if "--data-root" in command else "as it is"


def test_engines_in_one_folder_have_the_same_packages_and_no_data_in_common() -> None:
    folders = defaultdict(list)
    for name, engine in ENGINES.items():
        folders[engine.folder].append((name, engine))
    for found in folders.values():
        assert len({(engine.suite, engine.packages) for _, engine in found}) == 1
        assert len({data_of(name, engine) for name, engine in found}) == len(found)
        # One's files would be there for the others too, whatever order they run in.
        assert len({path for _, engine in found for path in engine.files}) == sum(len(e.files) for _, e in found)


@pytest.mark.parametrize("name", [name for name, engine in ENGINES.items() if engine.rootless])
def test_a_rootless_engine_and_its_command_are_of_one_user(name: str) -> None:
    assert (ENGINES[name].user, ENGINES[name].cgroup) == (USER, "")


def test_a_report_becomes_a_row() -> None:
    row = read_report("docker-28", REPORT, '["Docker", "28.5.2", "1.51"]')
    assert row == Row(
        name="docker-28",
        version="Docker 28.5.2",
        api="1.51",
        passed=1,
        failed=("test_session::test_two", "test_session::test_three"),
        skipped={"needs root": 2},
        seconds=2.4,
    )


def test_the_table_says_why_tests_were_skipped_and_which_failed() -> None:
    row = Row(name="docker-28", version="Docker 28.5.2", api="1.51", passed=3, failed=("a::b",), skipped={"why": 2})
    lines = table([row]).splitlines()
    assert lines[0] == "| engine | version | API | passed | failed | skipped | time |"
    assert lines[2:] == [
        "| `docker-28` | Docker 28.5.2 | 1.51 | 3 | 1 | 2 | 0 s |",
        "docker-28: 2 skipped: why",
        "docker-28: failed: a::b",
    ]

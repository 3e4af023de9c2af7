"""The tests that run in the virtual machine are there."""

from __future__ import annotations

import ast
from pathlib import Path

from vm_engine import TESTS

CHECKOUT = Path(__file__).parents[2]


def functions(path: str) -> set[str]:
    """The names of the functions at the top of a module."""
    body = ast.parse((CHECKOUT / path).read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_the_tests_of_the_virtual_machine_exist() -> None:
    assert len(set(TESTS)) == len(TESTS) == 12
    for test in TESTS:
        path, _, name = test.partition("::")
        assert name in functions(path), test

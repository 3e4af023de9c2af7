"""The tests that run in the virtual machine are there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def functions(path: str) -> set[str]:
    """The names of the functions at the top of a module."""
    body = ast.parse((CHECKOUT / path).read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_the_tests_of_the_virtual_machine_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CHECKOUT / "scripts")
    tests = importlib.import_module("vm_engine").TESTS
    assert len(set(tests)) == len(tests) == 12
    for test in tests:
        path, _, name = test.partition("::")
        assert name in functions(path), test

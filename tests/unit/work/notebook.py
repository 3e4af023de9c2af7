"""Notebooks for tests, as JSON has them."""

from __future__ import annotations

from typing import Any

__all__ = ["code", "notebook", "text_cell"]


def code(source: str, *outputs: Any, tags: Any = None) -> dict[str, Any]:
    """A cell with code."""
    metadata = {} if tags is None else {"tags": tags}
    cell = {"cell_type": "code", "source": source, "metadata": metadata, "outputs": list(outputs)}
    return {**cell, "execution_count": None}


def text_cell(source: str) -> dict[str, Any]:
    """A cell with text."""
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def notebook(*cells: Any, **changes: Any) -> dict[str, Any]:
    """A notebook."""
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": list(cells), **changes}

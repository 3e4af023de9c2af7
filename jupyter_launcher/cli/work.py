"""The commands that work in a session: ``execute``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from jupyter_launcher.cli.options import CommandContext, GlobalOptionsCommand, pass_context, session_id_argument
from jupyter_launcher.cli.output import error_document, format_document
from jupyter_launcher.cli.values import PositiveSeconds
from jupyter_launcher.errors import CodeError

if TYPE_CHECKING:
    from jupyter_launcher.results import Output

__all__ = ["COMMANDS"]

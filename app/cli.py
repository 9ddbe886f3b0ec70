"""Operator verbs (``flask <verb>``): every module under ``app.commands`` exposes ``commands``, a list of click commands."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from flask import Flask


def register(app: Flask) -> None:
    """Add the commands of every module under ``app.commands``."""
    package = import_module("app.commands")
    for module in pkgutil.iter_modules(package.__path__):
        for command in import_module(f"app.commands.{module.name}").commands:
            app.cli.add_command(command)

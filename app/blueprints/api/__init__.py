"""The JSON API: every module of this package adds its routes to the one blueprint; see ``core`` for how."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from app.blueprints.api.core import blueprint

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["blueprint"]

"""Addresses that programs of the original know and that do not begin with /api; the views stand in ``api/original_names.py``."""

from __future__ import annotations

import app.blueprints.api.original_names  # noqa: F401  adds the routes
from app.blueprints.api.core import root_blueprint as blueprint

__all__ = ["blueprint"]

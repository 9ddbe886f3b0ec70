"""Campaigns: the list, four short steps of a new one, the editor, the week, its people, the dry run, and what is going on now."""

from __future__ import annotations

from app.blueprints.campaigns import editing, launching, listing, overview, people, rehearsing, scheduling
from app.blueprints.campaigns.frame import blueprint

__all__ = ["blueprint", "editing", "launching", "listing", "overview", "people", "rehearsing", "scheduling"]

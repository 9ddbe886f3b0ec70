"""A whole rehearsal from the campaign's number to its report."""

from __future__ import annotations

from app.core.config import Settings
from app.core.throw_away import bound_to
from app.services import schema_upgrades
from app.services.outbox.gathering import House
from app.services.rehearsing.copying import copy, find
from app.services.rehearsing.report import Rehearsal
from app.services.rehearsing.road import Road, Wish
from app.services.rehearsing.throw_away import throw_away_database


def rehearse(settings: Settings, campaign_id: int, wish: Wish) -> Rehearsal:
    """Rehearse a campaign of this installation, outside any transaction. Raises NotFound, Conflict or Invalid with what to do."""
    original = find(settings.database_url, campaign_id)
    house = House(settings.public_url, bool(settings.allow_targets) or settings.rehearsal)
    with throw_away_database(settings.database_url) as url, bound_to(url):
        schema_upgrades.migrate_new()
        copy(settings.database_url, url, original, wish.now)
        return Road(original, wish, house).walk()

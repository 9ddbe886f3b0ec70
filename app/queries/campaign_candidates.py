"""Who could still be put into a campaign: the client's leads that are not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from app.core.extensions import db


@dataclass(frozen=True)
class Candidate:
    id: int
    name: str
    email: str
    company: str


@dataclass(frozen=True)
class ImportLine:
    """A finished import; ``leads``: how many it brought or changed."""

    id: int
    filename: str
    leads: int


_WHERE = """
FROM leads l WHERE l.client_id = :client
  AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.campaign_id = :campaign AND e.lead_id = l.id)
  AND (:search = '' OR l.email ILIKE '%' || :search || '%' OR l.company ILIKE '%' || :search || '%'
       OR l.first_name || ' ' || l.last_name ILIKE '%' || :search || '%')
"""
_PAGE = text(
    "SELECT l.id, coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), l.email, '') AS name, coalesce(l.email, '') AS email,"
    f" l.company {_WHERE} AND l.id > :after ORDER BY l.id LIMIT :limit"
)
_COUNT = text(f"SELECT count(*) {_WHERE}")
_IDS = text(f"SELECT l.id {_WHERE} ORDER BY l.id")
_IMPORTS = text(
    "SELECT id, filename, created + updated AS leads FROM lead_imports WHERE client_id = :client AND status = 'done' AND NOT dry_run"
    " ORDER BY id DESC LIMIT 50"
)


def _values(client_id: int, campaign_id: int, search: str) -> dict[str, Any]:
    wanted = search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return {"client": client_id, "campaign": campaign_id, "search": wanted}


def candidates(
    client_id: int, campaign_id: int, *, search: str = "", after: int = 0, limit: int = 50
) -> tuple[list[Candidate], int | None]:
    """One page by id, and the id behind which the next begins."""
    rows = db.session.execute(_PAGE, {**_values(client_id, campaign_id, search), "after": after, "limit": limit + 1}).all()
    lines = [Candidate(*row) for row in rows[:limit]]
    return lines, lines[-1].id if len(rows) > limit else None


def candidate_count(client_id: int, campaign_id: int, *, search: str = "") -> int:
    return int(db.session.execute(_COUNT, _values(client_id, campaign_id, search)).scalar_one())


def candidate_ids(client_id: int, campaign_id: int, *, search: str = "") -> list[int]:
    """All that match, in the order of the list."""
    return list(db.session.execute(_IDS, _values(client_id, campaign_id, search)).scalars())


def finished_imports(client_id: int) -> list[ImportLine]:
    """Newest first."""
    return [ImportLine(*row) for row in db.session.execute(_IMPORTS, {"client": client_id})]

"""Clients: making one, changing its fields. The id is drawn first, so that row-level security lets the row in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Sequence, exists, select
from sqlalchemy.dialects.postgresql import insert

from app.core.db import Scope, current_scope, enter_scope
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.domain.address import AddressError, parse_address
from app.domain.fingerprint import fingerprint
from app.domain.names import tidy_name
from app.domain.statuses import CampaignStatus, Role
from app.domain.zones import known_countries, known_zones
from app.models import Campaign, Client, User
from app.services import audit, people
from app.strings import t

SLUG = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){1,39}")
RESERVED = frozenset({"new", "api", "static", "login", "logout", "claim", "admin", "settings", "stream", "docs", "all"})
FIELDS = ("name", "slug", "email", "postal_address", "timezone", "country", "language", "retention_days")
RETENTION = (30, 3_650)
LONGEST_NAME = 120


def slug_from(name: str) -> str:
    """``Ünïon & Söhne`` → ``union-sohne``; always a valid slug."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:36].strip("-")
    return slug if SLUG.fullmatch(slug) and slug not in RESERVED else f"client-{slug}".strip("-")[:40]


def create_client(
    values: Mapping[str, Any], creator: User | None = None, *, default_timezone: str = "Asia/Kolkata"
) -> Client:
    """A new client, entered by the present scope; ``creator`` becomes its admin. Raises Invalid per field."""
    wanted = {key: values[key] for key in FIELDS if values.get(key) not in (None, "")}
    wanted.setdefault("timezone", default_timezone)
    chosen = "slug" in wanted
    if not chosen:
        wanted["slug"] = slug_from(str(wanted.get("name", "")))
    _check({"name": "", **wanted})
    client = _insert(wanted, chosen)
    if creator is not None:
        people.grant(creator, client, Role.ADMIN)
    audit.record("client.create", "client", client.id, client_id=client.id, after=wanted)
    return client


def version(client: Client) -> str:
    """A print of what ``change_client`` can change."""
    return fingerprint([getattr(client, name) for name in FIELDS])


def change_client(client: Client, values: Mapping[str, Any], *, seen: str | None = None) -> Client:
    """Change the given fields; the short name stays for good (bookmarks).

    Raises Invalid per field, Conflict when the client's ``version`` is no longer ``seen``.
    """
    if seen is not None:
        db.session.refresh(client, with_for_update={"key_share": True})
        if version(client) != seen:
            raise Conflict.meanwhile("client")
    wanted = {key: values[key] for key in FIELDS if key in values and key != "slug"}
    _check(wanted)
    stored = _stored(wanted)
    if stored.get("postal_address") == "" and client.postal_address.strip() and _is_under_way(client.id):
        raise Invalid.field("postal_address", t("clients.address_needed"))
    before = {key: getattr(client, key) for key in wanted if getattr(client, key) != stored[key]}
    for key, value in stored.items():
        setattr(client, key, value)
    db.session.flush()
    if before:
        audit.record("client.update", "client", client.id, client_id=client.id, before=before, after={key: stored[key] for key in before})
    return client


def _is_under_way(client_id: int) -> bool:
    """Whether a campaign runs, or is only paused and may go on without another look at what a launch demands."""
    under_way = (CampaignStatus.RUNNING, CampaignStatus.PAUSED)
    return bool(db.session.scalar(select(exists().where(Campaign.client_id == client_id, Campaign.status.in_(under_way)))))


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    stored = {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}
    if stored.get("name"):
        stored["name"] = tidy_name(stored["name"], LONGEST_NAME)
    for key in ("email", "country"):
        if key in stored:
            stored[key] = stored[key] or None
    if stored.get("country"):
        stored["country"] = stored["country"].upper()
    return stored


def _check(values: Mapping[str, Any]) -> None:
    wrong: dict[str, list[str]] = {}
    if values.get("name") is not None:
        try:
            tidy_name(values["name"], LONGEST_NAME)
        except ValueError as fault:
            wrong["name"] = [str(fault)]
    slug = values.get("slug")
    if slug is not None and not SLUG.fullmatch(slug):
        wrong["slug"] = [t("clients.slug_shape")]
    elif slug in RESERVED:
        wrong["slug"] = [t("clients.slug_reserved")]
    if "timezone" in values and values["timezone"] not in known_zones():
        wrong["timezone"] = [t("fields.timezone_choice")]
    if values.get("country") and values["country"].strip().upper() not in known_countries():
        wrong["country"] = [t("clients.country_shape")]
    if "language" in values and not re.fullmatch(r"[a-z]{2}(-[A-Za-z]{2,4})?", values["language"] or ""):
        wrong["language"] = [t("clients.language_shape")]
    low, high = RETENTION
    if "retention_days" in values and not low <= values["retention_days"] <= high:
        wrong["retention_days"] = [t("clients.days_range", low=low, high=high)]
    if values.get("email"):
        try:
            parse_address(values["email"], allow_reserved=True)
        except AddressError as error:
            wrong["email"] = [str(error)]
    if wrong:
        raise Invalid(t("fields.marked"), details=wrong)


def _insert(wanted: Mapping[str, Any], chosen: bool) -> Client:
    """Other clients' rows are behind the wall, so only the unique key knows whether the short name is free."""
    client_id = db.session.scalar(select(Sequence("clients_id_seq").next_value()))
    assert client_id is not None
    scope = current_scope()
    enter_scope(Scope(user_id=scope.user_id, client_id=client_id, client_ids=(*scope.client_ids, client_id)))
    values = {"id": client_id, **_stored(wanted)}
    for slug in (values["slug"], *([] if chosen else [f"{values['slug'][:28]}-{client_id}"])):
        statement = insert(Client).values({**values, "slug": slug}).on_conflict_do_nothing(index_elements=["slug"])
        if db.session.scalar(statement.returning(Client.id)):
            return db.session.get_one(Client, client_id)
    raise Invalid.field("slug", t("clients.slug_taken"))

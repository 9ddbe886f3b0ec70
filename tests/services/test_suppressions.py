"""Addresses never to be contacted, and the public way out."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import Scope, transaction
from app.core.errors import Invalid, NotFound
from app.core.extensions import db
from app.services import suppressions
from tests import factories as make


@pytest.fixture
def walk(app: Flask) -> dict[str, Any]:
    client = make.make_client()
    mailbox = make.make_mailbox(client)
    lead = make.make_lead(client, email="Ada.Lovelace@Buyer.test", email_key="ada.lovelace@buyer.test")
    enrollments = [make.make_enrollment(make.make_campaign(client, mailboxes=(mailbox,)), lead, mailbox) for _ in range(2)]
    queued = make.make_delivery(enrollments[0], lead, mailbox)
    leased = make.make_delivery(
        enrollments[1], lead, mailbox, status="leased", lease_owner="e", leased_until=datetime.now(UTC) + timedelta(minutes=1)
    )
    return {"client": client, "mailbox": mailbox, "lead": lead, "enrollments": enrollments, "queued": queued, "leased": leased}


def statuses(table: str) -> list[tuple[str, str | None]]:
    found = [tuple(row) for row in db.session.execute(text(f"SELECT status, reason FROM {table} ORDER BY id"))]
    db.session.rollback()
    return found  # type: ignore[return-value]


def count(table: str) -> int:
    found = int(db.session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
    db.session.rollback()
    return found


def test_a_suppression_ends_every_walk_and_cancels_what_has_not_left(walk: dict[str, Any]) -> None:
    with transaction():
        assert suppressions.suppress(walk["client"].id, "ADA.lovelace@BUYER.test", "unsubscribed", "api")
    assert statuses("enrollments") == [("unsubscribed", "unsubscribed")] * 2
    assert statuses("deliveries") == [("cancelled", "unsubscribed")] * 2
    kinds = db.session.execute(text("SELECT kind FROM activities ORDER BY id")).scalars().all()
    assert sorted(kinds) == ["enrollment_ended", "enrollment_ended", "unsubscribed"]


def test_adding_only_tightens(walk: dict[str, Any]) -> None:
    with transaction():
        suppressions.suppress(walk["client"].id, "ada.lovelace@buyer.test", "bounced", "bounce")
    with transaction():
        assert not suppressions.suppress(walk["client"].id, "ada.lovelace@buyer.test", "manual", "person")
    assert db.session.execute(text("SELECT reason FROM suppressions")).scalars().all() == ["bounced"]


def test_another_client_keeps_writing(walk: dict[str, Any]) -> None:
    other = make.make_client()
    box = make.make_mailbox(other)
    lead = make.make_lead(other, email="ada.lovelace@buyer.test")
    mine = make.make_enrollment(make.make_campaign(other, mailboxes=(box,)), lead, box)
    with transaction():
        suppressions.suppress(walk["client"].id, "ada.lovelace@buyer.test", "manual", "person")
    assert db.session.execute(text("SELECT status FROM enrollments WHERE id = :id"), {"id": mine.id}).scalar() == "waiting"


def test_many_at_once_come_in_batches_of_five_hundred(walk: dict[str, Any]) -> None:
    emails = [f"person{number}@far.test" for number in range(1_200)] + ["ada.lovelace@buyer.test", "no address"]
    added = 0
    for batch in suppressions.suppress_many(emails):
        with transaction():
            added += suppressions.suppress_batch(walk["client"].id, batch, "import", "import")
    assert added == 1_201 == count("suppressions")
    assert statuses("enrollments") == [("stopped", "suppressed_client")] * 2
    with pytest.raises(ValueError, match="500"), transaction():
        suppressions.suppress_batch(walk["client"].id, emails, "import", "import")


def test_taking_off_the_list_needs_a_reason_and_leaves_a_trail(web_role: Flask) -> None:
    client = make_as_owner(lambda: make.make_client())
    user = make_as_owner(lambda: make.make_user(client))
    scope = Scope(user_id=user.id, client_id=client.id, client_ids=(client.id,))
    with transaction(scope):
        suppressions.suppress(client.id, "x@y.test", "manual", "person", by=user.id)
    with pytest.raises(Invalid), transaction(scope):
        suppressions.unsuppress(client.id, "x@y.test", reason=" ", by=user.id)
    with transaction(scope):
        suppressions.unsuppress(client.id, "X@y.test", reason="asked by phone to be written to", by=user.id)
    with pytest.raises(NotFound), transaction(scope):
        suppressions.unsuppress(client.id, "x@y.test", reason="again", by=user.id)
    with transaction(scope):
        actions = db.session.execute(text("SELECT action FROM audit_entries ORDER BY id")).scalars().all()
    assert actions == ["suppression.add", "suppression.remove"]


def make_as_owner(make_row: Any) -> Any:
    """Rows a request of the web role could not make by itself."""
    db.session.execute(text("SET ROLE emberpost_owner"))
    row = make_row()
    db.session.execute(text("SET ROLE emberpost_web"))
    db.session.commit()
    return row


def test_a_global_suppression_is_known_once(app: Flask) -> None:
    with transaction():
        assert suppressions.suppress_globally("spamtrap@far.test", "trap")
    with transaction():
        assert not suppressions.suppress_globally("Spamtrap@far.test", "trap")


def test_the_token_says_everything_and_nothing_else_opens() -> None:
    from app.core.tokens import SealedTokens, use_sealed_tokens

    use_sealed_tokens(SealedTokens("x" * 40))
    token = suppressions.unsubscribe_token(7, "ada@buyer.test", 3, 4, 5)
    assert suppressions.open_unsubscribe_token(token) == suppressions.WayOut(7, "ada@buyer.test", 3, 4, 5)
    for wrong in ("", "x", token[:-2], token + "A", "é" * 10, "A" * 5_000):
        assert suppressions.open_unsubscribe_token(wrong) is None


def test_the_page_asks_and_only_the_button_acts(walk: dict[str, Any], app: Flask) -> None:
    token = suppressions.unsubscribe_token(walk["client"].id, "ada.lovelace@buyer.test", walk["queued"].id, walk["lead"].id)
    asked = app.test_client().get(f"/u/{token}")
    assert asked.status_code == 200 and b"ada.lovelace@buyer.test" in asked.data
    assert count("suppressions") == 0
    done = app.test_client().post(f"/u/{token}")
    assert done.status_code == 200 and count("suppressions") == 1
    assert statuses("enrollments") == [("unsubscribed", "unsubscribed")] * 2


def test_one_click_works_without_cookies_within_a_second(walk: dict[str, Any], app: Flask) -> None:
    token = suppressions.unsubscribe_token(walk["client"].id, "ada.lovelace@buyer.test")
    began = time.monotonic()
    answer = app.test_client(use_cookies=False).post(
        f"/u/{token}", data={"List-Unsubscribe": "One-Click"}, headers={"Origin": "https://mail.provider.test"}
    )
    assert time.monotonic() - began < 1.0
    assert answer.status_code == 200 and "Location" not in answer.headers
    assert db.session.execute(text("SELECT source FROM suppressions")).scalars().all() == ["one_click"]


def test_the_way_out_works_when_campaign_and_lead_are_gone(app: Flask) -> None:
    client = make.make_client()
    token = suppressions.unsubscribe_token(client.id, "gone@buyer.test", 999, 998, 997)
    assert app.test_client().post(f"/u/{token}").status_code == 200
    assert db.session.execute(text("SELECT email_key FROM suppressions")).scalars().all() == ["gone@buyer.test"]


def test_a_lead_whose_address_was_corrected_is_stopped_under_both(walk: dict[str, Any]) -> None:
    token = suppressions.unsubscribe_token(walk["client"].id, "old@buyer.test", None, walk["lead"].id)
    with transaction():
        suppressions.unsubscribe(token, "page")
    keys = db.session.execute(text("SELECT email_key FROM suppressions ORDER BY 1")).scalars().all()
    assert keys == ["ada.lovelace@buyer.test", "old@buyer.test"]


def test_a_cut_link_is_explained(app: Flask) -> None:
    answer = app.test_client().get("/u/nothing")
    assert answer.status_code == 404 and b"stop" in answer.data

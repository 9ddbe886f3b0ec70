"""`flask audit no-doubles` finds what must never be, names it, and passes what is right."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from tests.factories import make_campaign, make_client, make_delivery, make_enrollment, make_lead, make_mailbox

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def sent(**values: Any) -> Any:
    """A message that was permitted and accepted once."""
    client = make_client()
    box, lead = make_mailbox(client), make_lead(client)
    walk = make_enrollment(make_campaign(client, mailboxes=(box,)), lead, box)
    held = {"status": "sent", "mime": b"x", "sent_at": NOW, "permitted_at": NOW, "epoch": 1, "message_id": f"<m{walk.id}@ours.test>"}
    row = make_delivery(walk, lead, box, **{**held, **values})
    attempt(row, 1, "accepted")
    return row


def attempt(row: Any, epoch: int, outcome: str | None) -> None:
    db.session.execute(
        text(
            "INSERT INTO delivery_attempts (delivery_id, epoch, client_id, engine, permitted_at, outcome)"
            " VALUES (:id, :epoch, :client, 'engine', now(), :outcome)"
        ), {"id": row.id, "epoch": epoch, "client": row.client_id, "outcome": outcome},
    )  # fmt: skip
    db.session.commit()


def proof(app: Flask) -> tuple[int, dict[str, Any]]:
    db.session.remove()
    result = app.test_cli_runner().invoke(args=["audit", "no-doubles", "--json"])
    return result.exit_code, json.loads(result.output)


def found(app: Flask) -> set[str]:
    code, told = proof(app)
    names = {sentence for sentence, ids in told["found"].items() if ids}
    assert code == bool(names)
    return names


def change(row: Any, **values: Any) -> None:
    present = db.session.merge(row)
    for name, value in values.items():
        setattr(present, name, value)
    db.session.commit()


def test_what_is_right_passes_with_its_counts(app: Flask) -> None:
    row = sent()
    attempt(row, 0, "trouble:connection_closed")
    code, told = proof(app)
    assert code == 0 and told["clean"]
    assert told["counts"] == {"messages": 1, "sent": 1, "uncertain": 0, "attempts": 2, "permits": 2, "acceptances": 1}
    assert "Nothing was sent twice." in app.test_cli_runner().invoke(args=["audit", "no-doubles"]).output


@pytest.mark.parametrize("outcome", [None, "unknown:timeout"])
def test_a_second_dot_needs_proof_of_absence(app: Flask, outcome: str | None) -> None:
    row = sent()
    attempt(row, 0, outcome)
    assert found(app) == {"a second final dot although the first may have arrived"}
    change(row, evidence={"absent": "not in the Sent folder"})
    assert found(app) == set()


def test_each_kind_of_double_is_found_and_named(app: Flask) -> None:
    row, other = sent(), sent()
    attempt(row, 2, "accepted")
    assert found(app) == {"two acceptances of one message", "a second final dot although the first may have arrived"}
    change(other, message_id=row.message_id, provider_message_id="r@x", enrollment_id=row.enrollment_id, step_id=row.step_id)
    change(row, provider_message_id="r@x")
    assert found(app) >= {"two messages for one step of one lead", "one Message-ID on two messages", "one receipt for two messages"}
    change(other, status="failed")
    assert "accepted, and said not to be sent" in found(app)
    for _ in range(2):
        db.session.execute(
            text("INSERT INTO activities (client_id, kind, delivery_id, meta, at) VALUES (:client, 'message_sent', :id, '{}', now())"),
            {"client": row.client_id, "id": row.id},
        )
    db.session.execute(text("DELETE FROM delivery_attempts WHERE delivery_id = :id"), {"id": row.id})
    db.session.commit()
    assert found(app) >= {"two lines of the timeline for one message", "said to be sent without acceptance or evidence"}


def test_a_double_that_a_person_decided_for_is_named_apart(app: Flask) -> None:
    sent(status="cancelled", reason="resent", late_accept=True)
    code, told = proof(app)
    assert code == 0 and told["by_people"] == [1]

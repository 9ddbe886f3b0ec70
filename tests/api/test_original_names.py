"""Programs of the original find their addresses, with the same rights and the same answers as everywhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.core.queue import Job
from app.models import AuditEntry, Lead, ProcessBeat
from app.services import schema_upgrades, settings
from jobs import sequence
from jobs.schedule import SCHEDULE
from jobs.scheduler import look
from tests.api.api_client import ApiClient
from tests.engine.test_schedule import NOW
from tests.factories import make_campaign, make_client, make_mailbox, make_user, save
from tests.web.page_client import as_web

OPERATORS = [
    ("GET", "/system/status"), ("GET", "/api/automation/scheduler/status"), ("GET", "/api/webhooks/scheduler-status"),
    ("POST", "/api/automation/scheduler/start"), ("POST", "/api/automation/scheduler/stop"), ("GET", "/api/admin/migrations/status"),
    ("POST", "/api/admin/migrations/bootstrap"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    settings.forget_copies()


@pytest.fixture
def operator(app: Flask) -> ApiClient:
    return ApiClient(app).log_in(make_user(is_operator=True))


def test_health_needs_nobody_and_no_database(app: Flask) -> None:
    nobody = ApiClient(app)
    assert (nobody.get("/health").status, nobody.get("/health").json) == (200, {"status": "ok"})


@pytest.mark.parametrize(("method", "path"), OPERATORS)
def test_what_concerns_the_installation_is_for_operators_alone(app: Flask, method: str, path: str) -> None:
    nobody, admin = ApiClient(app), ApiClient(app).log_in(make_user(make_client()))
    assert nobody.send(method, path).code == "unauthenticated"
    assert admin.send(method, path, json={} if method == "POST" else None).code == "not_found"


def test_all_original_names_are_in_the_description_under_their_own_heading(operator: ApiClient) -> None:
    paths = operator.get("/openapi.json").json["paths"]
    named = {(method.upper(), path) for path, all_of_it in paths.items() for method, one in all_of_it.items() if "original names" in one["tags"]}
    wanted = {
        *OPERATORS, ("GET", "/health"), ("POST", "/subscribers/"), ("POST", "/campaigns/{row_id}/send"),
        ("GET", "/api/automation/campaigns/{row_id}/status"),
    }  # fmt: skip
    assert named == wanted


def test_a_subscriber_is_a_lead_with_its_client_its_trail_and_its_key(app: Flask) -> None:
    client = make_client()
    agent, viewer = ApiClient(app).log_in(make_user(client, "agent")), ApiClient(app).log_in(make_user(client, "viewer"))
    key = {"Idempotency-Key": "ada"}
    made = agent.post("/subscribers/", {"email": "ada@buyer.test", "first_name": "Ada"}, headers=key)
    again = agent.post("/subscribers/", {"email": "ada@buyer.test", "first_name": "Ada"}, headers=key)
    assert made.status == again.status == 201 and made.json == again.json and again.headers["Idempotency-Replayed"] == "true"
    assert agent.get(f"/api/leads/{made.json['id']}").json == made.json
    assert agent.post("/subscribers", {"email": "b@buyer.test"}).status == 201, "with and without the last stroke"
    assert agent.post("/subscribers/", {"email": "ada@buyer.test"}).code == "duplicate_lead"
    assert viewer.post("/subscribers/", {"email": "c@buyer.test"}).code == "forbidden"
    assert db.session.query(Lead).count() == 2


def test_sending_a_campaign_launches_it_and_its_progress_answers_under_the_old_name(app: Flask) -> None:
    client = make_client()
    campaign = make_campaign(client, mailboxes=(make_mailbox(client),), status="draft")
    admin, agent = ApiClient(app).log_in(make_user(client)), ApiClient(app).log_in(make_user(client, "agent"))
    admin.post("/api/leads", {"email": "ada@buyer.test", "first_name": "Ada"})
    lead_id = admin.get("/api/leads").json["items"][0]["id"]
    admin.post(f"/api/campaigns/{campaign.id}/leads", {"lead_ids": [lead_id]})
    assert agent.post(f"/campaigns/{campaign.id}/send").code == "forbidden"
    stranger = ApiClient(app).log_in(make_user(make_client()))
    assert stranger.post(f"/campaigns/{campaign.id}/send").code == "not_found"
    assert admin.post(f"/campaigns/{campaign.id}/send").json["status"] == "running"
    assert admin.post(f"/campaigns/{campaign.id}/send").code == "conflict"
    old, new = (admin.get(f"/api/{name}campaigns/{campaign.id}/status") for name in ("automation/", ""))
    assert old.status == 200 and old.json["leads"] == 1 and old.json["by_status"] == {"waiting": 1} and old.json.keys() == new.json.keys()


def test_the_system_says_what_the_operations_page_says(operator: ApiClient) -> None:
    found = operator.get("/system/status").json
    assert found["status"] == "red" and any(one["name"] == "process scheduler" for one in found["findings"] if one["state"] == "red")
    assert set(found["queues"]) == {"dispatch", "receive", "bulk"} and found["messages"]["due"] == 0 and found["ledger_faults"] == []


# The scheduler


def test_a_paused_schedule_rings_its_safety_entries_alone_and_then_goes_on(operator: ApiClient) -> None:
    assert operator.post("/api/automation/scheduler/stop").json["paused"] is True
    safety = {entry.job for entry in SCHEDULE if entry.safety}
    assert safety >= {Job.DELIVERY_SWEEP, Job.INBOUND_SWEEP, Job.SEAL_TRAIL} and Job.SEQUENCE_TICK not in safety
    assert {entry.job for entry in look(NOW)} == safety, "replies, freed leases and seals never wait"
    assert operator.post("/api/automation/scheduler/start").json["paused"] is False
    rung = {entry.job for entry in look(NOW + timedelta(milliseconds=500))}
    assert rung == {entry.job for entry in SCHEDULE} - safety, "the very next look, half a second later"


def test_while_paused_no_tick_makes_a_message_whoever_rang_it(app: Flask, operator: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(sequence, "run", made.append)
    operator.post("/api/automation/scheduler/stop")
    sequence.tick()
    assert made == []
    operator.post("/api/automation/scheduler/start")
    sequence.tick()
    assert len(made) == 1


def test_the_flags_are_the_same_under_both_names_and_say_who_paused_it(operator: ApiClient) -> None:
    before = operator.get("/api/automation/scheduler/status").json
    assert (before["running"], before["alive"], before["last_tick"]) == (False, False, None)
    save(ProcessBeat(name="scheduler@here:1", kind="scheduler", facts={}))
    look(NOW)
    lives = operator.get("/api/automation/scheduler/status").json
    assert (lives["running"], lives["alive"], lives["last_tick"]) == (True, True, "2026-11-23T10:00:00Z")
    operator.post("/api/automation/scheduler/stop")
    operator.post("/api/automation/scheduler/stop")
    one, two = operator.get("/api/automation/scheduler/status").json, operator.get("/api/webhooks/scheduler-status").json
    assert one == two and (one["running"], one["alive"], one["paused"]) == (False, True, True) and one["paused_by"].startswith("User")
    lines = db.session.query(AuditEntry).filter_by(action="setting.change").all()
    assert [(line.object_id, line.before["value"], line.after["value"]) for line in lines] == [("0:scheduler_paused", False, True)]
    findings = {finding["name"]: finding for finding in operator.get("/system/status").json["findings"]}
    assert findings["schedule"]["state"] == "warning" and "paused" in findings["schedule"]["found"]


# Migrations


def test_at_head_there_is_nothing_to_run(operator: ApiClient) -> None:
    found = operator.get("/api/admin/migrations/status").json
    assert found["at_head"] is True and found["pending"] == [] and found["at"] == found["head"] and found["what_to_do"] == ""
    ran = operator.post("/api/admin/migrations/bootstrap")
    assert (ran.status, ran.json["applied"]) == (200, [])


def test_a_database_newer_than_the_code_is_named_and_left_alone(operator: ApiClient) -> None:
    head = _set_revision("9999_from_the_future")
    try:
        found = operator.get("/api/admin/migrations/status").json
        assert found["known"] is False and "newer than this code" in found["what_to_do"]
        assert operator.post("/api/admin/migrations/bootstrap").code == "migrations_unknown"
    finally:
        _set_revision(head)


def test_a_migration_that_fails_leaves_nothing_and_says_so_instead_of_breaking(operator: ApiClient) -> None:
    """The second migration runs against a database that has its index already."""
    head = _set_revision("0001")
    try:
        assert operator.get("/api/admin/migrations/status").json["pending"][0]["revision"] == "0002"
        refused = operator.post("/api/admin/migrations/bootstrap")
        assert refused.status == 409 and refused.code == "migration_failed" and "already exists" in refused.json["message"]
        assert operator.get("/api/admin/migrations/status").json["at"] == "0001"
    finally:
        _set_revision(head)


PROBE = """\"\"\"A table of a test.\"\"\"

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9998", "{head}", None, None


def upgrade() -> None:
    op.create_table("bootstrap_probe", sa.Column("id", sa.Integer(), primary_key=True))
"""


@pytest.fixture
def newer(operator: ApiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiClient]:
    """The product with one migration more than its database has."""
    folder = shutil.copytree(schema_upgrades.FOLDER, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    head = schema_upgrades.state().head
    db.session.rollback()
    (folder / "versions" / "9998_a_test.py").write_text(PROBE.format(head=head))
    monkeypatch.setattr(schema_upgrades, "FOLDER", folder)
    schema_upgrades.scripts.cache_clear()
    yield operator
    schema_upgrades.scripts.cache_clear()
    _as_owner("DROP TABLE IF EXISTS bootstrap_probe")
    _set_revision(head)


def test_pending_migrations_are_run_by_a_login_that_may_and_any_other_hears_what_to_do(
    newer: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = newer.get("/api/admin/migrations/status").json
    assert found["pending"] == [{"revision": "9998", "what": "A table of a test."}] and found["may_bootstrap"] is True
    with monkeypatch.context() as barred:
        barred.setattr(schema_upgrades, "_may", lambda: False)
        refused = newer.post("/api/admin/migrations/bootstrap")
    assert refused.code == "migrations_not_allowed" and "flask db upgrade" in refused.json["message"]
    done = newer.post("/api/admin/migrations/bootstrap")
    assert done.status == 200 and done.json["applied"] == found["pending"] and done.json["at_head"] is True
    assert db.session.scalar(text("SELECT to_regclass('bootstrap_probe') IS NOT NULL"))
    assert db.session.query(AuditEntry).filter_by(action="migrations.bootstrap").one().after == {"at": "9998"}
    assert newer.post("/api/admin/migrations/bootstrap").json["applied"] == []


def test_what_a_database_behind_the_code_lacks_is_said_and_a_fault_of_ours_stays_one(app: Flask) -> None:
    admin = ApiClient(app).log_in(make_user(make_client()))
    bearer = {"Authorization": f"Bearer {admin.token}"}

    def ask() -> tuple[int, str]:
        answer = as_web(lambda: admin.client.get("/api/imports", headers=bearer))
        return answer.status_code, answer.get_json()["code"]

    head = ""
    _as_owner("ALTER TABLE lead_imports RENAME TO lead_imports_away")
    try:
        assert ask() == (500, "internal"), "at head a missing table is a fault, and no answer hides it"
        head = _set_revision("0010")
        assert ask() == (503, "migrations_pending")
    finally:
        _as_owner("ALTER TABLE lead_imports_away RENAME TO lead_imports")
        if head:
            _set_revision(head)


def _as_owner(statement: str) -> None:
    with transaction():
        db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
        db.session.execute(text(statement))


def _set_revision(revision: str) -> str:
    """Pretend; returns where it was."""
    with transaction():
        db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
        was = str(db.session.scalar(text("SELECT version_num FROM alembic_version")))
        db.session.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
    return was

"""The ledger keeps its shape: migrations and models agree, tenants are apart on every table, times know their zone."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import DateTime, text

from app.core.extensions import Base, db
from app.domain.statuses import DeliveryStatus, shelf_of
from tests.conftest import ROOT
from tests.factories import (
    MONDAY_TEN,
    make_campaign,
    make_client,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
)

TENANT_TABLES = [table for table in Base.metadata.sorted_tables if "client_id" in table.c]
NULLABLE_ON_PURPOSE = {"switches", "settings", "audit_entries", "audit_seals"}  # a row without a client belongs to the instance


def test_the_models_equal_the_head_of_the_migrations(app: Flask) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory(str(ROOT / "migrations")).get_heads()) == 1


def test_the_migrations_go_down_and_up_again(app: Flask) -> None:
    db.session.remove()
    db.engine.dispose()
    downgrade(directory=str(ROOT / "migrations"), revision="base")
    with db.engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar()
    assert left == 1  # alembic's own
    upgrade(directory=str(ROOT / "migrations"))
    assert make_client().id


def test_messages_keep_their_place_and_their_ids_when_the_table_is_written_anew(app: Flask) -> None:
    """Migration 0020 on rows that were there: a known id is added where it was missing, and only there."""
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    left = {"mime": b"x", "sent_at": MONDAY_TEN, "permit_product_at": MONDAY_TEN}
    one = {**left, "status": "sent", "message_id": "<one@ours.test>"}
    two = {**left, "status": "cancelled", "reason": "skipped", "message_id": "<two@ours.test>"}
    people = [make_lead(client) for _ in range(3)]
    rows = [make_delivery(make_enrollment(campaign, lead, mailbox), lead, mailbox, **values) for lead, values in zip(people, ({}, one, two), strict=True)]
    ids = [row.id for row in rows]
    db.session.execute(text("DELETE FROM known_message_ids WHERE message_id = '<two@ours.test>'"))
    db.session.commit()
    db.session.remove()
    db.engine.dispose()
    downgrade(directory=str(ROOT / "migrations"), revision="0019")
    upgrade(directory=str(ROOT / "migrations"))
    lying = db.session.execute(text("SELECT id, shelf FROM deliveries ORDER BY id"))
    assert [tuple(row) for row in lying] == list(zip(ids, ("queued", "sent", "cancelled"), strict=True))
    known = db.session.execute(text("SELECT message_id, delivery_id FROM known_message_ids WHERE source = 'ours' ORDER BY id"))
    assert [tuple(row) for row in known] == [("<one@ours.test>", ids[1]), ("<two@ours.test>", ids[2])]


def test_every_tenant_table_names_its_client_in_an_index() -> None:
    for table in TENANT_TABLES:
        leading = {next(iter(index.columns)).name for index in table.indexes} | {
            next(iter(constraint.columns)).name for constraint in table.constraints if len(list(constraint.columns))
        }
        assert "client_id" in leading, f"{table.name} has no index that begins with client_id"
        assert table.c.client_id.nullable == (table.name in NULLABLE_ON_PURPOSE), table.name


def test_every_tenant_table_has_row_level_security_even_for_its_owner(app: Flask) -> None:
    rows = db.session.execute(text("SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relkind = 'r'"))
    secured = {row.relname for row in rows if row.relrowsecurity and row.relforcerowsecurity}
    assert {table.name for table in TENANT_TABLES} | {"clients"} <= secured


def test_a_message_lies_in_the_indexes_where_its_status_says(app: Flask) -> None:
    written = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE attname = 'shelf'"
    expression = db.session.execute(text(written)).scalar_one()
    lying = db.session.execute(text(f"SELECT status, {expression} AS lies FROM unnest(cast(:all AS text[])) AS of (status)"), {"all": list(DeliveryStatus)})
    assert {row.status: row.lies for row in lying} == {status: shelf_of(status) for status in DeliveryStatus}
    assert {status for status in DeliveryStatus if shelf_of(status) != status} == {DeliveryStatus.LEASED, DeliveryStatus.COMMITTING}


def test_every_time_knows_its_zone() -> None:
    for table in Base.metadata.sorted_tables:
        for column in table.c:
            if isinstance(column.type, DateTime):
                assert column.type.timezone, f"{table.name}.{column.name}"


def test_the_working_roles_own_nothing_and_bypass_nothing(app: Flask) -> None:
    rows = db.session.execute(text("SELECT rolname, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname LIKE 'emberpost\\_%'")).all()
    assert {row.rolname for row in rows} == {"emberpost_owner", "emberpost_web", "emberpost_jobs"}
    assert not any(row.rolbypassrls or row.rolcanlogin for row in rows)
    owners = set(db.session.scalars(text("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")))
    assert owners == {"emberpost_owner"}


def test_without_a_scope_the_web_role_sees_no_lead_and_with_one_only_its_own(web_role: Flask) -> None:
    from app.core.db import JOBS_ROLE, WEB_ROLE, Scope, transaction, use_database_role

    use_database_role(JOBS_ROLE)
    db.engine.dispose()
    ours, theirs = make_client(), make_client()
    make_lead(ours)
    make_lead(theirs)
    db.session.remove()
    use_database_role(WEB_ROLE)
    db.engine.dispose()
    count = text("SELECT count(*), count(*) FILTER (WHERE client_id = :theirs) FROM leads")
    with transaction() as session:
        assert tuple(session.execute(count, {"theirs": theirs.id}).one()) == (0, 0)
    with transaction(Scope(client_id=ours.id)) as session:
        assert tuple(session.execute(count, {"theirs": theirs.id}).one()) == (1, 0)
    with transaction(Scope(client_ids=(ours.id, theirs.id))) as session:
        assert tuple(session.execute(count, {"theirs": theirs.id}).one()) == (2, 1)

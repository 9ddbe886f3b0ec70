"""Outgoing webhooks: where a client's programs are told of events, what happened, and every call with its tries.

The events are written by triggers, in the transaction in which the thing happened, whoever did it and by whichever road. They write
only what an endpoint asked for: without one, a statement on the timeline costs one look at an empty table, however many rows it wrote.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from migrations.walls import wall

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_HEAD = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$"
_WANTED = """EXISTS (SELECT 1 FROM outgoing_endpoints e WHERE e.client_id = {client} AND {kind} = ANY (e.events)
  AND (e.state = 'on' OR e.state = 'broken' AND e.state_at > clock_timestamp() - interval '7 days'))"""

TIMELINE = f"""
CREATE FUNCTION emberpost_tell_timeline() RETURNS trigger {_HEAD}
BEGIN
  IF NOT EXISTS (SELECT 1 FROM outgoing_endpoints) THEN RETURN NULL; END IF;
  INSERT INTO outgoing_events (client_id, kind, campaign_id, enrollment_id, step_id, lead_id, sender_id, delivery_id, message_id, facts, occurred_at)
  SELECT n.client_id, k.event, n.campaign_id, n.enrollment_id, n.step_id, n.lead_id, n.sender_id, n.delivery_id, n.message_id, n.meta, n.at
  FROM fresh n JOIN (VALUES ('message_sent', 'delivery.sent'), ('message_received', 'reply.received'), ('reply_automatic', 'reply.automatic'),
      ('mail_bounced', 'lead.bounced'), ('unsubscribed', 'lead.unsubscribed'), ('complained', 'lead.complained')) AS k (activity, event)
    ON k.activity = n.kind
  WHERE {_WANTED.format(client="n.client_id", kind="k.event")} ORDER BY n.id;
  RETURN NULL;
END $$
"""
DELIVERY = f"""
CREATE FUNCTION emberpost_tell_delivery() RETURNS trigger {_HEAD}
BEGIN
  INSERT INTO outgoing_events (client_id, kind, campaign_id, enrollment_id, step_id, lead_id, sender_id, delivery_id)
  SELECT NEW.client_id, 'delivery.' || NEW.status, NEW.campaign_id, NEW.enrollment_id, NEW.step_id, NEW.lead_id, NEW.sender_id, NEW.id
  WHERE {_WANTED.format(client="NEW.client_id", kind="'delivery.' || NEW.status")};
  RETURN NULL;
END $$
"""
CAMPAIGN = f"""
CREATE FUNCTION emberpost_tell_campaign() RETURNS trigger {_HEAD}
DECLARE
  event text := 'campaign.' || CASE NEW.status WHEN 'running' THEN CASE OLD.status WHEN 'paused' THEN 'resumed' ELSE 'started' END
    ELSE NEW.status END;
BEGIN
  INSERT INTO outgoing_events (client_id, kind, campaign_id, facts)
  SELECT NEW.client_id, event, NEW.id, jsonb_build_object('from', OLD.status, 'to', NEW.status)
  WHERE {_WANTED.format(client="NEW.client_id", kind="event")};
  RETURN NULL;
END $$
"""
SENDER = f"""
CREATE FUNCTION emberpost_tell_sender() RETURNS trigger {_HEAD}
BEGIN
  INSERT INTO outgoing_events (client_id, kind, sender_id, facts)
  SELECT NEW.client_id, 'mailbox.auth_failed', NEW.id, jsonb_build_object('reason', NEW.status_reason)
  WHERE {_WANTED.format(client="NEW.client_id", kind="'mailbox.auth_failed'")};
  RETURN NULL;
END $$
"""
TRIGGERS = (
    "CREATE TRIGGER tell_outgoing AFTER INSERT ON activities REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT"
    " EXECUTE FUNCTION emberpost_tell_timeline()",
    "CREATE TRIGGER tell_outgoing AFTER UPDATE OF status ON deliveries FOR EACH ROW WHEN (NEW.status IN ('failed', 'uncertain')"
    " AND OLD.status <> NEW.status AND NEW.kind <> 'test') EXECUTE FUNCTION emberpost_tell_delivery()",
    "CREATE TRIGGER tell_outgoing AFTER UPDATE OF status ON campaigns FOR EACH ROW WHEN (OLD.status <> NEW.status AND NEW.status <> 'draft')"
    " EXECUTE FUNCTION emberpost_tell_campaign()",
    "CREATE TRIGGER tell_outgoing AFTER UPDATE OF status ON senders FOR EACH ROW WHEN (NEW.status = 'auth_failed' AND OLD.status <> NEW.status)"
    " EXECUTE FUNCTION emberpost_tell_sender()",
)
TOLD_OF = ("activities", "deliveries", "campaigns", "senders")
FUNCTIONS = ("emberpost_tell_timeline", "emberpost_tell_delivery", "emberpost_tell_campaign", "emberpost_tell_sender")

_NOW = sa.text("clock_timestamp()")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True)


def _ref(name: str, to: str | None = None, *, cascade: bool = False, nullable: bool = False) -> sa.Column[int]:
    keys = [sa.ForeignKey(to, ondelete="CASCADE" if cascade else None)] if to else []
    return sa.Column(name, sa.BigInteger(), *keys, nullable=nullable)


def _client() -> sa.Column[int]:
    return _ref("client_id", "clients.id")


def _text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=default, nullable=nullable)


def _number(name: str, kind: type[sa.Integer] = sa.Integer, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, kind(), server_default=None if nullable else "0", nullable=nullable)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _made(name: str = "created_at") -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=_NOW, nullable=False)


def upgrade() -> None:
    _endpoints()
    _events()
    _calls()
    for statement in (TIMELINE, DELIVERY, CAMPAIGN, SENDER, *TRIGGERS):
        op.execute(statement)
    for name in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC")
    for table in ("outgoing_endpoints", "outgoing_secrets", "outgoing_calls"):
        wall(table)
    wall("outgoing_events", web="SELECT, INSERT")
    wall("outgoing_tries", web="SELECT, INSERT")


def _endpoints() -> None:
    op.create_table(
        "outgoing_endpoints", _id(), _client(), _text("url"), _text("description", ""), sa.Column("events", ARRAY(sa.Text()), nullable=False),
        _text("state", "on"), _text("state_why", ""), _made("state_at"), _number("failures"), _moment("rests_until"), _moment("failing_since"),
        _moment("last_success_at"), _moment("last_failure_at"), _ref("created_by", "users.id", nullable=True), _made(),
        sa.CheckConstraint("state IN ('on', 'off', 'broken')", name=op.f("ck_outgoing_endpoints_state")),
    )  # fmt: skip
    op.create_index(op.f("ix_outgoing_endpoints_client_id"), "outgoing_endpoints", ["client_id"])
    op.create_table(
        "outgoing_secrets", _id(), _client(), _ref("endpoint_id", "outgoing_endpoints.id", cascade=True), _text("signing_secret", ""), _made(),
        _moment("ends_at"),
    )  # fmt: skip
    op.create_index(op.f("ix_outgoing_secrets_client_id"), "outgoing_secrets", ["client_id"])
    op.create_index(op.f("ix_outgoing_secrets_endpoint_id"), "outgoing_secrets", ["endpoint_id"])


def _events() -> None:
    refs = ("campaign_id", "enrollment_id", "step_id", "lead_id", "sender_id", "delivery_id", "message_id")
    new_id = sa.text("'evt_' || replace(gen_random_uuid()::text, '-', '')")
    op.create_table(
        "outgoing_events", _id(), _client(), _text("kind"), sa.Column("webhook_id", sa.Text(), server_default=new_id, nullable=False),
        *(_ref(name, nullable=True) for name in refs), sa.Column("facts", JSONB(), server_default="{}", nullable=False), _moment("occurred_at"),
        _text("body", nullable=True), _made(),
    )  # fmt: skip
    op.create_index(op.f("ix_outgoing_events_client_id_kind_created_at"), "outgoing_events", ["client_id", "kind", "created_at"])
    op.create_index("ix_outgoing_events_untold", "outgoing_events", ["id"], postgresql_where=sa.text("body IS NULL"))
    op.create_index(op.f("ix_outgoing_events_created_at"), "outgoing_events", ["created_at"])


def _calls() -> None:
    op.create_table(
        "outgoing_calls", _id(), _client(), _ref("endpoint_id", "outgoing_endpoints.id", cascade=True),
        _ref("event_id", "outgoing_events.id", cascade=True), _text("kind"), _text("status", "queued"), _number("epoch"),
        _number("tries", sa.SmallInteger), _made("due_at"), _moment("leased_until"), _made(), _moment("ended_at"),
        _number("last_status", nullable=True), _text("last_error", ""), sa.UniqueConstraint("endpoint_id", "event_id"),
        sa.CheckConstraint("status IN ('queued', 'leased', 'delivered', 'failed')", name=op.f("ck_outgoing_calls_status")),
    )  # fmt: skip
    due, leased = sa.text("status = 'queued'"), sa.text("status = 'leased'")
    op.create_index("ix_outgoing_calls_due", "outgoing_calls", ["endpoint_id", "due_at", "id"], postgresql_where=due)
    op.create_index("ix_outgoing_calls_leases", "outgoing_calls", ["leased_until"], postgresql_where=leased)
    op.create_index(op.f("ix_outgoing_calls_endpoint_id_status_id"), "outgoing_calls", ["endpoint_id", "status", "id"])
    op.create_index(op.f("ix_outgoing_calls_event_id"), "outgoing_calls", ["event_id"])
    op.create_index(op.f("ix_outgoing_calls_client_id_id"), "outgoing_calls", ["client_id", "id"])
    op.create_table(
        "outgoing_tries", _id(), _client(), _ref("call_id", "outgoing_calls.id", cascade=True), _made("at"), sa.Column("ms", sa.Integer(), nullable=False),
        _number("status", nullable=True), _number("length", nullable=True), _text("error", ""),
    )  # fmt: skip
    op.create_index(op.f("ix_outgoing_tries_client_id"), "outgoing_tries", ["client_id"])
    op.create_index(op.f("ix_outgoing_tries_call_id_id"), "outgoing_tries", ["call_id", "id"])


def downgrade() -> None:
    for table in TOLD_OF:
        op.execute(f"DROP TRIGGER tell_outgoing ON {table}")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    for table in ("outgoing_tries", "outgoing_calls", "outgoing_events", "outgoing_secrets", "outgoing_endpoints"):
        op.drop_table(table)

"""Everything of the walking road, behind the second wall from the first table on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.walls import ALL, APPEND, JOBS, USER, WEB, grant, wall

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clients",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("postal_address", sa.Text(), server_default="", nullable=False),
        sa.Column("timezone", sa.Text(), server_default="Asia/Kolkata", nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("plan", sa.Text(), server_default="standard", nullable=False),
        sa.Column("retention_days", sa.Integer(), server_default="730", nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clients")),
        sa.UniqueConstraint("slug", name=op.f("uq_clients_slug")),
    )
    op.create_table(
        "inbound_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("status", sa.Text(), server_default="new", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('new', 'done', 'ignored', 'quarantined')", name=op.f("ck_inbound_events_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_events")),
        sa.UniqueConstraint(
            "source", "account", "dedupe_key", name=op.f("uq_inbound_events_source_account_dedupe_key")
        ),
    )
    op.create_index(
        "ix_inbound_events_new", "inbound_events", ["id"], unique=False, postgresql_where=sa.text("status = 'new'")
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("mode IN ('real', 'rehearsal')", name=op.f("ck_instance_mode")),
        sa.CheckConstraint("id = 1", name=op.f("ck_instance_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )
    op.create_table(
        "login_throttle",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_failure_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_throttle")),
    )
    op.create_index(op.f("ix_login_throttle_last_failure_at"), "login_throttle", ["last_failure_at"], unique=False)
    op.create_table(
        "process_beats",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_process_beats")),
    )
    op.create_index(op.f("ix_process_beats_kind"), "process_beats", ["kind"], unique=False)
    op.create_table(
        "product_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("base_machine", sa.DateTime(timezone=True), nullable=False),
        sa.Column("base_product", sa.DateTime(timezone=True), nullable=False),
        sa.Column("factor", sa.Double(), nullable=False),
        sa.CheckConstraint("factor > 0 AND factor <= 60", name=op.f("ck_product_clock_factor")),
        sa.CheckConstraint("id = 1", name=op.f("ck_product_clock_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product_clock")),
    )
    op.create_table(
        "scheduled_runs",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_scheduled_runs")),
    )
    op.create_table(
        "shards",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.SmallInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('dispatch', 'read')", name=op.f("ck_shards_kind")),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_shards")),
    )
    op.create_table(
        "usage_counters",
        sa.Column("scope_kind", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cap", sa.Integer(), nullable=True),
        sa.CheckConstraint("cap IS NULL OR used <= cap", name=op.f("ck_usage_counters_within_cap")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_usage_counters_not_negative")),
        sa.PrimaryKeyConstraint("scope_kind", "scope_id", "action", "window_start", name=op.f("pk_usage_counters")),
    )
    op.create_index(op.f("ix_usage_counters_window_start"), "usage_counters", ["window_start"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("is_operator", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("timezone", sa.Text(), server_default="Asia/Kolkata", nullable=False),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("shortcuts_on", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("theme", sa.Text(), server_default="system", nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("theme IN ('system', 'light', 'dark')", name=op.f("ck_users_theme")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email_key", name=op.f("uq_users_email_key")),
    )
    op.create_table(
        "activities",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("campaign_id", sa.BigInteger(), nullable=True),
        sa.Column("enrollment_id", sa.BigInteger(), nullable=True),
        sa.Column("step_id", sa.BigInteger(), nullable=True),
        sa.Column("lead_id", sa.BigInteger(), nullable=True),
        sa.Column("sender_id", sa.BigInteger(), nullable=True),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("meta", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "kind IN ('connection_request_sent', 'connection_accepted', 'connection_accepted_historical', 'message_sent', 'message_received', 'mail_bounced', 'unsubscribed', 'complained', 'invitation_withdrawn', 'reply_automatic', 'enrollment_started', 'enrollment_ended', 'warmup_sent', 'warmup_received', 'warmup_rescued')",
            name=op.f("ck_activities_kind"),
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_activities_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activities")),
    )
    op.create_index(
        op.f("ix_activities_campaign_id_kind_at"), "activities", ["campaign_id", "kind", "at"], unique=False
    )
    op.create_index(op.f("ix_activities_client_id_at"), "activities", ["client_id", "at"], unique=False)
    op.create_index(
        op.f("ix_activities_client_id_lead_id_at"), "activities", ["client_id", "lead_id", "at"], unique=False
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_audit_entries_client_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_audit_entries_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_client_id_id"), "audit_entries", ["client_id", "id"], unique=False)
    op.create_table(
        "blobs",
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_blobs_client_id")),
        sa.PrimaryKeyConstraint("client_id", "sha256", name=op.f("pk_blobs")),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="draft", nullable=False),
        sa.Column("status_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("status_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_product_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_by", sa.BigInteger(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("windows", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("closed_days", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("weekend", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("holidays_country", sa.Text(), nullable=True),
        sa.Column("daily_cap", sa.Integer(), nullable=True),
        sa.Column("daily_new_leads", sa.Integer(), nullable=True),
        sa.Column("allow_elsewhere", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("after_uncertain", sa.Text(), server_default="hold", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("after_uncertain IN ('hold')", name=op.f("ck_campaigns_after_uncertain")),
        sa.CheckConstraint(
            "status IN ('draft', 'running', 'paused', 'finished', 'stopped')", name=op.f("ck_campaigns_status")
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_campaigns_client_id")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_campaigns_created_by")),
        sa.ForeignKeyConstraint(["status_by"], ["users.id"], name=op.f("fk_campaigns_status_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_index(op.f("ix_campaigns_client_id_status"), "campaigns", ["client_id", "status"], unique=False)
    op.create_table(
        "global_suppressions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_global_suppressions_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_global_suppressions")),
        sa.UniqueConstraint("email_key", name=op.f("uq_global_suppressions_email_key")),
    )
    op.create_table(
        "lead_imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="uploaded", nullable=False),
        sa.Column("dry_run", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("blob_sha256", sa.Text(), nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("mapping", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("total_rows", sa.Integer(), nullable=True),
        sa.Column("done_rows", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('uploaded', 'running', 'done', 'failed', 'undoing', 'undone')",
            name=op.f("ck_lead_imports_status"),
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_lead_imports_client_id")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_lead_imports_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead_imports")),
    )
    op.create_index(op.f("ix_lead_imports_client_id_id"), "lead_imports", ["client_id", "id"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("role IN ('admin', 'agent', 'viewer')", name=op.f("ck_memberships_role")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_memberships_client_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
        sa.UniqueConstraint("client_id", "user_id", name=op.f("uq_memberships_client_id_user_id")),
    )
    op.create_index(op.f("ix_memberships_user_id"), "memberships", ["user_id"], unique=False)
    op.create_table(
        "one_time_links",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("purpose IN ('claim', 'login', 'invite', 'reset')", name=op.f("ck_one_time_links_purpose")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_one_time_links_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_one_time_links_token_hash")),
    )
    op.create_table(
        "remembered_answers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_remembered_answers_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remembered_answers")),
        sa.UniqueConstraint("user_id", "key", name=op.f("uq_remembered_answers_user_id_key")),
    )
    op.create_index(op.f("ix_remembered_answers_created_at"), "remembered_answers", ["created_at"], unique=False)
    op.create_table(
        "senders",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="connecting", nullable=False),
        sa.Column("status_reason", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "status_since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("status_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("daily_cap", sa.Integer(), server_default="40", nullable=False),
        sa.Column("hourly_cap", sa.Integer(), nullable=True),
        sa.Column("min_gap_s", sa.Integer(), server_default="120", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("backoff_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("uncertain_streak", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("channel IN ('email', 'linkedin')", name=op.f("ck_senders_channel")),
        sa.CheckConstraint(
            "status IN ('connecting', 'active', 'paused', 'auth_failed')", name=op.f("ck_senders_status")
        ),
        sa.CheckConstraint("daily_cap >= 0 AND min_gap_s >= 0", name=op.f("ck_senders_not_negative")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_senders_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_senders")),
    )
    op.create_index(op.f("ix_senders_client_id_status"), "senders", ["client_id", "status"], unique=False)
    op.create_index(
        "uq_senders_live_address",
        "senders",
        ["channel", "address_key"],
        unique=True,
        postgresql_where="deleted_at IS NULL",
    )
    op.create_table(
        "settings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scope_kind", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.BigInteger(), nullable=True),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "scope_kind IN ('instance', 'client', 'campaign', 'sender', 'user')", name=op.f("ck_settings_scope_kind")
        ),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name=op.f("fk_settings_changed_by")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_settings_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settings")),
        sa.UniqueConstraint("scope_kind", "scope_id", "key", name=op.f("uq_settings_scope_kind_scope_id_key")),
    )
    op.create_index(op.f("ix_settings_client_id"), "settings", ["client_id"], unique=False)
    op.create_table(
        "suppressions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("campaign_id", sa.BigInteger(), nullable=True),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "reason IN ('unsubscribed', 'bounced', 'complained', 'manual', 'import', 'left_company')",
            name=op.f("ck_suppressions_reason"),
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_suppressions_client_id")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_suppressions_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppressions")),
        sa.UniqueConstraint("client_id", "email_key", name=op.f("uq_suppressions_client_id_email_key")),
    )
    op.create_index(op.f("ix_suppressions_client_id_id"), "suppressions", ["client_id", "id"], unique=False)
    op.create_table(
        "switches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scope_kind", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=True),
        sa.Column("stopped", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("product_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_by", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("scope_kind IN ('instance', 'client')", name=op.f("ck_switches_scope_kind")),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name=op.f("fk_switches_changed_by")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_switches_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_switches")),
        sa.UniqueConstraint("scope_kind", "scope_id", name=op.f("uq_switches_scope_kind_scope_id")),
    )
    op.create_index(op.f("ix_switches_client_id"), "switches", ["client_id"], unique=False)
    op.create_table(
        "user_sessions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("refresh_hash", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("agent", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('page', 'api')", name=op.f("ck_user_sessions_kind")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_user_sessions_token_hash")),
    )
    op.create_index(op.f("ix_user_sessions_user_id"), "user_sessions", ["user_id"], unique=False)
    op.create_table(
        "campaign_senders",
        sa.Column("campaign_id", sa.BigInteger(), nullable=False),
        sa.Column("sender_id", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_campaign_senders_campaign_id")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_campaign_senders_client_id")),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_campaign_senders_sender_id")),
        sa.PrimaryKeyConstraint("campaign_id", "sender_id", name=op.f("pk_campaign_senders")),
    )
    op.create_index(op.f("ix_campaign_senders_client_id"), "campaign_senders", ["client_id"], unique=False)
    op.create_index(op.f("ix_campaign_senders_sender_id"), "campaign_senders", ["sender_id"], unique=False)
    op.create_table(
        "import_rejects",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_import_rejects_client_id")),
        sa.ForeignKeyConstraint(["import_id"], ["lead_imports.id"], name=op.f("fk_import_rejects_import_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_rejects")),
    )
    op.create_index(op.f("ix_import_rejects_client_id"), "import_rejects", ["client_id"], unique=False)
    op.create_index(op.f("ix_import_rejects_import_id_line"), "import_rejects", ["import_id", "line"], unique=False)
    op.create_table(
        "leads",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("email_key", sa.Text(), nullable=True),
        sa.Column("first_name", sa.Text(), server_default="", nullable=False),
        sa.Column("last_name", sa.Text(), server_default="", nullable=False),
        sa.Column("company", sa.Text(), server_default="", nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("linkedin_url", sa.Text(), nullable=True),
        sa.Column("linkedin_slug", sa.Text(), nullable=True),
        sa.Column("linkedin_provider_id", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("custom", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("verification_status", sa.Text(), server_default="unknown", nullable=False),
        sa.Column("consent_note", sa.Text(), server_default="", nullable=False),
        sa.Column("source_import_id", sa.BigInteger(), nullable=True),
        sa.Column("contacted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bounced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_leads_client_id")),
        sa.ForeignKeyConstraint(["source_import_id"], ["lead_imports.id"], name=op.f("fk_leads_source_import_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads")),
        sa.UniqueConstraint("client_id", "email_key", name=op.f("uq_leads_client_id_email_key")),
    )
    op.create_index(op.f("ix_leads_client_id_id"), "leads", ["client_id", "id"], unique=False)
    op.create_index(
        "ix_leads_linkedin",
        "leads",
        ["client_id", "linkedin_slug"],
        unique=False,
        postgresql_where=sa.text("linkedin_slug IS NOT NULL"),
    )
    op.create_index(op.f("ix_leads_source_import_id"), "leads", ["source_import_id"], unique=False)
    op.create_table(
        "mailboxes",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), server_default="", nullable=False),
        sa.Column("credential_kind", sa.Text(), server_default="password", nullable=False),
        sa.Column("smtp_host", sa.Text(), nullable=False),
        sa.Column("smtp_port", sa.Integer(), nullable=False),
        sa.Column("smtp_security", sa.Text(), nullable=False),
        sa.Column("smtp_user", sa.Text(), nullable=False),
        sa.Column("smtp_secret", sa.Text(), nullable=True),
        sa.Column("imap_host", sa.Text(), nullable=False),
        sa.Column("imap_port", sa.Integer(), nullable=False),
        sa.Column("imap_security", sa.Text(), nullable=False),
        sa.Column("imap_user", sa.Text(), nullable=False),
        sa.Column("imap_secret", sa.Text(), nullable=True),
        sa.Column("oauth_provider", sa.Text(), nullable=True),
        sa.Column("oauth_refresh_secret", sa.Text(), nullable=True),
        sa.Column("save_to_sent", sa.Text(), server_default="unknown", nullable=False),
        sa.Column("show_all_mail", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("own_hours", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("restrict_campaigns", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("read_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_status", sa.Text(), server_default="idle", nullable=False),
        sa.Column("read_error", sa.Text(), server_default="", nullable=False),
        sa.Column("last_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verify_result", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.CheckConstraint("credential_kind IN ('password', 'xoauth2')", name=op.f("ck_mailboxes_credential_kind")),
        sa.CheckConstraint("imap_security IN ('none', 'starttls', 'tls')", name=op.f("ck_mailboxes_imap_security")),
        sa.CheckConstraint(
            "save_to_sent IN ('unknown', 'provider', 'append', 'never')", name=op.f("ck_mailboxes_save_to_sent")
        ),
        sa.CheckConstraint("smtp_security IN ('none', 'starttls', 'tls')", name=op.f("ck_mailboxes_smtp_security")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_mailboxes_client_id")),
        sa.ForeignKeyConstraint(["id"], ["senders.id"], name=op.f("fk_mailboxes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailboxes")),
    )
    op.create_index(op.f("ix_mailboxes_client_id"), "mailboxes", ["client_id"], unique=False)
    op.create_table(
        "steps",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("branch", sa.Text(), server_default="", nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("channel", sa.Text(), server_default="email", nullable=False),
        sa.Column("delay_value", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delay_unit", sa.Text(), server_default="working_days", nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("html", sa.Text(), server_default="", nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("channel IN ('email', 'linkedin')", name=op.f("ck_steps_channel")),
        sa.CheckConstraint(
            "delay_unit IN ('working_days', 'days', 'hours', 'minutes')", name=op.f("ck_steps_delay_unit")
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_steps_campaign_id")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_steps_client_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["steps.id"], name=op.f("fk_steps_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
    )
    op.create_index(
        op.f("ix_steps_campaign_id_parent_id_position"), "steps", ["campaign_id", "parent_id", "position"], unique=False
    )
    op.create_index(op.f("ix_steps_client_id"), "steps", ["client_id"], unique=False)
    op.create_table(
        "conversations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), server_default="email", nullable=False),
        sa.Column("sender_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=True),
        sa.Column("campaign_id", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("subject_base", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("snoozed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("assignee_id", sa.BigInteger(), nullable=True),
        sa.Column("unread", sa.Integer(), server_default="0", nullable=False),
        sa.Column("in_inbox", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("is_other", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("needs_match", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("looks_automatic", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("last_direction", sa.Text(), nullable=True),
        sa.Column("last_message_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_inbound_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("snippet", sa.Text(), server_default="", nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("display_address", sa.Text(), server_default="", nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("channel IN ('email', 'linkedin')", name=op.f("ck_conversations_channel")),
        sa.CheckConstraint("status IN ('open', 'snoozed', 'closed')", name=op.f("ck_conversations_status")),
        sa.ForeignKeyConstraint(["assignee_id"], ["users.id"], name=op.f("fk_conversations_assignee_id")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_conversations_campaign_id")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_conversations_client_id")),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.id"], name=op.f("fk_conversations_lead_id")),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_conversations_sender_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    op.create_index(
        "ix_conversations_assignee",
        "conversations",
        ["client_id", "assignee_id", sa.literal_column("last_message_at DESC")],
        unique=False,
        postgresql_where=sa.text("in_inbox"),
    )
    op.create_index(op.f("ix_conversations_client_id_lead_id"), "conversations", ["client_id", "lead_id"], unique=False)
    op.create_index(
        op.f("ix_conversations_client_id_sender_id_subject_base"),
        "conversations",
        ["client_id", "sender_id", "subject_base"],
        unique=False,
    )
    op.create_index(
        "ix_conversations_list",
        "conversations",
        ["client_id", "status", sa.literal_column("last_message_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("in_inbox"),
    )
    op.create_index(
        "ix_conversations_snoozed",
        "conversations",
        ["snoozed_until"],
        unique=False,
        postgresql_where=sa.text("status = 'snoozed'"),
    )
    op.create_index(
        "ix_conversations_unread",
        "conversations",
        ["client_id", sa.literal_column("last_message_at DESC")],
        unique=False,
        postgresql_where=sa.text("in_inbox AND unread > 0"),
    )
    op.create_table(
        "folder_states",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_uid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("highest_modseq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("full_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('inbox', 'sent', 'junk', 'other')", name=op.f("ck_folder_states_role")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_folder_states_client_id")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_folder_states_mailbox_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_folder_states")),
        sa.UniqueConstraint("mailbox_id", "folder", name=op.f("uq_folder_states_mailbox_id_folder")),
    )
    op.create_index(op.f("ix_folder_states_client_id"), "folder_states", ["client_id"], unique=False)
    op.create_table(
        "import_changes",
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("before", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_import_changes_client_id")),
        sa.ForeignKeyConstraint(["import_id"], ["lead_imports.id"], name=op.f("fk_import_changes_import_id")),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.id"], name=op.f("fk_import_changes_lead_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("import_id", "lead_id", name=op.f("pk_import_changes")),
    )
    op.create_index(op.f("ix_import_changes_client_id"), "import_changes", ["client_id"], unique=False)
    op.create_index(op.f("ix_import_changes_lead_id"), "import_changes", ["lead_id"], unique=False)
    op.create_table(
        "enrollments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("sender_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("next_step_id", sa.BigInteger(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_step_id", sa.BigInteger(), nullable=True),
        sa.Column("last_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_by", sa.BigInteger(), nullable=True),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('waiting', 'in_flight', 'needs_attention', 'held', 'paused', 'replied', 'bounced', 'unsubscribed', 'stopped', 'finished', 'skipped', 'failed')",
            name=op.f("ck_enrollments_status"),
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_enrollments_campaign_id")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_enrollments_client_id")),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_enrollments_conversation_id")),
        sa.ForeignKeyConstraint(["last_step_id"], ["steps.id"], name=op.f("fk_enrollments_last_step_id")),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.id"], name=op.f("fk_enrollments_lead_id")),
        sa.ForeignKeyConstraint(["next_step_id"], ["steps.id"], name=op.f("fk_enrollments_next_step_id")),
        sa.ForeignKeyConstraint(["paused_by"], ["users.id"], name=op.f("fk_enrollments_paused_by")),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_enrollments_sender_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrollments")),
        sa.UniqueConstraint("campaign_id", "lead_id", name=op.f("uq_enrollments_campaign_id_lead_id")),
    )
    op.create_index(op.f("ix_enrollments_campaign_id_status"), "enrollments", ["campaign_id", "status"], unique=False)
    op.create_index(op.f("ix_enrollments_client_id_lead_id"), "enrollments", ["client_id", "lead_id"], unique=False)
    op.create_index(
        "ix_enrollments_due", "enrollments", ["next_at"], unique=False, postgresql_where=sa.text("status = 'waiting'")
    )
    op.create_index(
        "ix_enrollments_held",
        "enrollments",
        ["held_until"],
        unique=False,
        postgresql_where=sa.text("status = 'held' AND held_until IS NOT NULL"),
    )
    op.create_index(op.f("ix_enrollments_sender_id"), "enrollments", ["sender_id"], unique=False)
    op.create_table(
        "participants",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_participants_client_id")),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_participants_conversation_id")
        ),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.id"], name=op.f("fk_participants_lead_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_participants")),
        sa.UniqueConstraint("conversation_id", "address_key", name=op.f("uq_participants_conversation_id_address_key")),
    )
    op.create_index(
        op.f("ix_participants_client_id_address_key"), "participants", ["client_id", "address_key"], unique=False
    )
    op.create_table(
        "seen_uids",
        sa.Column("folder_state_id", sa.BigInteger(), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_seen_uids_client_id")),
        sa.ForeignKeyConstraint(["folder_state_id"], ["folder_states.id"], name=op.f("fk_seen_uids_folder_state_id")),
        sa.PrimaryKeyConstraint("folder_state_id", "uidvalidity", "uid", name=op.f("pk_seen_uids")),
    )
    op.create_index(op.f("ix_seen_uids_client_id"), "seen_uids", ["client_id"], unique=False)
    op.create_index(
        op.f("ix_seen_uids_folder_state_id_identity"), "seen_uids", ["folder_state_id", "identity"], unique=False
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("sender_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "shard", sa.SmallInteger(), sa.Computed("mod(sender_id, 64)::smallint", persisted=True), nullable=False
        ),
        sa.Column("campaign_id", sa.BigInteger(), nullable=True),
        sa.Column("enrollment_id", sa.BigInteger(), nullable=True),
        sa.Column("step_id", sa.BigInteger(), nullable=True),
        sa.Column("lead_id", sa.BigInteger(), nullable=True),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("inbox_message_id", sa.BigInteger(), nullable=True),
        sa.Column("retry_of", sa.BigInteger(), nullable=True),
        sa.Column("first_of_lead", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("draft", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("resolved_by", sa.BigInteger(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("late_accept", sa.Boolean(), server_default="false", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("to_address", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("recipient_domain", sa.Text(), server_default="", nullable=False),
        sa.Column("recipient_provider", sa.Text(), server_default="", nullable=False),
        sa.Column("mime", sa.LargeBinary(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("rendered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("permitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("permit_product_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counters", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("reply_code", sa.Integer(), nullable=True),
        sa.Column("reply_enhanced", sa.Text(), nullable=True),
        sa.Column("reply_text", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status IN ('leased', 'committing')) = (leased_until IS NOT NULL)",
            name=op.f("ck_deliveries_lease_while_held"),
        ),
        sa.CheckConstraint(
            "kind IN ('campaign_step', 'warmup', 'reply', 'test', 'withdrawal', 'notice', 'digest', 'account')",
            name=op.f("ck_deliveries_kind"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'leased', 'committing', 'sent', 'delivered', 'bounced', 'complained', 'failed', 'uncertain', 'cancelled')",
            name=op.f("ck_deliveries_status"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('committing', 'sent') OR mime IS NOT NULL", name=op.f("ck_deliveries_bytes_before_permit")
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_deliveries_campaign_id")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_deliveries_client_id")),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_deliveries_conversation_id")),
        sa.ForeignKeyConstraint(["enrollment_id"], ["enrollments.id"], name=op.f("fk_deliveries_enrollment_id")),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.id"], name=op.f("fk_deliveries_lead_id")),
        sa.ForeignKeyConstraint(["resolved_by"], ["users.id"], name=op.f("fk_deliveries_resolved_by")),
        sa.ForeignKeyConstraint(["retry_of"], ["deliveries.id"], name=op.f("fk_deliveries_retry_of")),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_deliveries_sender_id")),
        sa.ForeignKeyConstraint(["step_id"], ["steps.id"], name=op.f("fk_deliveries_step_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_deliveries_idempotency_key")),
    )
    op.create_index(
        op.f("ix_deliveries_campaign_id_status_due_at"), "deliveries", ["campaign_id", "status", "due_at"], unique=False
    )
    op.create_index(op.f("ix_deliveries_client_id_email_key"), "deliveries", ["client_id", "email_key"], unique=False)
    op.create_index(
        op.f("ix_deliveries_client_id_status_due_at"), "deliveries", ["client_id", "status", "due_at"], unique=False
    )
    op.create_index(op.f("ix_deliveries_conversation_id"), "deliveries", ["conversation_id"], unique=False)
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["shard", "due_at"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(op.f("ix_deliveries_enrollment_id"), "deliveries", ["enrollment_id"], unique=False)
    op.create_index(
        "ix_deliveries_failed",
        "deliveries",
        ["client_id", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'failed'"),
    )
    op.create_index(
        "ix_deliveries_held_by_us",
        "deliveries",
        ["sender_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('leased', 'committing')"),
    )
    op.create_index(op.f("ix_deliveries_lead_id"), "deliveries", ["lead_id"], unique=False)
    op.create_index(
        "ix_deliveries_leases",
        "deliveries",
        ["leased_until"],
        unique=False,
        postgresql_where=sa.text("status IN ('leased', 'committing')"),
    )
    op.create_index(
        "ix_deliveries_message_id",
        "deliveries",
        ["message_id"],
        unique=False,
        postgresql_where=sa.text("message_id IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_uncertain",
        "deliveries",
        ["client_id", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'uncertain'"),
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("permitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_delivery_attempts_client_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", "epoch", name=op.f("pk_delivery_attempts")),
    )
    op.create_index(op.f("ix_delivery_attempts_client_id"), "delivery_attempts", ["client_id"], unique=False)
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("sender_id", sa.BigInteger(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="human", nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("author_id", sa.BigInteger(), nullable=True),
        sa.Column("from_name", sa.Text(), server_default="", nullable=False),
        sa.Column("from_address", sa.Text(), server_default="", nullable=False),
        sa.Column("from_key", sa.Text(), server_default="", nullable=False),
        sa.Column("to_line", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("cc_line", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("has_html", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("snippet", sa.Text(), server_default="", nullable=False),
        sa.Column("in_reply_to", sa.Text(), nullable=True),
        sa.Column("references", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("raw_sha256", sa.Text(), nullable=True),
        sa.Column("size", sa.Integer(), server_default="0", nullable=False),
        sa.Column("headers_only", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("folder_role", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("match_rule", sa.Text(), nullable=True),
        sa.Column("match_version", sa.Text(), nullable=True),
        sa.Column("match_candidates", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("verdict", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_messages_direction")),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_messages_author_id")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_messages_client_id")),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_messages_conversation_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_messages_delivery_id")),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_messages_sender_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "sender_id", "external_id", "direction", name=op.f("uq_messages_sender_id_external_id_direction")
        ),
    )
    op.create_index(
        op.f("ix_messages_client_id_conversation_id_received_at"),
        "messages",
        ["client_id", "conversation_id", "received_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_messages_conversation_id_received_at"), "messages", ["conversation_id", "received_at"], unique=False
    )
    op.create_index(op.f("ix_messages_delivery_id"), "messages", ["delivery_id"], unique=False)
    op.create_index(
        "ix_messages_headers_only", "messages", ["received_at"], unique=False, postgresql_where=sa.text("headers_only")
    )
    op.create_table(
        "attachments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content_id", sa.Text(), nullable=True),
        sa.Column("inline", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_attachments_client_id")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_attachments_message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
    )
    op.create_index(op.f("ix_attachments_client_id"), "attachments", ["client_id"], unique=False)
    op.create_index(op.f("ix_attachments_message_id"), "attachments", ["message_id"], unique=False)
    op.create_table(
        "known_message_ids",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("inbox_message_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "source IN ('ours', 'provider', 'inbound', 'outside')", name=op.f("ck_known_message_ids_source")
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_known_message_ids_client_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_known_message_ids_delivery_id")),
        sa.ForeignKeyConstraint(
            ["inbox_message_id"], ["messages.id"], name=op.f("fk_known_message_ids_inbox_message_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_known_message_ids")),
    )
    op.create_index(op.f("ix_known_message_ids_delivery_id"), "known_message_ids", ["delivery_id"], unique=False)
    op.create_index("uq_known_message_ids", "known_message_ids", ["client_id", "message_id", "source"], unique=True)
    build_walls()


PLAIN_TENANT = (
    "memberships",
    "mailboxes",
    "senders",
    "folder_states",
    "seen_uids",
    "lead_imports",
    "leads",
    "import_changes",
    "import_rejects",
    "campaigns",
    "steps",
    "campaign_senders",
    "enrollments",
    "deliveries",
    "delivery_attempts",
    "known_message_ids",
    "blobs",
    "conversations",
    "participants",
    "messages",
    "attachments",
    "suppressions",
)
APPEND_ONLY = ("activities",)


def build_walls() -> None:
    """Grants and row-level security of every table above."""
    for table in PLAIN_TENANT:
        wall(table, also_read=f"user_id = {USER}" if table == "memberships" else "")
    for table in APPEND_ONLY:
        wall(table, web=APPEND, jobs=APPEND)
    wall("clients", column="id")
    for table in ("switches", "settings"):
        wall(table, also="client_id IS NULL")
    wall("audit_entries", web=APPEND, jobs=APPEND, also="client_id IS NULL")
    for table in ("users", "user_sessions", "one_time_links", "login_throttle", "remembered_answers"):
        grant(table, web=ALL, jobs="SELECT, DELETE")
    grant("inbound_events", web="INSERT, SELECT (id, source, account, dedupe_key)", jobs=ALL)
    grant("global_suppressions", web="SELECT, INSERT, DELETE", jobs=APPEND)
    grant("usage_counters", web="SELECT", jobs=ALL)
    grant("shards", web="SELECT", jobs=ALL)
    grant("instance", web="SELECT, INSERT, UPDATE", jobs="SELECT, INSERT, UPDATE")
    grant("product_clock", web="SELECT", jobs="SELECT")
    for table in ("process_beats", "scheduled_runs"):
        grant(table, web="SELECT, INSERT, UPDATE", jobs=ALL)
    grant("alembic_version", web="SELECT", jobs="SELECT")
    grant("SEQUENCE clients_id_seq", web="USAGE", jobs="USAGE")
    op.execute(CLIENT_IDS_FUNCTION)
    op.execute("REVOKE ALL ON FUNCTION emberpost_client_ids(bigint) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION emberpost_client_ids(bigint) TO {WEB}, {JOBS}")
    op.execute(
        "INSERT INTO shards (kind, id) SELECT kind, n FROM unnest(ARRAY['dispatch', 'read']) kind, generate_series(0, 63) n"
    )


# Which clients a user may enter: an operator all, others by membership. The one SECURITY DEFINER function of this migration.
CLIENT_IDS_FUNCTION = """
CREATE FUNCTION emberpost_client_ids(the_user bigint) RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce(array_agg(c.id ORDER BY c.id), '{}') FROM clients c, users u
    WHERE u.id = the_user AND u.disabled_at IS NULL AND c.deleted_at IS NULL
      AND (u.is_operator OR EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = u.id AND m.client_id = c.id))
$$
"""


def downgrade() -> None:
    op.execute("DROP FUNCTION emberpost_client_ids(bigint)")
    op.drop_index("uq_known_message_ids", table_name="known_message_ids")
    op.drop_index(op.f("ix_known_message_ids_delivery_id"), table_name="known_message_ids")
    op.drop_table("known_message_ids")
    op.drop_index(op.f("ix_attachments_message_id"), table_name="attachments")
    op.drop_index(op.f("ix_attachments_client_id"), table_name="attachments")
    op.drop_table("attachments")
    op.drop_index("ix_messages_headers_only", table_name="messages", postgresql_where=sa.text("headers_only"))
    op.drop_index(op.f("ix_messages_delivery_id"), table_name="messages")
    op.drop_index(op.f("ix_messages_conversation_id_received_at"), table_name="messages")
    op.drop_index(op.f("ix_messages_client_id_conversation_id_received_at"), table_name="messages")
    op.drop_table("messages")
    op.drop_index(op.f("ix_delivery_attempts_client_id"), table_name="delivery_attempts")
    op.drop_table("delivery_attempts")
    op.drop_index("ix_deliveries_uncertain", table_name="deliveries", postgresql_where=sa.text("status = 'uncertain'"))
    op.drop_index(
        "ix_deliveries_message_id", table_name="deliveries", postgresql_where=sa.text("message_id IS NOT NULL")
    )
    op.drop_index(
        "ix_deliveries_leases", table_name="deliveries", postgresql_where=sa.text("status IN ('leased', 'committing')")
    )
    op.drop_index(op.f("ix_deliveries_lead_id"), table_name="deliveries")
    op.drop_index(
        "ix_deliveries_held_by_us",
        table_name="deliveries",
        postgresql_where=sa.text("status IN ('leased', 'committing')"),
    )
    op.drop_index("ix_deliveries_failed", table_name="deliveries", postgresql_where=sa.text("status = 'failed'"))
    op.drop_index(op.f("ix_deliveries_enrollment_id"), table_name="deliveries")
    op.drop_index("ix_deliveries_due", table_name="deliveries", postgresql_where=sa.text("status = 'queued'"))
    op.drop_index(op.f("ix_deliveries_conversation_id"), table_name="deliveries")
    op.drop_index(op.f("ix_deliveries_client_id_status_due_at"), table_name="deliveries")
    op.drop_index(op.f("ix_deliveries_client_id_email_key"), table_name="deliveries")
    op.drop_index(op.f("ix_deliveries_campaign_id_status_due_at"), table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index(op.f("ix_seen_uids_folder_state_id_identity"), table_name="seen_uids")
    op.drop_index(op.f("ix_seen_uids_client_id"), table_name="seen_uids")
    op.drop_table("seen_uids")
    op.drop_index(op.f("ix_participants_client_id_address_key"), table_name="participants")
    op.drop_table("participants")
    op.drop_index(op.f("ix_enrollments_sender_id"), table_name="enrollments")
    op.drop_index(
        "ix_enrollments_held",
        table_name="enrollments",
        postgresql_where=sa.text("status = 'held' AND held_until IS NOT NULL"),
    )
    op.drop_index("ix_enrollments_due", table_name="enrollments", postgresql_where=sa.text("status = 'waiting'"))
    op.drop_index(op.f("ix_enrollments_client_id_lead_id"), table_name="enrollments")
    op.drop_index(op.f("ix_enrollments_campaign_id_status"), table_name="enrollments")
    op.drop_table("enrollments")
    op.drop_index(op.f("ix_import_changes_lead_id"), table_name="import_changes")
    op.drop_index(op.f("ix_import_changes_client_id"), table_name="import_changes")
    op.drop_table("import_changes")
    op.drop_index(op.f("ix_folder_states_client_id"), table_name="folder_states")
    op.drop_table("folder_states")
    op.drop_index(
        "ix_conversations_unread", table_name="conversations", postgresql_where=sa.text("in_inbox AND unread > 0")
    )
    op.drop_index(
        "ix_conversations_snoozed", table_name="conversations", postgresql_where=sa.text("status = 'snoozed'")
    )
    op.drop_index("ix_conversations_list", table_name="conversations", postgresql_where=sa.text("in_inbox"))
    op.drop_index(op.f("ix_conversations_client_id_sender_id_subject_base"), table_name="conversations")
    op.drop_index(op.f("ix_conversations_client_id_lead_id"), table_name="conversations")
    op.drop_index("ix_conversations_assignee", table_name="conversations", postgresql_where=sa.text("in_inbox"))
    op.drop_table("conversations")
    op.drop_index(op.f("ix_steps_client_id"), table_name="steps")
    op.drop_index(op.f("ix_steps_campaign_id_parent_id_position"), table_name="steps")
    op.drop_table("steps")
    op.drop_index(op.f("ix_mailboxes_client_id"), table_name="mailboxes")
    op.drop_table("mailboxes")
    op.drop_index(op.f("ix_leads_source_import_id"), table_name="leads")
    op.drop_index("ix_leads_linkedin", table_name="leads", postgresql_where=sa.text("linkedin_slug IS NOT NULL"))
    op.drop_index(op.f("ix_leads_client_id_id"), table_name="leads")
    op.drop_table("leads")
    op.drop_index(op.f("ix_import_rejects_import_id_line"), table_name="import_rejects")
    op.drop_index(op.f("ix_import_rejects_client_id"), table_name="import_rejects")
    op.drop_table("import_rejects")
    op.drop_index(op.f("ix_campaign_senders_sender_id"), table_name="campaign_senders")
    op.drop_index(op.f("ix_campaign_senders_client_id"), table_name="campaign_senders")
    op.drop_table("campaign_senders")
    op.drop_index(op.f("ix_user_sessions_user_id"), table_name="user_sessions")
    op.drop_table("user_sessions")
    op.drop_index(op.f("ix_switches_client_id"), table_name="switches")
    op.drop_table("switches")
    op.drop_index(op.f("ix_suppressions_client_id_id"), table_name="suppressions")
    op.drop_table("suppressions")
    op.drop_index(op.f("ix_settings_client_id"), table_name="settings")
    op.drop_table("settings")
    op.drop_index("uq_senders_live_address", table_name="senders", postgresql_where="deleted_at IS NULL")
    op.drop_index(op.f("ix_senders_client_id_status"), table_name="senders")
    op.drop_table("senders")
    op.drop_index(op.f("ix_remembered_answers_created_at"), table_name="remembered_answers")
    op.drop_table("remembered_answers")
    op.drop_table("one_time_links")
    op.drop_index(op.f("ix_memberships_user_id"), table_name="memberships")
    op.drop_table("memberships")
    op.drop_index(op.f("ix_lead_imports_client_id_id"), table_name="lead_imports")
    op.drop_table("lead_imports")
    op.drop_table("global_suppressions")
    op.drop_index(op.f("ix_campaigns_client_id_status"), table_name="campaigns")
    op.drop_table("campaigns")
    op.drop_table("blobs")
    op.drop_index(op.f("ix_audit_entries_client_id_id"), table_name="audit_entries")
    op.drop_table("audit_entries")
    op.drop_index(op.f("ix_activities_client_id_lead_id_at"), table_name="activities")
    op.drop_index(op.f("ix_activities_client_id_at"), table_name="activities")
    op.drop_index(op.f("ix_activities_campaign_id_kind_at"), table_name="activities")
    op.drop_table("activities")
    op.drop_table("users")
    op.drop_index(op.f("ix_usage_counters_window_start"), table_name="usage_counters")
    op.drop_table("usage_counters")
    op.drop_table("shards")
    op.drop_table("scheduled_runs")
    op.drop_table("product_clock")
    op.drop_index(op.f("ix_process_beats_kind"), table_name="process_beats")
    op.drop_table("process_beats")
    op.drop_index(op.f("ix_login_throttle_last_failure_at"), table_name="login_throttle")
    op.drop_table("login_throttle")
    op.drop_table("instance")
    op.drop_index("ix_inbound_events_new", table_name="inbound_events", postgresql_where=sa.text("status = 'new'"))
    op.drop_table("inbound_events")
    op.drop_table("clients")

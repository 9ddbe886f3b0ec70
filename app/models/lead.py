"""Leads and how they came: imports with what they changed, so that an import can be undone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Created, Json, JsonList, Moment, Ref, one_of, tenant

IMPORT_STATES = ("uploaded", "running", "done", "failed", "undoing", "undone")


class LeadImport(Base):
    __tablename__ = "lead_imports"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    filename: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="uploaded", default="uploaded")
    dry_run: Mapped[bool] = mapped_column(server_default="false", default=False)
    blob_sha256: Mapped[str]
    columns: Mapped[JsonList]
    mapping: Mapped[Json]
    options: Mapped[Json]
    total_rows: Mapped[int | None]
    done_rows: Mapped[int] = mapped_column(server_default="0", default=0)
    created: Mapped[int] = mapped_column(server_default="0", default=0)
    updated: Mapped[int] = mapped_column(server_default="0", default=0)
    skipped: Mapped[int] = mapped_column(server_default="0", default=0)
    error: Mapped[str] = mapped_column(server_default="", default="")
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Created]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]
    undone_at: Mapped[Moment | None]
    __table_args__ = (
        Index(None, "client_id", "id"),
        one_of("status", IMPORT_STATES),
    )


class Lead(Base):
    __tablename__ = "leads"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    email: Mapped[str | None]
    email_key: Mapped[str | None]
    first_name: Mapped[str] = mapped_column(server_default="", default="")
    last_name: Mapped[str] = mapped_column(server_default="", default="")
    company: Mapped[str] = mapped_column(server_default="", default="")
    title: Mapped[str] = mapped_column(server_default="", default="")
    linkedin_url: Mapped[str | None]
    linkedin_slug: Mapped[str | None]
    linkedin_provider_id: Mapped[str | None]
    timezone: Mapped[str | None]
    language: Mapped[str | None]
    custom: Mapped[Json]
    verification_status: Mapped[str] = mapped_column(server_default="unknown", default="unknown")
    consent_note: Mapped[str] = mapped_column(server_default="", default="")
    source_import_id: Mapped[Ref | None] = mapped_column(ForeignKey("lead_imports.id"), index=True)
    contacted_at: Mapped[Moment | None]  # first time something left for this lead
    bounced_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    __table_args__ = (
        UniqueConstraint("client_id", "email_key"),
        Index(None, "client_id", "id"),
        Index("ix_leads_domain", "client_id", text("split_part(email_key, '@', 2)")),  # a colleague answers
        Index("ix_leads_linkedin", "client_id", "linkedin_slug", postgresql_where=text("linkedin_slug IS NOT NULL")),
    )


class ImportChange(Base):
    """What one import did to one lead; ``before`` NULL means it created it."""

    __tablename__ = "import_changes"
    import_id: Mapped[Ref] = mapped_column(ForeignKey("lead_imports.id"), primary_key=True)
    lead_id: Mapped[Ref] = mapped_column(ForeignKey("leads.id", ondelete="CASCADE"), primary_key=True)
    client_id: Mapped[int] = tenant()
    line: Mapped[int]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    __table_args__ = (Index(None, "client_id"), Index(None, "lead_id"))


class ImportReject(Base):
    """A row that was not taken, with its line in the file and the reason; downloadable."""

    __tablename__ = "import_rejects"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    import_id: Mapped[Ref] = mapped_column(ForeignKey("lead_imports.id"))
    line: Mapped[int]
    reason: Mapped[str]
    raw: Mapped[JsonList]
    __table_args__ = (Index(None, "client_id"), Index(None, "import_id", "line"))

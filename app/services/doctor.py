"""Is this installation fit to send? Every check with its state and its exact fix; red ones keep the senders from starting.

The same rows are printed by ``flask doctor`` and drawn by the page. Checks are named; each returns one finding and never raises.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import redis
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core import clock
from app.core.bell import bell
from app.core.config import SAMPLE_SECRETS, Settings, greeting_name
from app.core.crypto import CannotOpen, Vault, vault
from app.core.db import database_role, rollback
from app.core.extensions import db
from app.core.witness import Witness
from app.services import schedule_state
from app.services.outbox.plain import plain_connection
from app.services.recovery import continuity
from app.strings import t

LOWEST_POSTGRESQL = 15
PROCESS_SILENT_AFTER = timedelta(seconds=20)
LOWEST_FREE_BYTES = 200 * 1024 * 1024


class State(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    RED = "red"


@dataclass(frozen=True)
class Finding:
    """``name`` of the check, what was found, and what to do when it is not good."""

    name: str
    state: State
    found: str
    fix: str = ""


def good(name: str, found: str) -> Finding:
    return Finding(name, State.GOOD, found)


def red(name: str, found: str, fix: str) -> Finding:
    return Finding(name, State.RED, found, fix)


def warning(name: str, found: str, fix: str) -> Finding:
    return Finding(name, State.WARNING, found, fix)


def _value(statement: str) -> str:
    return str(db.session.execute(text(statement)).scalar())


def check_database(_settings: Settings) -> Finding:
    try:
        version = int(_value("SHOW server_version_num")) // 10000
    except SQLAlchemyError as error:
        rollback()
        return red("database", t("doctor.no_postgresql", error=type(error).__name__), t("doctor.no_postgresql_fix"))
    if version < LOWEST_POSTGRESQL:
        return red("database", t("doctor.old_postgresql", version=version), t("doctor.old_postgresql_fix", lowest=LOWEST_POSTGRESQL))
    return good("database", t("doctor.postgresql", version=version))


def check_durability(_settings: Settings) -> Finding:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if _value(f"SHOW {name}") == "off"]
    if off:
        fix = t("doctor.not_durable_fix", names=", ".join(off))
        return red("durability", t("doctor.not_durable", names=", ".join(off)), fix)
    return good("durability", t("doctor.durable"))


def check_role(_settings: Settings) -> Finding:
    role = _value("SELECT current_user")
    bypass = _value("SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = current_user") == "True"
    if role != database_role() or bypass:
        return red("role", t("doctor.wrong_role", role=role), t("doctor.wrong_role_fix"))
    return good("role", t("doctor.role", role=role))


def check_migrations(_settings: Settings) -> Finding:
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(str(Path(__file__).resolve().parents[2] / "migrations")).get_current_head()
    now = _value("SELECT version_num FROM alembic_version")
    if now != head:
        return red("migrations", t("doctor.not_migrated", now=now, head=head), t("doctor.not_migrated_fix"))
    return good("migrations", t("doctor.migrated", head=head))


def check_redis(_settings: Settings) -> Finding:
    try:
        bell().connection.ping()
    except redis.RedisError as error:
        fix = t("doctor.no_redis_fix")
        return warning("redis", t("doctor.no_redis", error=type(error).__name__), fix)
    return good("redis", t("doctor.redis"))


def check_secret(settings: Settings) -> Finding:
    if settings.secret_key in SAMPLE_SECRETS or len(set(settings.secret_key)) < 8:
        return red("secret", t("doctor.sample_secret"), t("doctor.sample_secret_fix"))
    return good("secret", t("doctor.own_secret"))


def check_stored_secrets(_settings: Settings) -> Finding:
    rows = db.session.execute(text("SELECT id, smtp_secret FROM mailboxes WHERE smtp_secret IS NOT NULL ORDER BY id DESC LIMIT 20")).all()
    old = 0
    for row in rows:
        try:
            vault().open(row.smtp_secret, f"mailboxes.smtp_secret:{row.id}")
        except CannotOpen:
            fix = t("doctor.cannot_open_fix")
            return red("stored passwords", t("doctor.cannot_open", id=row.id), fix)
        old += Vault.key_id(row.smtp_secret) != vault().current_id
    if old:
        return warning("stored passwords", t("doctor.older_key", old=old, n=len(rows)), t("doctor.older_key_fix"))
    return good("stored passwords", t("doctor.current_key"))


def check_mode(settings: Settings) -> Finding:
    stored = db.session.execute(text("SELECT mode FROM instance")).scalar()
    if stored is not None and stored != settings.mode:
        fix = t("doctor.started_as_fix", stored=stored)
        return red("mode", t("doctor.started_as", stored=stored, mode=settings.mode), fix)
    return good("mode", settings.mode)


def check_clock(_settings: Settings) -> Finding:
    theirs = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
    apart = abs((theirs - datetime.now(UTC)).total_seconds())
    if apart > 5:
        return red("clock", t("doctor.clocks_apart", seconds=apart), t("doctor.clocks_apart_fix"))
    return good("clock", t("doctor.clocks_agree"))


def check_ehlo(settings: Settings) -> Finding:
    name = greeting_name(settings)
    if "." not in name or name.startswith(("localhost", "[")):
        fix = t("doctor.greeting_fix")
        return warning("greeting name", t("doctor.greeting", name=name), fix)
    return good("greeting name", name)


def check_public_url(settings: Settings) -> Finding:
    if not settings.public_url:
        fix = t("doctor.no_public_url_fix")
        return warning("way out", t("doctor.no_public_url"), fix)
    if not settings.public_url.startswith("https://") and not settings.rehearsal:
        return warning("way out", t("doctor.not_https", url=settings.public_url), t("doctor.not_https_fix"))
    return good("way out", settings.public_url)


def check_disk(settings: Settings) -> Finding:
    folder = Path(settings.data_dir)
    free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
    if free < LOWEST_FREE_BYTES:
        return red("disk", t("doctor.disk_full", mb=free // 2**20), t("doctor.disk_full_fix"))
    return good("disk", t("doctor.disk", gb=free / 2**30))


def check_assets(_settings: Settings) -> Finding:
    vendor = Path(__file__).resolve().parents[1] / "static" / "vendor"
    if not any(vendor.glob("**/htmx*.js")):
        return red("page files", t("doctor.no_assets"), t("doctor.no_assets_fix"))
    return good("page files", t("doctor.assets"))


def _beats() -> dict[str, datetime]:
    rows = db.session.execute(text("SELECT kind, max(seen_at) AS seen_at FROM process_beats GROUP BY kind"))
    return {row.kind: row.seen_at for row in rows}


def check_process(kind: str, needed: State) -> Callable[[Settings], Finding]:
    """A check that a process of ``kind`` was heard of lately."""

    def check(_settings: Settings) -> Finding:
        seen = _beats().get(kind)
        now = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
        if seen is None or now - seen > PROCESS_SILENT_AFTER:
            silent = t("doctor.process_silent", kind=kind, seconds=int((now - seen).total_seconds())) if seen else t("doctor.process_never", kind=kind)
            return Finding(f"process {kind}", needed, silent, t("doctor.process_fix", kind=kind))
        return good(f"process {kind}", t("doctor.process"))

    return check


def check_uncertain(_settings: Settings) -> Finding:
    count = int(_value("SELECT count(*) FROM deliveries WHERE shelf = 'uncertain'"))
    if count:
        return warning("not sure", t("doctor.uncertain", count=count), t("doctor.uncertain_fix"))
    return good("not sure", t("doctor.none_uncertain"))


def check_continuity(settings: Settings) -> Finding:
    found = continuity.problem(plain_connection(), Witness(settings.data_dir).highest)
    if found is not None:
        return red("continuity", found.why, found.fix)
    return good("continuity", t("doctor.same_database"))


def check_equation(_settings: Settings) -> Finding:
    """What the hourly look at the ledger found last."""
    kept = continuity.facts(plain_connection()).get("equation")
    if not kept:
        return good("ledger equation", t("doctor.equation_to_come"))
    if kept["faults"]:
        what = "; ".join(f"{fault}: {', '.join(map(str, ids[:10]))}" for fault, ids in kept["faults"].items())
        return red("ledger equation", f"{what}.", t("doctor.equation_fix"))
    return good("ledger equation", t("doctor.equation", planned=kept["planned"]))


def check_schedule(_settings: Settings) -> Finding:
    state = schedule_state.state()
    if state.paused:
        by = t("doctor.schedule_by", name=state.paused_by) if state.paused_by else ""
        since = t("doctor.schedule_since", at=state.paused_at) if state.paused_at else ""
        return warning("schedule", t("doctor.schedule_paused", since=since, by=by), t("doctor.schedule_fix"))
    return good("schedule", t("doctor.schedule"))


def check_mailboxes(_settings: Settings) -> Finding:
    count = int(_value("SELECT count(*) FROM senders WHERE status = 'auth_failed' AND deleted_at IS NULL"))
    if count:
        return warning("mailboxes", t("doctor.mailboxes_out", count=count), t("doctor.mailboxes_out_fix"))
    return good("mailboxes", t("doctor.mailboxes"))


def check_postal(_settings: Settings) -> Finding:
    """A launch demands the address and it cannot be emptied meanwhile: only campaigns of an earlier version can be without."""
    names = db.session.scalars(text(
        "SELECT DISTINCT c.name FROM clients c JOIN campaigns k ON k.client_id = c.id"
        " WHERE k.status IN ('running', 'paused') AND k.deleted_at IS NULL AND btrim(c.postal_address) = '' ORDER BY c.name"
    )).all()  # fmt: skip
    if names:
        return warning("postal address", t("doctor.no_postal", names=", ".join(names[:5])), t("doctor.no_postal_fix"))
    return good("postal address", t("doctor.postal"))


def check_outgoing(_settings: Settings) -> Finding:
    count = int(_value("SELECT count(*) FROM outgoing_endpoints WHERE state = 'broken'"))
    if count:
        fix = t("doctor.endpoints_off_fix")
        return warning("webhook endpoints", t("doctor.endpoints_off", count=count), fix)
    return good("webhook endpoints", t("doctor.endpoints"))


def check_product_clock(settings: Settings) -> Finding:
    if not settings.rehearsal:
        return good("product time", t("doctor.real_time"))
    return good("product time", t("doctor.rehearsal_time", factor=clock.factor()))


Check = Callable[[Settings], Finding]

BEFORE_SENDING: tuple[Check, ...] = (
    check_database, check_role, check_migrations, check_mode, check_secret, check_durability, check_stored_secrets, check_clock, check_disk,
    check_continuity,
)  # fmt: skip
ALL: tuple[Check, ...] = (
    *BEFORE_SENDING,
    check_redis, check_product_clock, check_ehlo, check_public_url, check_assets,
    check_process("scheduler", State.RED), check_process("dispatch", State.WARNING), check_process("read", State.WARNING),
    check_process("work-receive", State.WARNING), check_process("work-bulk", State.WARNING),
    check_mailboxes, check_uncertain, check_equation, check_schedule, check_postal, check_outgoing,
)  # fmt: skip


def examine(settings: Settings, checks: Iterable[Check] = ALL) -> list[Finding]:
    """Run the checks in order; when the database is away, say only that. Call as the jobs role, inside an app context."""
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.append(check(settings))
        except SQLAlchemyError as error:
            rollback()
            name = getattr(check, "__name__", "check").removeprefix("check_")
            findings.append(red(name, t("doctor.not_checked", error=type(error).__name__), t("doctor.not_checked_fix")))
        if findings[-1].name == "database" and findings[-1].state is State.RED:
            break
    return findings


def reds(settings: Settings, *, with_scheduler: bool = True) -> list[Finding]:
    """What keeps a sender from starting."""
    checks = (*BEFORE_SENDING, check_process("scheduler", State.RED)) if with_scheduler else BEFORE_SENDING
    return [finding for finding in examine(settings, checks) if finding.state is State.RED]

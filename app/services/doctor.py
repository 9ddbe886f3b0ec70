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
        return red("database", f"PostgreSQL does not answer ({type(error).__name__}).", "Start it, or correct DATABASE_URL.")
    if version < LOWEST_POSTGRESQL:
        return red("database", f"PostgreSQL {version}.", f"Use PostgreSQL {LOWEST_POSTGRESQL} or newer.")
    return good("database", f"PostgreSQL {version}")


def check_durability(_settings: Settings) -> Finding:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if _value(f"SHOW {name}") == "off"]
    if off:
        fix = f"Set {', '.join(off)} to on in postgresql.conf and reload: without it a power cut may send a message twice."
        return red("durability", f"{', '.join(off)} is off.", fix)
    return good("durability", "fsync, full_page_writes and synchronous_commit are on")


def check_role(_settings: Settings) -> Finding:
    role = _value("SELECT current_user")
    bypass = _value("SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = current_user") == "True"
    if role != database_role() or bypass:
        return red("role", f"This process works as {role}.", "Run `flask db upgrade`; it makes the roles, or prints the statements to run.")
    return good("role", f"works as {role}, behind row-level security")


def check_migrations(_settings: Settings) -> Finding:
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(str(Path(__file__).resolve().parents[2] / "migrations")).get_current_head()
    now = _value("SELECT version_num FROM alembic_version")
    if now != head:
        return red("migrations", f"The database is at {now}, the code at {head}.", "Run `flask db upgrade`.")
    return good("migrations", f"at {head}")


def check_redis(_settings: Settings) -> Finding:
    try:
        bell().connection.ping()
    except redis.RedisError as error:
        fix = "Start it, or correct REDIS_URL. Until then everything works, a few seconds late."
        return warning("redis", f"Redis does not answer ({type(error).__name__}).", fix)
    return good("redis", "answers")


def check_secret(settings: Settings) -> Finding:
    if settings.secret_key in SAMPLE_SECRETS or len(set(settings.secret_key)) < 8:
        return red("secret", "EMBERPOST_SECRET_KEY is a sample.", "Write `openssl rand -hex 32` into it.")
    return good("secret", "EMBERPOST_SECRET_KEY is your own")


def check_stored_secrets(_settings: Settings) -> Finding:
    rows = db.session.execute(text("SELECT id, smtp_secret FROM mailboxes WHERE smtp_secret IS NOT NULL ORDER BY id DESC LIMIT 20")).all()
    old = 0
    for row in rows:
        try:
            vault().open(row.smtp_secret, f"mailboxes.smtp_secret:{row.id}")
        except CannotOpen:
            fix = "Put the key they were sealed with back into EMBERPOST_ENCRYPTION_KEYS (behind the new one)."
            return red("stored passwords", f"The password of mailbox {row.id} does not open.", fix)
        old += Vault.key_id(row.smtp_secret) != vault().current_id
    if old:
        return warning("stored passwords", f"{old} of the last {len(rows)} use an older key.", "Run `flask keys rotate`.")
    return good("stored passwords", "open with the current key")


def check_mode(settings: Settings) -> Finding:
    stored = db.session.execute(text("SELECT mode FROM instance")).scalar()
    if stored is not None and stored != settings.mode:
        fix = f"Set EMBERPOST_MODE={stored}, or start a new instance with its own database."
        return red("mode", f"This is a {stored} instance, started as {settings.mode}.", fix)
    return good("mode", settings.mode)


def check_clock(_settings: Settings) -> Finding:
    theirs = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
    apart = abs((theirs - datetime.now(UTC)).total_seconds())
    if apart > 5:
        return red("clock", f"This machine and PostgreSQL are {apart:.0f} s apart.", "Run a time service (chrony, systemd-timesyncd) on both.")
    return good("clock", "agrees with PostgreSQL's")


def check_ehlo(settings: Settings) -> Finding:
    name = greeting_name(settings)
    if "." not in name or name.startswith(("localhost", "[")):
        fix = "Set EMBERPOST_EHLO_NAME to a name that points to this machine: some servers refuse others."
        return warning("greeting name", f"We greet mail servers as {name!r}.", fix)
    return good("greeting name", name)


def check_public_url(settings: Settings) -> Finding:
    if not settings.public_url:
        fix = "Set EMBERPOST_PUBLIC_URL to the https address of this installation: then a click is enough to leave."
        return warning("way out", "Leads can leave by mail and by answering only.", fix)
    if not settings.public_url.startswith("https://") and not settings.rehearsal:
        return warning("way out", f"{settings.public_url} is not https.", "Put a TLS reverse proxy in front.")
    return good("way out", settings.public_url)


def check_disk(settings: Settings) -> Finding:
    folder = Path(settings.data_dir)
    free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
    if free < LOWEST_FREE_BYTES:
        return red("disk", f"{free // 2**20} MB are free.", "Make room: PostgreSQL stops when the disk is full.")
    return good("disk", f"{free / 2**30:.1f} GB free")


def check_assets(_settings: Settings) -> Finding:
    vendor = Path(__file__).resolve().parents[1] / "static" / "vendor"
    if not any(vendor.glob("**/htmx*.js")):
        return red("page files", "The pages' style and scripts are not installed.", "Run bin/run once, or `npm ci` and `python -m launch.assets`.")
    return good("page files", "installed")


def _beats() -> dict[str, datetime]:
    rows = db.session.execute(text("SELECT kind, max(seen_at) AS seen_at FROM process_beats GROUP BY kind"))
    return {row.kind: row.seen_at for row in rows}


def check_process(kind: str, needed: State) -> Callable[[Settings], Finding]:
    """A check that a process of ``kind`` was heard of lately."""

    def check(_settings: Settings) -> Finding:
        seen = _beats().get(kind)
        now = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
        if seen is None or now - seen > PROCESS_SILENT_AFTER:
            when = "was never heard of" if seen is None else f"was last heard of {int((now - seen).total_seconds())} s ago"
            return Finding(f"process {kind}", needed, f"{kind} {when}.", f"Start the Procfile's process {kind}.")
        return good(f"process {kind}", "runs")

    return check


def check_uncertain(_settings: Settings) -> Finding:
    count = int(_value("SELECT count(*) FROM deliveries WHERE status = 'uncertain'"))
    if count:
        return warning("not sure", f"{count} messages may or may not have arrived.", "Decide on the page «Not sure».")
    return good("not sure", "none")


def check_continuity(settings: Settings) -> Finding:
    found = continuity.problem(plain_connection(), Witness(settings.data_dir).highest)
    if found is not None:
        return red("continuity", found.why, found.fix)
    return good("continuity", "this is the database that sent last")


def check_equation(_settings: Settings) -> Finding:
    """What the hourly look at the ledger found last."""
    kept = continuity.facts(plain_connection()).get("equation")
    if not kept:
        return good("ledger equation", "is looked at every hour")
    if kept["faults"]:
        what = "; ".join(f"{fault}: {', '.join(map(str, ids[:10]))}" for fault, ids in kept["faults"].items())
        return red("ledger equation", f"{what}.", "Run `flask audit no-doubles`, keep its output and the log, and report it.")
    return good("ledger equation", f"{kept['planned']} planned messages are the sum of all states")


def check_schedule(_settings: Settings) -> Finding:
    state = schedule_state.state()
    if state.paused:
        by = f" by {state.paused_by}" if state.paused_by else ""
        since = f" since {state.paused_at:%Y-%m-%d %H:%M} UTC" if state.paused_at else ""
        return warning("schedule", f"It is paused{since}{by}: no campaign makes its next message.", "Start it on the page Operations.")
    return good("schedule", "is not paused")


def check_mailboxes(_settings: Settings) -> Finding:
    count = int(_value("SELECT count(*) FROM senders WHERE status = 'auth_failed' AND deleted_at IS NULL"))
    if count:
        return warning("mailboxes", f"{count} cannot log in.", "Correct their passwords on the page Mailboxes.")
    return good("mailboxes", "all can log in")


def check_postal(_settings: Settings) -> Finding:
    """A launch demands the address and it cannot be emptied meanwhile: only campaigns of an earlier version can be without."""
    names = db.session.scalars(text(
        "SELECT DISTINCT c.name FROM clients c JOIN campaigns k ON k.client_id = c.id"
        " WHERE k.status IN ('running', 'paused') AND k.deleted_at IS NULL AND btrim(c.postal_address) = '' ORDER BY c.name"
    )).all()  # fmt: skip
    if names:
        return warning("postal address", f"Campaigns are under way without one: {', '.join(names[:5])}.", "Write it on the client's Settings page.")
    return good("postal address", "stands in every campaign message")


def check_outgoing(_settings: Settings) -> Finding:
    count = int(_value("SELECT count(*) FROM outgoing_endpoints WHERE state = 'broken'"))
    if count:
        fix = "Settings, Webhooks of their client say which. Mend the receiver, switch the endpoint on, and redeliver."
        return warning("webhook endpoints", f"{count} failed for days or said they are gone, and are switched off.", fix)
    return good("webhook endpoints", "none was switched off for failing")


def check_product_clock(settings: Settings) -> Finding:
    if not settings.rehearsal:
        return good("product time", "is real time")
    return good("product time", f"rehearsal, {clock.factor():g} times as fast")


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
            findings.append(red(name, f"could not be checked ({type(error).__name__}).", "See the log; is the database migrated?"))
        if findings[-1].name == "database" and findings[-1].state is State.RED:
            break
    return findings


def reds(settings: Settings, *, with_scheduler: bool = True) -> list[Finding]:
    """What keeps a sender from starting."""
    checks = (*BEFORE_SENDING, check_process("scheduler", State.RED)) if with_scheduler else BEFORE_SENDING
    return [finding for finding in examine(settings, checks) if finding.state is State.RED]

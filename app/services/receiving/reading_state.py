"""How far each mailbox and folder is read, and which reading process looks after which mailboxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.crypto import vault
from app.core.db import lock_hot
from app.core.extensions import db

SHARDS = 64
OLDER = "older"  # identity of a UID that was passed over because it was there before connecting
UNSHOWN = "unshown"  # the server lists it and would not show it
DRAFT = "draft"  # somebody is still writing it
#: Not the last word about a UID: the full check asks for the first two again, and each gives way to what it turns out to be.
ASKED_AGAIN = (UNSHOWN, DRAFT)
NOT_FINAL = (*ASKED_AGAIN, OLDER)
FULL_CHECK_H = 24  # machine hours between two full checks of a folder
LEASE_S = 15


@dataclass(frozen=True)
class Box:
    """A mailbox to read. Two are equal when nothing about reaching them changed."""

    id: int
    client_id: int
    address: str
    host: str
    port: int
    security: str
    user: str
    provider: str
    secret: str | None = field(repr=False)
    read_since: datetime | None = field(compare=False, default=None)
    older_since: datetime | None = None
    sent_folder: str = ""  # chosen by a person; "": found by itself
    junk_folder: str = ""

    def password(self) -> str:
        """Opened only where a connection is made. Raises CannotOpen."""
        return vault().open(self.secret or "", f"mailboxes.imap_secret:{self.id}")


@dataclass(frozen=True)
class Folder:
    """Cursor of a folder: everything up to ``last_uid`` under this ``uidvalidity`` (0: never read) is recorded or passed over."""

    id: int
    uidvalidity: int
    last_uid: int
    older_since: datetime | None = None  # older mail was read back to here
    check_due: bool = False  # the last full check is a day old, or never was


def renew_shards(owner: str) -> list[int]:
    """Keep our share of the 64 shards for LEASE_S seconds, take free ones up to it, give away what is over it."""
    db.session.execute(
        text("INSERT INTO shards (kind, id) SELECT 'read', g FROM generate_series(0, :last) AS g ON CONFLICT DO NOTHING"),
        {"last": SHARDS - 1},
    )
    share = db.session.execute(
        text(
            "SELECT ceil(:all / greatest(1, count(*) + CASE WHEN bool_or(name = :me) THEN 0 ELSE 1 END)::numeric)::int FROM process_beats"
            " WHERE kind = 'read' AND seen_at > clock_timestamp() - interval '15 seconds'"
        ),
        {"all": SHARDS, "me": owner},
    ).scalar_one()
    rows = db.session.execute(
        text(
            "WITH mine AS (SELECT id, owner IS NOT DISTINCT FROM :me AND leased_until > clock_timestamp() AS held FROM shards"
            " WHERE kind = 'read' AND (owner IS NULL OR owner = :me OR leased_until IS NULL OR leased_until <= clock_timestamp())"
            " ORDER BY held DESC, id LIMIT :share FOR UPDATE SKIP LOCKED)"
            " UPDATE shards s SET epoch = s.epoch + CASE WHEN mine.held THEN 0 ELSE 1 END, owner = :me,"
            " leased_until = clock_timestamp() + make_interval(secs => :lease) FROM mine WHERE s.kind = 'read' AND s.id = mine.id"
            " RETURNING s.id"
        ),
        {"me": owner, "share": share, "lease": LEASE_S},
    )
    kept = sorted(rows.scalars())
    db.session.execute(
        text("UPDATE shards SET owner = NULL, leased_until = NULL WHERE kind = 'read' AND owner = :me AND NOT (id = ANY(:kept))"),
        {"me": owner, "kept": kept},
    )
    return kept


def readers() -> list[str]:
    """Every reading process that holds shards or was heard of."""
    rows = db.session.execute(
        text(
            "SELECT owner FROM shards WHERE kind = 'read' AND owner IS NOT NULL UNION SELECT name FROM process_beats WHERE kind = 'read'"
        )
    )
    return list(rows.scalars())


def bury(reader: str) -> None:
    """A reading process is known to be dead: its shards are free and it counts no more."""
    release_shards(reader)
    db.session.execute(text("DELETE FROM process_beats WHERE name = :name AND kind = 'read'"), {"name": reader})


def release_shards(owner: str) -> None:
    db.session.execute(
        text("UPDATE shards SET owner = NULL, leased_until = NULL WHERE kind = 'read' AND owner = :me"), {"me": owner}
    )


def readable(shards: Sequence[int]) -> list[Box]:
    """The mailboxes of these shards that are to be read: connected ones, also while sending from them is paused."""
    rows = db.session.execute(
        text(
            "SELECT m.id, m.client_id, s.address, m.imap_host AS host, m.imap_port AS port, m.imap_security AS security,"
            " m.imap_user AS user, m.provider, m.imap_secret AS secret, m.read_since, m.older_since,"
            " m.sent_folder, m.junk_folder FROM mailboxes m JOIN senders s ON s.id = m.id"
            " JOIN clients c ON c.id = m.client_id AND c.deleted_at IS NULL WHERE s.deleted_at IS NULL"
            " AND s.status IN ('active', 'paused') AND m.imap_secret IS NOT NULL AND mod(m.id, :all) = ANY(:shards) ORDER BY m.id"
        ),
        {"all": SHARDS, "shards": list(shards)},
    )
    return [Box(**row._mapping) for row in rows]


def begin(mailbox_id: int, now: datetime) -> datetime:
    """The moment of connecting, from which on we read; set now when connecting did not set it."""
    found: datetime = db.session.execute(
        text("UPDATE mailboxes SET read_since = coalesce(read_since, :now) WHERE id = :id RETURNING read_since"),
        {"id": mailbox_id, "now": now},
    ).scalar_one()
    return found


def folder(box: Box, name: str, role: str) -> Folder:
    row = db.session.execute(
        text(
            "INSERT INTO folder_states (client_id, mailbox_id, folder, role) VALUES (:client, :mailbox, :name, :role)"
            " ON CONFLICT (mailbox_id, folder) DO UPDATE SET role = excluded.role RETURNING id, uidvalidity, last_uid, older_since,"
            " full_check_at IS NULL OR full_check_at < clock_timestamp() - make_interval(hours => :hours) AS check_due"
        ),
        {"client": box.client_id, "mailbox": box.id, "name": name, "role": role, "hours": FULL_CHECK_H},
    ).one()
    return Folder(row.id, row.uidvalidity, row.last_uid, row.older_since, row.check_due)


def start_numbering(folder_id: int, uidvalidity: int, last_uid: int) -> None:
    """A folder is looked at for the first time, or was renumbered: what is at or below ``last_uid`` is not ours to read."""
    db.session.execute(text("DELETE FROM seen_uids WHERE folder_state_id = :id"), {"id": folder_id})
    db.session.execute(
        text(
            "UPDATE folder_states SET uidvalidity = :validity, last_uid = :last, checked_at = clock_timestamp(), full_check_at = NULL"
            " WHERE id = :id"
        ),
        {"id": folder_id, "validity": uidvalidity, "last": last_uid},
    )


def passed(box: Box, folder_id: int, uidvalidity: int, uid: int, identity: str) -> None:
    """Move the cursor over one UID; in the same transaction as its message, its quarantine or the proof that it is gone."""
    values = {"id": folder_id, "validity": uidvalidity, "uid": uid, "identity": identity, "client": box.client_id}
    db.session.execute(
        text(
            "INSERT INTO seen_uids AS s (folder_state_id, uidvalidity, uid, client_id, identity)"
            " VALUES (:id, :validity, :uid, :client, :identity) ON CONFLICT (folder_state_id, uidvalidity, uid)"
            " DO UPDATE SET identity = excluded.identity WHERE s.identity = ANY(:passing)"
        ),
        values | {"passing": list(NOT_FINAL)},
    )
    db.session.execute(
        text("UPDATE folder_states SET last_uid = greatest(last_uid, :uid) WHERE id = :id AND uidvalidity = :validity"), values
    )


def passed_older(box: Box, folder_id: int, uidvalidity: int, uids: Sequence[int]) -> None:
    """UIDs at or below the cursor that were there before connecting: the next check need not ask for them again."""
    db.session.execute(
        text(
            "INSERT INTO seen_uids (folder_state_id, uidvalidity, uid, client_id, identity)"
            " SELECT :id, :validity, uid, :client, :identity FROM unnest(cast(:uids AS bigint[])) AS uid ON CONFLICT DO NOTHING"
        ),
        {"id": folder_id, "validity": uidvalidity, "uids": list(uids), "client": box.client_id, "identity": OLDER},
    )


def piece_start(folder_id: int, uidvalidity: int, upto: int, size: int) -> int:
    """The first UID of the piece of a folder that ends at ``upto`` and holds ``size`` UIDs known to us; 1: the last piece."""
    row: int | None = db.session.execute(
        text(
            "SELECT uid FROM seen_uids WHERE folder_state_id = :id AND uidvalidity = :validity AND uid <= :upto"
            " ORDER BY uid DESC OFFSET :size - 1 LIMIT 1"
        ),
        {"id": folder_id, "validity": uidvalidity, "upto": upto, "size": size},
    ).scalar()
    return row or 1


def known_uids(folder_id: int, uidvalidity: int, first: int, last: int) -> dict[int, bool]:
    """The UIDs from ``first`` to ``last`` that were passed, and whether the full check is to ask for each of them again."""
    rows = db.session.execute(
        text(
            "SELECT uid, identity = ANY(:again) FROM seen_uids WHERE folder_state_id = :id AND uidvalidity = :validity"
            " AND uid BETWEEN :first AND :last"
        ),
        {"id": folder_id, "validity": uidvalidity, "first": first, "last": last, "again": list(ASKED_AGAIN)},
    )
    return {row[0]: row[1] for row in rows}


def unshown(folder_id: int, uidvalidity: int) -> list[int]:
    """UIDs that are listed and were not shown, the newest hundred, ascending."""
    rows = db.session.execute(
        text(
            "SELECT uid FROM seen_uids WHERE folder_state_id = :id AND uidvalidity = :validity AND identity = :unshown"
            " ORDER BY uid DESC LIMIT 100"
        ),
        {"id": folder_id, "validity": uidvalidity, "unshown": UNSHOWN},
    )
    return sorted(rows.scalars())


def fully_checked(folder_id: int) -> None:
    """Every UID of the folder, back to where we read, was set against what is known."""
    db.session.execute(text("UPDATE folder_states SET full_check_at = clock_timestamp() WHERE id = :id"), {"id": folder_id})


def recorded_uids(folder_id: int, uidvalidity: int) -> set[int]:
    """All that was recorded, kept or found gone; what was only passed over as too old is not among them."""
    rows = db.session.execute(
        text("SELECT uid FROM seen_uids WHERE folder_state_id = :id AND uidvalidity = :validity AND NOT identity = ANY(:open)"),
        {"id": folder_id, "validity": uidvalidity, "open": list(NOT_FINAL)},
    )
    return set(rows.scalars())


def older_read(box: Box, folder_id: int, since: datetime) -> None:
    """A folder was read back to ``since``."""
    db.session.execute(text("UPDATE folder_states SET older_since = :since WHERE id = :id"), {"since": since, "id": folder_id})
    live_after_commit(box.client_id, f"mailbox-{box.id}")


def seen_identities(mailbox_id: int, identities: Sequence[str]) -> set[str]:
    """Which of these were recorded from any folder of the mailbox."""
    rows = db.session.execute(
        text(
            "SELECT s.identity FROM folder_states f JOIN seen_uids s ON s.folder_state_id = f.id"
            " WHERE f.mailbox_id = :id AND s.identity = ANY(:identities)"
        ),
        {"id": mailbox_id, "identities": list(identities)},
    )
    return set(rows.scalars())


def only_everything(box: Box, name: str) -> None:
    """From now on the folder of everything stands for the inbox and Sent: how far those were read is of no use any more."""
    values = {"id": box.id, "name": name}
    others = "mailbox_id = :id AND folder <> :name AND role IN ('inbox', 'sent', 'other')"
    db.session.execute(text(f"DELETE FROM seen_uids WHERE folder_state_id IN (SELECT id FROM folder_states WHERE {others})"), values)
    db.session.execute(text(f"DELETE FROM folder_states WHERE {others}"), values)


def already_recorded(mailbox_id: int, external_ids: Iterable[str], directions: Iterable[str]) -> set[str]:
    """Which of these Message-IDs (no angle brackets) this mailbox has recorded: a renumbered folder is not read twice."""
    rows = db.session.execute(
        text("SELECT external_id FROM messages WHERE sender_id = :id AND direction = ANY(:directions) AND external_id = ANY(:ids)"),
        {"id": mailbox_id, "directions": list(directions), "ids": list(external_ids)},
    )
    return set(rows.scalars())


def note_read(box: Box, status: str, error: str = "") -> None:
    """How reading goes, for the mailbox's page; a bell only when it changed."""
    changed = db.session.execute(
        text(
            "UPDATE mailboxes SET read_status = :status, read_error = :error,"
            " last_read_at = CASE WHEN cast(:status AS text) = 'ok' THEN :now ELSE mailboxes.last_read_at END"
            " FROM mailboxes old WHERE old.id = mailboxes.id AND mailboxes.id = :id RETURNING old.read_status <> :status"
        ),
        {"id": box.id, "status": status, "error": error[:500], "now": clock.now()},
    ).scalar()
    if changed:
        live_after_commit(box.client_id, f"mailbox-{box.id}", "mailboxes")


def auth_failed(box: Box, words: str) -> None:
    """The server refused the login: nothing is read or sent through this mailbox until a person corrects it.

    Sending stops as well: where answers cannot be read, nobody may be written to again.
    """
    lock_hot()
    db.session.execute(
        text(
            "UPDATE senders SET status = 'auth_failed', status_reason = :words, status_since = clock_timestamp(),"
            " status_product_at = :now, status_epoch = status_epoch + 1 WHERE id = :id AND status IN ('active', 'paused', 'connecting')"
        ),
        {"id": box.id, "words": words[:500], "now": clock.now()},
    )
    note_read(box, "auth_failed", words)
    live_after_commit(box.client_id, f"mailbox-{box.id}", "mailboxes", "counters")



"""Proof from stored evidence that nothing was sent twice: attempts, permits, ledger, receipts and the timeline, set against each other."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.outbox.plain import Connection, rows

_LEFT = "('sent', 'delivered', 'bounced', 'complained')"

#: What must never be → the deliveries of which it is so.
_NEVER: dict[str, str] = {
    "two acceptances of one message": """
        SELECT delivery_id AS id FROM delivery_attempts WHERE outcome = 'accepted' GROUP BY delivery_id HAVING count(*) > 1""",
    # a permit ends in an explicit answer, in the engine's own word that no dot was written, or in proof of absence
    "a second final dot although the first may have arrived": """
        SELECT DISTINCT a.delivery_id AS id FROM delivery_attempts a JOIN deliveries d ON d.id = a.delivery_id
        WHERE a.permitted_at IS NOT NULL AND (a.outcome IS NULL OR a.outcome = 'accepted' OR a.outcome LIKE 'unknown%')
          AND NOT d.evidence ? 'absent' AND EXISTS (
            SELECT 1 FROM delivery_attempts b WHERE b.delivery_id = a.delivery_id AND b.epoch > a.epoch AND b.permitted_at IS NOT NULL)""",
    "two messages for one step of one lead": f"""
        SELECT max(id) AS id FROM deliveries WHERE kind = 'campaign_step' AND status IN ('committing', 'uncertain', {_LEFT[1:-1]})
        GROUP BY enrollment_id, step_id HAVING count(*) > 1""",
    "two messages for one answer": f"""
        SELECT max(id) AS id FROM deliveries WHERE kind = 'reply' AND inbox_message_id IS NOT NULL
          AND status IN ('committing', 'uncertain', {_LEFT[1:-1]}) GROUP BY inbox_message_id HAVING count(*) > 1""",
    "one Message-ID on two messages": """
        SELECT max(id) AS id FROM deliveries WHERE message_id IS NOT NULL GROUP BY message_id HAVING count(*) > 1""",
    "one receipt for two messages": """
        SELECT max(id) AS id FROM deliveries WHERE provider_message_id LIKE '%@%' GROUP BY provider_message_id HAVING count(*) > 1""",
    "two lines of the timeline for one message": """
        SELECT delivery_id AS id FROM activities WHERE kind = 'message_sent' AND delivery_id IS NOT NULL
        GROUP BY delivery_id HAVING count(*) > 1""",
    "said to be sent without acceptance or evidence": f"""
        SELECT d.id FROM deliveries d WHERE d.status IN {_LEFT} AND d.resolved_by IS NULL AND d.evidence = '{{}}'::jsonb
          AND NOT EXISTS (SELECT 1 FROM delivery_attempts a WHERE a.delivery_id = d.id AND a.outcome = 'accepted')""",
    "accepted, and said not to be sent": f"""
        SELECT d.id FROM deliveries d WHERE d.status NOT IN {_LEFT} AND NOT d.late_accept
          AND EXISTS (SELECT 1 FROM delivery_attempts a WHERE a.delivery_id = d.id AND a.outcome = 'accepted')""",
}
_BY_PEOPLE = "SELECT id FROM deliveries WHERE late_accept ORDER BY id"
_COUNTS = f"""
SELECT (SELECT count(*) FROM deliveries) AS messages, (SELECT count(*) FROM deliveries WHERE status IN {_LEFT}) AS sent,
  (SELECT count(*) FROM deliveries WHERE status = 'uncertain') AS uncertain, (SELECT count(*) FROM delivery_attempts) AS attempts,
  (SELECT count(*) FROM delivery_attempts WHERE permitted_at IS NOT NULL) AS permits,
  (SELECT count(*) FROM delivery_attempts WHERE outcome = 'accepted') AS acceptances
"""


@dataclass(frozen=True)
class Proof:
    """``counts``: what was looked at. ``found``: sentence → deliveries, all empty when nothing was sent twice.

    ``by_people``: accepted late although a person had sent them again meanwhile: doubles that somebody decided for.
    """

    counts: dict[str, int]
    found: dict[str, list[int]]
    by_people: list[int]

    @property
    def clean(self) -> bool:
        return not any(self.found.values())


def no_doubles(connection: Connection) -> Proof:
    """Look through everything, over all clients; changes nothing. One snapshot is best: call in a repeatable-read transaction."""
    counted = rows(connection, _COUNTS)[0]._asdict()
    found = {sentence: [int(row.id) for row in rows(connection, f"{statement} ORDER BY 1")] for sentence, statement in _NEVER.items()}
    return Proof(counted, found, [int(row.id) for row in rows(connection, _BY_PEOPLE)])

"""How fast due leads become messages: ``python -m bench.sequence [leads] [rounds]``.

The very tick (``jobs.sequence.run``) over leads that are all due, of 200 mailboxes and 8 campaigns, on a PostgreSQL of its own with
fsync; beside it in each round the least that is possible: one INSERT .. SELECT of as many rows.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from bench import figures, world
from bench.world import World

_WAITING = """
UPDATE enrollments e SET status = 'waiting', next_at = %s, next_step_id = %s FROM deliveries d
WHERE d.enrollment_id = e.id AND d.id > %s AND e.campaign_id = %s
"""
_BARE = """
INSERT INTO deliveries (client_id, idempotency_key, kind, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at, to_address,
                        email_key, recipient_domain, first_of_lead, draft, evidence)
SELECT client_id, 'bare:' || id, kind, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at, to_address, email_key,
       recipient_domain, first_of_lead, '{}', '{}' FROM deliveries WHERE id > %s
"""


def waiting(here: World, leads: int) -> None:
    """So many leads whose first step is due now and has no message yet."""
    first = here.one("SELECT coalesce(max(id), 0) FROM deliveries")
    world.enrol(here, leads)
    for _, campaign, step in here.campaigns:
        here.ledger.execute(_WAITING, (datetime.now(UTC), step, first, campaign))
    here.ledger.execute("DELETE FROM deliveries WHERE id > %s", (first,))
    here.ledger.execute("VACUUM ANALYZE enrollments")


def one_round(here: World, leads: int) -> tuple[float, float, float]:
    """Leads a second of the tick and of the bare statement, and processor seconds per lead of the tick (ours and the database's)."""
    from jobs import sequence

    waiting(here, leads)
    spent, there, began = time.process_time(), world.postgres_seconds(here), time.monotonic()
    done = sequence.run(datetime.now(UTC))
    ours = leads / (time.monotonic() - began)
    cost = (time.process_time() - spent + world.postgres_seconds(here) - there) / leads
    if done.born != leads:
        raise RuntimeError(f"{done} of {leads}")
    last = here.one("SELECT max(id) FROM deliveries")
    began = time.monotonic()
    here.ledger.execute(_BARE, (last - leads,))
    bare = leads / (time.monotonic() - began)
    here.ledger.execute("TRUNCATE deliveries CASCADE")
    here.ledger.execute("UPDATE enrollments SET status = 'finished', next_at = NULL")
    return ours, bare, cost


def main(leads: int, rounds: int) -> None:
    from app import create_app
    from app.core.config import load_settings
    from app.core.db import JOBS_ROLE, use_database_role

    print(figures.machine(), flush=True)
    with world.world() as here:
        world.furnish(here, 200, 1)
        use_database_role(JOBS_ROLE)
        with create_app(load_settings(here.environ)).app_context():
            one_round(here, leads // 10)
            found = [one_round(here, leads) for _ in range(rounds)]
    print(f"{figures.said([ours for ours, _, _ in found], 0)} leads/s, {figures.said([cost * 1e6 for *_, cost in found], 0)} µs of processor a lead,")
    print(f"bare INSERT .. SELECT {figures.said([bare for _, bare, _ in found], 0)} rows/s, ratio {figures.said([a / b for a, b, _ in found])}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, int(sys.argv[2]) if len(sys.argv) > 2 else 5)

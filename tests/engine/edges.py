"""The table of states as a trigger: no statement of the product changes a delivery's state except along one of its edges.

It looks at what the product's two roles write; what a test writes as the owner is the test's own business. Guards that can be read off
the row are checked on it; the others are the model's (``tests.engine.model``).
"""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg

from app.domain.delivery_edges import EDGES, Edge, Guard

#: What each guard looks like on the row. The lease was alive when the permit's transaction began.
ON_THE_ROW = {
    Guard.LEASE_ALIVE: "OLD.leased_until > transaction_timestamp()",
    Guard.LEASE_OVER: "OLD.leased_until < clock_timestamp()",
    Guard.BYTES_STORED: "NEW.mime IS NOT NULL",
    Guard.EVIDENCE: "NEW.evidence IS DISTINCT FROM OLD.evidence",
    Guard.REASON: "NEW.reason IS NOT NULL",
}
TRIGGER = """
CREATE OR REPLACE FUNCTION public.along_the_edges() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_user NOT IN ('emberpost_jobs', 'emberpost_web') OR {allowed} THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'no edge from % (epoch %) to % (epoch %) of delivery %, reason %: %',
    OLD.status, OLD.epoch, NEW.status, NEW.epoch, OLD.id, NEW.reason, left(current_query(), 300);
END $$;
CREATE OR REPLACE TRIGGER along_the_edges BEFORE UPDATE OF status ON public.deliveries FOR EACH ROW
  WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION public.along_the_edges();
"""


def condition(edge: Edge) -> str:
    parts = [f"OLD.status = '{edge.source}' AND NEW.status = '{edge.target}'"]
    parts.append(f"NEW.epoch = OLD.epoch + {1 if Guard.NEXT_EPOCH in edge.guards else 0}")
    parts += [words for guard, words in ON_THE_ROW.items() if guard in edge.guards]
    return "(" + " AND ".join(parts) + ")"


def watch(connection: psycopg.Connection[Any], edges: tuple[Edge, ...] = EDGES) -> None:
    """From now on a statement that takes no edge fails. ``connection``: the owner's."""
    allowed = "\n OR ".join(dict.fromkeys(condition(edge) for edge in edges))
    connection.execute(TRIGGER.format(allowed=allowed))  # type: ignore[call-overload]


def unwatch(connection: psycopg.Connection[Any]) -> None:
    """Where a test still holds the table the trigger stays, and the next test gets a database of its own."""
    connection.execute("SET lock_timeout = '2s'")
    with contextlib.suppress(psycopg.errors.LockNotAvailable):
        connection.execute("DROP TRIGGER IF EXISTS along_the_edges ON public.deliveries")

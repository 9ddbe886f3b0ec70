"""The table of states, searched in every order of events; and each of the well-known mistakes, which the same search finds."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from app.core.db import transaction
from app.domain.delivery_edges import DELIVERY_EDGES, EDGES, Edge, Event, Guard
from app.domain.statuses import DELIVERY_ENDED
from app.domain.statuses import DeliveryStatus as D
from app.services.outbox.plain import plain_connection
from tests import factories
from tests.engine.model import Budget, Model, can_always_end, search


def without(event: Event, *guards: Guard) -> tuple[Edge, ...]:
    """The table, with an event that no longer looks at these guards."""
    return tuple(replace(edge, guards=edge.guards - set(guards)) if edge.event is event else edge for edge in EDGES)


def to_the_queue(event: Event) -> tuple[Edge, ...]:
    """The table, with an event after which what is past its permit is simply sent again."""
    chosen = (event, D.COMMITTING)
    return tuple(replace(edge, target=D.QUEUED) if (edge.event, edge.source) == chosen else edge for edge in EDGES)


BROKEN = {
    "no gate": Model(gate=False),
    "stale lock deleted": Model(edges=without(Event.CLAIMED, Guard.NEXT_EPOCH)),
    "lost reply is a retry": Model(edges=to_the_queue(Event.NO_ANSWER)),
    "fence only on the result": Model(edges=without(Event.PERMITTED, Guard.SAME_EPOCH, Guard.LEASE_ALIVE)),
    "stale committing retried": Model(edges=to_the_queue(Event.LEASE_RAN_OUT)),
    "absence believed at once": Model(edges=without(Event.ABSENT, Guard.WRITER_GONE, Guard.PEER_GAVE_UP)),
    "one-statement permit with a shared cap": Model(locks_counters=False),
    # not among the classics, but each of these guards is there for a reason of its own
    "absence believed while its writer lives": Model(edges=without(Event.ABSENT, Guard.WRITER_GONE)),
    "absence believed while its bytes travel": Model(edges=without(Event.ABSENT, Guard.PEER_GAVE_UP)),
    "absence believed without a look": Model(edges=without(Event.ABSENT, Guard.NOT_FOUND)),
    "a stale process says nothing was sent": Model(edges=without(Event.RETURNED, Guard.SAME_EPOCH)),
}


@pytest.mark.slow
def test_three_processes_three_crashes_three_lost_answers_and_two_refusals_break_no_promise(capsys):
    found = search(Model())
    with capsys.disabled():
        print(f"\nmodel: {found.states:,} states, {found.problem or 'no violation'}")
    assert found.problem is None, found.trace
    assert found.states > 50_000, "the search no longer goes everywhere"


@pytest.mark.slow
def test_a_cap_of_two_is_never_exceeded_by_three_rows():
    assert search(Model(rows=3, cap=2, budget=Budget(crashes=1, lost=0, refusals=1, called_off=0))).problem is None


def test_whatever_goes_wrong_there_is_a_way_to_the_end_without_anybody_calling_it_off():
    assert can_always_end(Model(rows=1)).problem is None
    assert can_always_end(Model(workers=2, budget=Budget(1, 1, 1))).problem is None


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_variant_is_caught(mistake, capsys):
    found = search(BROKEN[mistake])
    with capsys.disabled():
        print(f"\n{mistake}: {found.problem} after {found.states:,} states: {' → '.join(found.trace)}")
    assert found.problem is not None


def test_without_the_search_for_evidence_what_is_uncertain_stays_visible_and_is_never_sent_again():
    unresolved = tuple(edge for edge in EDGES if edge.event not in (Event.ABSENT, Event.FOUND))
    assert (search(Model(edges=unresolved, rows=1)).problem or "").startswith("lost")


def test_every_state_is_reached_and_every_end_is_an_end():
    assert {edge.target for edge in EDGES} | {D.QUEUED} == set(D)
    assert all(DELIVERY_EDGES[state] <= {D.DELIVERED, D.BOUNCED, D.COMPLAINED} for state in DELIVERY_ENDED)
    assert DELIVERY_EDGES[D.SENT] == {D.DELIVERED, D.BOUNCED, D.COMPLAINED}


def test_a_statement_that_takes_no_edge_is_noticed(app, database_url):
    """The trigger that watches all tests of the sending road can fail."""
    client = factories.make_client()
    box = factories.make_mailbox(client)
    lead = factories.make_lead(client)
    row = factories.make_delivery(factories.make_enrollment(factories.make_campaign(client, mailboxes=(box,)), lead, box), lead, box)
    with pytest.raises(psycopg.Error, match="no edge from queued"), transaction():
        plain_connection().execute("UPDATE deliveries SET status = 'failed' WHERE id = %s", (row.id,))
    with pytest.raises(psycopg.Error, match="no edge from queued"), transaction():
        plain_connection().execute(
            "UPDATE deliveries SET status = 'leased', leased_until = clock_timestamp() WHERE id = %s", (row.id,)
        )
    with pytest.raises(psycopg.Error, match="no edge from queued"), transaction():
        plain_connection().execute("UPDATE deliveries SET status = 'cancelled' WHERE id = %s", (row.id,))

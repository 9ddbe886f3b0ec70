"""Every way in which a delivery's state may change: who does it, on what event, and under which guards.

The edges are data. The model in the tests is generated from them and searched exhaustively; a trigger in the tests
compares every state that a product's statement writes with them; the pages and the documents read ``DELIVERY_EDGES``.
A change here without a change of the statements (or the reverse) therefore fails a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.domain.statuses import DeliveryStatus as D


class Actor(StrEnum):
    """Who changes a state."""

    ENGINE = "engine"  # the process that holds the row
    SWEEP = "sweep"  # looks for leases that ran out
    EVIDENCE = "evidence"  # a Sent folder, a reply, a report
    RULE = "rule"  # a reply, a stop, a pause, a suppression, an undo
    PERSON = "person"
    RECOVERY = "recovery"  # after a restored backup
    PROVIDER = "provider"  # reports that come later


class Event(StrEnum):
    """What happened."""

    CLAIMED = "claimed"
    RETURNED = "returned"  # nothing was tried to its end: no dot was written
    PERMITTED = "permitted"
    ACCEPTED = "accepted"  # 2xx
    DEFERRED = "deferred"  # explicit and temporary, or the sender's own trouble
    REFUSED = "refused"  # explicit and for good
    NO_ANSWER = "no_answer"  # the dot was written, no readable answer came
    LEASE_RAN_OUT = "lease_ran_out"
    FOUND = "found"
    ABSENT = "absent"
    WAS_SENT = "was_sent"  # a person says so
    SENT_AGAIN = "sent_again"  # a person asks for a new row
    CALLED_OFF = "called_off"  # what is final: stop, reply, unsubscribe, suppression
    HELD_BACK = "held_back"  # what can be freed again: pause, missing value
    RESTORED = "restored"
    REPORTED = "reported"


class Guard(StrEnum):
    """What must be true for an edge to be taken."""

    NEXT_EPOCH = "next_epoch"  # the row's epoch grows by one; whoever held it before holds nothing any more
    SAME_EPOCH = "same_epoch"  # the writer's epoch is the row's present one
    LEASE_ALIVE = "lease_alive"
    LEASE_OVER = "lease_over"
    BYTES_STORED = "bytes_stored"
    CAP_LEFT = "cap_left"  # every counter has a place left, looked at under its lock
    NO_DOT = "no_dot"  # the writer knows that it wrote none
    WRITER_GONE = "writer_gone"  # the process that may have written the dot is dead or has given up its socket
    PEER_GAVE_UP = "peer_gave_up"  # so much time has passed that nothing of it can still arrive
    NOT_FOUND = "not_found"  # a provider that always files a copy has none
    EVIDENCE = "evidence"  # what proves it is stored on the row
    REASON = "reason"  # why is stored on the row


@dataclass(frozen=True, slots=True)
class Edge:
    """One arrow of the state machine."""

    source: D
    target: D
    event: Event
    actor: Actor
    guards: frozenset[Guard] = frozenset()


def _edges(sources: Iterable[D], target: D, event: Event, actor: Actor, *guards: Guard) -> tuple[Edge, ...]:
    return tuple(Edge(source, target, event, actor, frozenset(guards)) for source in sources)


_MINE = Guard.SAME_EPOCH
_PERMIT = (_MINE, Guard.LEASE_ALIVE, Guard.BYTES_STORED, Guard.CAP_LEFT)
_ABSENCE = (Guard.WRITER_GONE, Guard.PEER_GAVE_UP, Guard.NOT_FOUND, Guard.EVIDENCE)
_UNSENT = (D.QUEUED, D.LEASED)

EDGES: tuple[Edge, ...] = (
    *_edges([D.QUEUED], D.LEASED, Event.CLAIMED, Actor.ENGINE, Guard.NEXT_EPOCH),
    *_edges([D.LEASED], D.QUEUED, Event.RETURNED, Actor.ENGINE, _MINE, Guard.NO_DOT),
    *_edges([D.LEASED], D.QUEUED, Event.DEFERRED, Actor.ENGINE, _MINE, Guard.NO_DOT),
    *_edges([D.LEASED], D.FAILED, Event.REFUSED, Actor.ENGINE, _MINE, Guard.NO_DOT, Guard.REASON),
    *_edges([D.LEASED], D.COMMITTING, Event.PERMITTED, Actor.ENGINE, *_PERMIT),
    *_edges([D.LEASED], D.QUEUED, Event.LEASE_RAN_OUT, Actor.SWEEP, Guard.LEASE_OVER),
    *_edges([D.COMMITTING], D.SENT, Event.ACCEPTED, Actor.ENGINE, _MINE),
    *_edges([D.COMMITTING], D.QUEUED, Event.DEFERRED, Actor.ENGINE, _MINE),
    *_edges([D.COMMITTING], D.QUEUED, Event.RETURNED, Actor.ENGINE, _MINE, Guard.NO_DOT),
    *_edges([D.COMMITTING], D.FAILED, Event.REFUSED, Actor.ENGINE, _MINE, Guard.REASON),
    *_edges([D.COMMITTING], D.UNCERTAIN, Event.NO_ANSWER, Actor.ENGINE, _MINE, Guard.REASON),
    *_edges([D.COMMITTING], D.UNCERTAIN, Event.LEASE_RAN_OUT, Actor.SWEEP, Guard.LEASE_OVER, Guard.REASON),
    *_edges([D.UNCERTAIN], D.SENT, Event.ACCEPTED, Actor.ENGINE, _MINE, Guard.EVIDENCE),
    *_edges([D.UNCERTAIN], D.SENT, Event.FOUND, Actor.EVIDENCE, Guard.EVIDENCE),
    *_edges([D.UNCERTAIN], D.QUEUED, Event.ABSENT, Actor.EVIDENCE, *_ABSENCE),
    *_edges([D.UNCERTAIN], D.SENT, Event.WAS_SENT, Actor.PERSON, Guard.EVIDENCE),
    *_edges([D.UNCERTAIN], D.CANCELLED, Event.SENT_AGAIN, Actor.PERSON, Guard.REASON),
    *_edges(_UNSENT, D.CANCELLED, Event.CALLED_OFF, Actor.RULE, Guard.REASON),
    *_edges([D.LEASED], D.QUEUED, Event.HELD_BACK, Actor.RULE, Guard.REASON),
    *_edges([*_UNSENT, D.COMMITTING], D.UNCERTAIN, Event.RESTORED, Actor.RECOVERY, Guard.REASON, Guard.EVIDENCE),
    *_edges([D.SENT], D.DELIVERED, Event.REPORTED, Actor.PROVIDER),
    *_edges([D.SENT, D.DELIVERED], D.BOUNCED, Event.REPORTED, Actor.PROVIDER, Guard.REASON),
    *_edges([D.SENT, D.DELIVERED, D.BOUNCED], D.COMPLAINED, Event.REPORTED, Actor.PROVIDER),
)

#: Where each state can go. A late 2xx on a row that a person sent again is recorded on the row; its state stays.
DELIVERY_EDGES: dict[D, frozenset[D]] = {
    state: frozenset(edge.target for edge in EDGES if edge.source is state) for state in D
}

"""The outbox: the one road on which everything leaves the house.

``enqueue`` is the door in; ``claiming`` leases rows; ``rendering`` freezes their bytes; ``permitting`` decides directly before the
final dot; ``outcomes`` records what the server answered; ``sweeping`` finds what a dead process left; ``uncertain`` and ``failed``
are the decisions of evidence and of people; ``switches`` stops and releases.

The statements take a psycopg connection (the ledger thread's own, or the one under ``db.session``, see ``plain_connection``) and
the name of the lane's table; none of them commits by itself (they say which are the last of their transaction, and the ledger's may end
with those). Everybody's lock order: hot lock, counters, senders, enrollments, deliveries.
"""

"""The mail server dies at each of fourteen points, in three ways, and one whole engine sends through all of it at once.

Before the dot the row goes back, its sender rests and the lead is untouched; then it arrives, once. After the dot nobody knows:
the row is uncertain, the lead is held, the place in the cap stays taken, and no timer sends it again. Silence after the 354 is
silence after the dot: a message that fits into the buffers between two sockets has been handed over before anybody can notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sandbox.mail.faults import Death, Fault, Point
from sandbox.mail.server import MailConfig, RunningMailServer
from tests.conftest import settings_for
from tests.engine.conftest import until
from tests.engine.faults.harness import (
    Cell,
    Pushed,
    all_fresh,
    end_rests,
    make_cells,
    prolong_rests,
    sending,
    sweep_once,
)

CELLS = {f"{point}-{death}": (point, death) for point in Point for death in Death}
AFTER = {Point.DOT_BEFORE: 0, Point.DOT_AFTER: 1, Point.REPLY: 1}
#: A reset or an end is noticed before the dot only while the body is still on its way.
LARGE = frozenset(f"{point}-{death}" for point in (Point.GO_AHEAD, Point.BODY) for death in (Death.CLOSE, Death.RESET))
SILENT = {name for name, (_, death) in CELLS.items() if death is Death.BLACKHOLE}


def expected(name: str) -> str:
    """The state of the rules after the first attempt."""
    point, death = CELLS[name]
    if point is Point.QUIT:
        return "sent"
    if point in AFTER or (point in (Point.GO_AHEAD, Point.BODY) and death is Death.BLACKHOLE):
        return "uncertain"
    return "queued"


@pytest.fixture
def peers() -> Iterator[dict[str, RunningMailServer]]:
    with ExitStack() as stack:
        made = {}
        for name, (point, death) in CELLS.items():
            config = MailConfig(mx_port=None, imap_port=None, keep_outside=True, report_unknown=False)
            made[name] = stack.enter_context(RunningMailServer(config))
            made[name].fault(Fault(point, death))
        yield made


def first_attempt_is_over(cell: Cell) -> bool:
    tries = cell.tries()
    return bool(tries) and tries[0].ended_at is not None


def check(cell: Cell, received: int) -> None:
    """The first attempt's end, and what it did to lead, sender and counter."""
    row, walk, sender, tries = cell.row(), cell.walk(), cell.sender(), cell.tries()
    point, _ = CELLS[cell.name]
    assert row.status == expected(cell.name), f"{cell.name}: {row.status} ({row.reason}), {tries[0].outcome}"
    assert (sender.status, len(tries)) == ("active", 1), cell.name
    if row.status == "queued":
        assert (row.reason, walk.status, row.attempts) == ("provider_backoff", "in_flight", 0), cell.name
        assert sender.backoff_until is not None and cell.used() == 0 and received == 0, cell.name
        assert tries[0].code is None and tries[0].outcome.startswith("trouble:"), cell.name
    elif row.status == "uncertain":
        assert (row.reason, walk.status, walk.reason) == ("previous_uncertain", "held", "previous_uncertain"), cell.name
        assert (sender.uncertain_streak, cell.used(), received) == (1, 1, AFTER.get(point, 0)), cell.name
        assert tries[0].outcome.startswith("unknown:"), cell.name
    else:
        assert (walk.status, walk.last_step_id, cell.used(), received) == ("waiting", row.step_id, 1, 1), cell.name


@pytest.mark.slow
def test_a_peer_that_dies_at_any_of_fourteen_points_in_three_ways_leaves_the_state_of_the_rules(app, peers, database_url, redis_url):
    for name, server in peers.items():
        assert not server.accepted(), name
    cells = make_cells({name: server.ports.smtp for name, server in peers.items()}, LARGE, smtp_security="starttls")
    for name, cell in cells.items():
        peers[name].add_account(cell.mailbox.address, "secret-of-the-mailbox")
    pushed = Pushed()
    with sending(settings_for(database_url, redis_url, drain_seconds=2), pushed):
        until(lambda: all(sum(server.hits().values()) == 1 for server in peers.values()), 40)
        loud = {name: cell for name, cell in cells.items() if name not in SILENT or CELLS[name][0] is Point.QUIT}
        all_fresh(loud, first_attempt_is_over)
        waiting = {name: cell for name, cell in cells.items() if name not in loud}
        assert not [name for name, cell in waiting.items() if first_attempt_is_over(cell)], "gave up on a silent peer at once"
        prolong_rests()
        pushed.advance(200)
        all_fresh({name: cell for name, cell in waiting.items() if expected(name) == "queued"}, first_attempt_is_over)
        prolong_rests()
        pushed.advance(350)
        still = {name: cell for name, cell in waiting.items() if expected(name) == "uncertain"}
        assert {cell.row().status for cell in still.values()} == {"committing"}, "gave up on an answer to the dot before 600 s"
        pushed.advance(60)
        all_fresh(still, first_attempt_is_over)
        sweep_once()
        for name, cell in cells.items():
            check(cell, len(peers[name].accepted()))
        end_rests()
        all_fresh(cells, lambda cell: cell.row().status == ("uncertain" if expected(cell.name) == "uncertain" else "sent"))
    for name, cell in cells.items():
        received = peers[name].counts_by_message_id()
        most = AFTER.get(CELLS[name][0], 1) if expected(name) != "uncertain" or CELLS[name][0] in AFTER else 0
        assert received == ({cell.row().message_id: 1} if most else {}), name
    print(f"\n{len(cells)} of {len(CELLS)} in the state of the rules")

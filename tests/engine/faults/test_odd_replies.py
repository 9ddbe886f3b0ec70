"""Servers that answer oddly, and what the whole engine makes of it: only an explicit answer after the dot is believed.

One engine sends to all of them at once. What goes back to the queue leaves its lead untouched; what is final ends its walk.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.conftest import settings_for
from tests.engine.conftest import until
from tests.engine.faults.harness import Cell, Pushed, all_fresh, end_rests, make_cells, sending
from tests.engine.faults.raw_peers import RawPeer, RawPeers
from tests.patience import in_time


def split(answer: bytes, size: int = 1) -> list[bytes]:
    return [answer[at : at + size] for at in range(0, len(answer), size)]


@dataclass(frozen=True)
class Odd:
    """``state``: of the row after its first attempt; ``why``: its reason; ``walk``: of the lead; ``sender``: its status."""

    phase: str
    pieces: tuple[bytes, ...]
    state: str
    why: str | None = None
    walk: str = "in_flight"
    sender: str = "active"
    close_after: bool = False


def sent(phase: str, *pieces: bytes) -> Odd:
    return Odd(phase, pieces, "sent", None, "waiting")


def back(phase: str, *pieces: bytes, close_after: bool = False) -> Odd:
    return Odd(phase, pieces, "queued", "provider_backoff", close_after=close_after)


def unsure(*pieces: bytes, close_after: bool = False) -> Odd:
    return Odd("dot", pieces, "uncertain", "previous_uncertain", "held", close_after=close_after)


ODD = {
    "multi-line banner": sent("banner", b"220-welcome\r\n220-to the\r\n220 peer\r\n"),
    "banner in single bytes": sent("banner", *split(b"220 peer.test ESMTP\r\n")),
    "banner of another protocol": back("banner", b"SSH-2.0-OpenSSH_9.2\r\n"),
    "banner that does not serve": back("banner", b"554 no service here\r\n"),
    "banner that is busy and closes": back("banner", b"421 4.3.2 too busy\r\n", close_after=True),
    "capabilities in eight bits": sent("ehlo", b"250-p\xe4\xff\r\n250-AUTH PLAIN\r\n250-\xc3\x28\r\n250 OK\r\n"),
    "capabilities by the hundred": sent("ehlo", b"250-peer.test\r\n250-AUTH PLAIN\r\n" + b"250-X-THING\r\n" * 400 + b"250 OK\r\n"),
    "capabilities without end": back("ehlo", b"250-MORE\r\n" * 600),
    "login without a code": back("auth", b"fine, come in\r\n"),
    "login refused": Odd("auth", (b"535 5.7.8 no\r\n",), "queued", "sender_auth_failed", sender="auth_failed"),
    "sender answered with a question": back("mail", b"354 what else?\r\n"),
    "sender taken, but with other codes": back("mail", b"250-ok\r\n550 no\r\n"),
    "recipient forwarded": sent("rcpt", b"251 will forward\r\n"),
    "recipient cannot be verified": sent("rcpt", b"252 will try\r\n"),
    "recipient unknown": Odd("rcpt", (b"550 5.1.1 User unknown\r\n",), "failed", "bounced", "bounced"),
    "recipient for later": back("rcpt", b"450 4.2.0 Greylisted\r\n"),
    "go-ahead before it was asked for": back("rcpt", b"250 ok\r\n354 go on\r\n"),
    "go-ahead refused with a yes": back("data", b"250 already?\r\n"),
    "go-ahead in garbage": back("data", b"\x00\x01\x02\r\n"),
    "answer before the dot": back("data", b"354 go on\r\n452 4.3.1 no room after all\r\n"),
    "yes before the dot": back("data", b"354 go on\r\n250 taken already\r\n"),
    "yes in single bytes": sent("dot", *split(b"250 2.0.0 Ok\r\n")),
    "yes split inside its line end": sent("dot", b"250 2.0.0 Ok\r", b"\n"),
    "yes in many lines": sent("dot", b"250-2.0.0 first\r\n" * 60 + b"250 2.0.0 last\r\n"),
    "yes in eight bits": sent("dot", b"250 \xe4\xf6\xfc \xff\xfe angenommen\r\n"),
    "yes with a zero byte": sent("dot", b"250 2.0.0 O\x00K\r\n"),
    "yes in an over-long line": sent("dot", b"250 " + b"z" * 300_000 + b"\r\n"),
    "yes with a bare line feed": sent("dot", b"250 ok\n"),
    "yes without words": sent("dot", b"250\r\n"),
    "another yes": sent("dot", b"252 hm, yes\r\n"),
    "yes, and then it closes": Odd("dot", (b"250 ok\r\n",), "sent", None, "waiting", close_after=True),
    "a line that never ends": unsure(b"250 " + b"z" * 1_300_000),
    "yes and no": unsure(b"250-ok\r\n550 no\r\n"),
    "half a yes, then the end": unsure(b"250 2.0", close_after=True),
    "half a multi-line yes, then the end": unsure(b"250-2.0.0 ok\r\n", close_after=True),
    "words without a code": unsure(b"all is well\r\n"),
    "zero bytes": unsure(b"\x00\x00\x00\r\n"),
    "a code of five digits": unsure(b"25000 ok\r\n"),
    "a code of the first hundred": unsure(b"150 working\r\n"),
    "go-ahead again": unsure(b"354 once more\r\n"),
    "closing after the dot": back("dot", b"421 4.3.0 shutting down\r\n", close_after=True),
    "closing after the dot without words": back("dot", b"421\r\n", close_after=True),
    "not now, after the dot": back("dot", b"451 4.3.0 try later\r\n"),
    "full, after the dot": back("dot", b"452-4.2.2 full\r\n452 4.2.2 full\r\n"),
    "no such user, after the dot": Odd("dot", (b"550 5.1.1 User unknown\r\n",), "failed", "bounced", "bounced"),
    "unwanted, after the dot": Odd("dot", (b"554 5.7.1 classified as spam\r\n",), "failed", "refused", "failed"),
    "the sender's limit, after the dot": Odd(
        "dot", (b"550 5.4.5 Daily user sending limit exceeded\r\n",), "queued", "sender_paused", sender="paused"
    ),
}


def wanted(odd: Odd) -> tuple[object, ...]:
    """Row, reason, lead, sender, what the mailbox's day counts, how many dots were written."""
    counted = int(odd.state in ("sent", "uncertain"))
    return odd.state, odd.why, odd.walk, odd.sender, counted, int(odd.phase == "dot" or odd.state == "sent")


def seen(cell: Cell, peer: RawPeer) -> tuple[object, ...]:
    row = cell.row()
    return row.status, row.reason, cell.walk().status, cell.sender().status, cell.used(), peer.dots


@pytest.mark.slow
def test_odd_replies_lead_to_the_state_of_the_rules_and_each_message_is_counted_where_it_was_taken(app, database_url, redis_url):
    peers = {name: RawPeer({odd.phase: list(odd.pieces)}, odd.close_after) for name, odd in ODD.items()}
    with RawPeers(list(peers.values())):
        cells = make_cells({name: peer.port for name, peer in peers.items()})
        with sending(settings_for(database_url, redis_url, drain_seconds=2)):
            all_fresh(cells, first_attempt_is_over, 60)
            wrong = {name: found for name, cell in cells.items() if (found := seen(cell, peers[name])) != wanted(ODD[name])}
            assert wrong == {}, {name: (wanted(ODD[name]), cells[name].tries()[0].outcome) for name in wrong}
            end_rests(everybody=True)
            again = {name: cell for name, cell in cells.items() if ODD[name].state == "queued"}
            all_fresh(again, lambda cell: cell.row().status == "sent")
    for name, cell in cells.items():
        kept = "sent" if ODD[name].state == "queued" else ODD[name].state
        assert cell.row().status == kept, name
        # what was refused after its dot left once more; nothing else was ever written twice
        assert peers[name].dots == (2 if name in again and ODD[name].phase == "dot" else 0 if ODD[name].phase == "rcpt" and kept == "failed" else 1), name
    print(f"\n{len(cells)} odd servers, each in the state of the rules")


def first_attempt_is_over(cell: Cell) -> bool:
    tries = cell.tries()
    return bool(tries) and tries[0].ended_at is not None


@pytest.mark.serial
def test_an_answer_after_599_seconds_is_recorded_as_sent_and_after_more_than_600_nobody_knows(app, database_url, redis_url):
    peers = {"in time": RawPeer(held=True), "too late": RawPeer(held=True)}
    pushed = Pushed()
    with RawPeers(list(peers.values())):
        cells = make_cells({name: peer.port for name, peer in peers.items()})
        with sending(settings_for(database_url, redis_url, drain_seconds=2), pushed):
            until(lambda: all(peer.heard_dot.is_set() for peer in peers.values()))
            began = pushed.now()
            pushed.advance(598.5)
            assert {cell.row().status for cell in cells.values()} == {"committing"}
            peers["in time"].release()
            all_fresh({"in time": cells["in time"]}, lambda cell: cell.row().status == "sent")
            in_time(pushed.now() - began < 600, "the machine was too slow to tell")
            assert cells["too late"].row().status == "committing"
            pushed.advance(began + 601 - pushed.now())
            all_fresh({"too late": cells["too late"]}, lambda cell: cell.row().status == "uncertain")
            peers["too late"].release()
    assert (cells["in time"].row().reply_code, cells["in time"].walk().status) == (250, "waiting")
    assert (cells["too late"].tries()[0].outcome, cells["too late"].walk().status) == ("unknown:no_answer", "held")
    assert {peer.dots for peer in peers.values()} == {1}

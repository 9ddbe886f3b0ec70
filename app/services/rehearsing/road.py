"""The product's own road under a clock of its own: the sequence tick's work, claim, rendering, permit and outcome.

The server accepts everything, and no socket is opened for it. When nothing is under way the time jumps to the next event, so
weeks pass in seconds. ``now`` goes to every function as an argument: the process's clock is not touched.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from app.core.db import unheard_transaction
from app.domain.working_time import day_start, local_date
from app.services import launch
from app.services.enrollments import release_due_holds, stop_for_reply
from app.services.outbox import claiming, outcomes, permitting
from app.services.outbox.claiming import THE_BEGINNING, Bytes, Claim
from app.services.outbox.gathering import House, gather
from app.services.outbox.outcomes import Outcome, What
from app.services.outbox.permitting import Asked
from app.services.outbox.plain import plain_connection, rows
from app.services.outbox.rendering import CannotRender, Rendered, render
from app.services.rehearsing.copying import Original
from app.services.rehearsing.report import SENTENCES, Day, Ending, People, Rehearsal, SenderDay, people
from app.services.sequencing import HORIZON, finish_campaigns, note_reasons, plan_batch

LEASE_S = 300
AT_ONCE = 500
#: An answer comes between one and 48 hours (product time) after the message that it answers.
SOONEST_ANSWER_S, LATEST_ANSWER_S = 3_600, 48 * 3_600


@dataclass(frozen=True)
class Wish:
    """What to rehearse and how long: product days, messages, machine seconds. ``replies_percent`` of messages are answered.

    Same ledger, ``now`` and ``seed``: same rehearsal.
    """

    now: datetime
    days: int = 60
    messages: int = 5_000
    seconds: float = 120.0
    replies_percent: int = 0
    seed: int = 1


_SHARDS = "SELECT DISTINCT shard FROM deliveries WHERE shelf = 'queued' AND due_at <= %(now)s"
_SENDERS = "SELECT id, address, timezone, hourly_cap FROM senders ORDER BY id"
_SENT = "SELECT campaign_id, sender_id, sent_at FROM deliveries WHERE status = 'sent' ORDER BY sent_at, sender_id, id"
_PEOPLE = "SELECT status, reason, count(*) AS leads FROM enrollments WHERE campaign_id = %(campaign)s GROUP BY 1, 2 ORDER BY 1, 2"
_WAITING = (
    "SELECT status, reason, count(*) AS leads FROM enrollments WHERE campaign_id = %(campaign)s AND reason IS NOT NULL"
    " AND status IN ('waiting', 'held', 'paused', 'needs_attention') GROUP BY 1, 2 ORDER BY 1, 2"
)
_LAST_END = "SELECT max(ended_at) AS at FROM enrollments WHERE campaign_id = %(campaign)s"
_GOES_ON = (
    "SELECT EXISTS (SELECT 1 FROM enrollments WHERE campaign_id = %(campaign)s AND (status IN ('waiting', 'in_flight')"
    " OR (status = 'held' AND held_until IS NOT NULL))) AS goes_on,"
    " EXISTS (SELECT 1 FROM enrollments WHERE campaign_id = %(campaign)s"
    " AND status IN ('waiting', 'in_flight', 'held', 'paused', 'needs_attention')) AS somebody"
)
# ``blocked``: somebody is due whose sender could send, so a cap holds them: it frees when its day or hour is over.
_NEXT = """
WITH going AS (
  SELECT e.id, e.status, e.next_at, e.held_until, e.sender_id, s.next_at AS free_at, s.min_gap_s, s.backoff_until
  FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id AND c.status = 'running'
  JOIN senders s ON s.id = e.sender_id AND s.status = 'active' AND s.deleted_at IS NULL
  JOIN campaign_senders k ON k.campaign_id = e.campaign_id AND k.sender_id = e.sender_id
  WHERE e.status IN ('waiting', 'in_flight', 'held')),
 events AS (
  SELECT next_at - %(horizon)s AS at FROM going WHERE status = 'waiting'
  UNION ALL SELECT next_at FROM going WHERE status = 'waiting'
  UNION ALL SELECT held_until FROM going WHERE status = 'held'
  UNION ALL SELECT free_at FROM going WHERE min_gap_s > 0
  UNION ALL SELECT backoff_until FROM going
  UNION ALL SELECT d.due_at FROM deliveries d JOIN going ON going.id = d.enrollment_id WHERE d.status = 'queued')
SELECT (SELECT min(at) FROM events WHERE at > %(now)s) AS at,
  EXISTS (SELECT 1 FROM going WHERE status = 'waiting' AND next_at <= %(until)s) AS blocked
"""


class Road:
    """One rehearsal, inside the application that is bound to its filled database."""

    def __init__(self, original: Original, wish: Wish, house: House) -> None:
        self._original = original
        self._wish = wish
        self._house = house
        self._now = wish.now
        self._sent = 0
        self._answers: list[tuple[datetime, int]] = []
        self._waiting: dict[date, tuple[People, ...]] = {}
        self._own = {"campaign": original.campaign_id}
        self._senders: list[Any] = []

    def walk(self) -> Rehearsal:
        """Until it is over or a limit is reached. Raises Invalid where the campaign could not start."""
        if self._original.status == "draft":
            with unheard_transaction():
                launch.start(self._original.client_id, self._original.campaign_id, by=None, now=self._now)
        self._senders = self._ask(_SENDERS)
        ends_at = time.monotonic() + self._wish.seconds
        last = day_start(self._original.zone, self._today() + timedelta(days=self._wish.days))
        while True:
            self._moment()
            ending, following = self._following(last, ends_at)
            if ending is None and following is not None:
                self._jump(following)
                continue
            self._note(self._today())
            return self._report(ending or Ending.NOTHING_DUE)

    def _ask(self, question: str, **values: Any) -> list[Any]:
        with unheard_transaction():
            return rows(plain_connection(), question, {**self._own, "now": self._now, **values})

    def _today(self) -> date:
        return local_date(self._original.zone, self._now)

    def _following(self, last: datetime, ends_at: float) -> tuple[Ending | None, datetime | None]:
        """Why it ends here, or when something happens next."""
        standing = self._ask(_GOES_ON)[0]
        if not standing.goes_on:
            return (Ending.NOTHING_DUE if standing.somebody else Ending.FINISHED), None
        if self._sent >= self._wish.messages:
            return Ending.MESSAGES, None
        if time.monotonic() >= ends_at:
            return Ending.TIME, None
        following = self._next()
        if following is None:
            return Ending.NOTHING_DUE, None
        return (Ending.DAYS, None) if following >= last else (None, following)

    def _next(self) -> datetime | None:
        found = self._ask(_NEXT, horizon=HORIZON, until=self._now + HORIZON)[0]
        candidates = [found.at] if found.at is not None else []
        candidates += [at for at, _ in self._answers[:1]]
        if found.blocked:
            zones = {self._original.zone, *(sender.timezone for sender in self._senders)}
            candidates += [day_start(zone, local_date(zone, self._now) + timedelta(days=1)) for zone in zones]
            if any(sender.hourly_cap is not None for sender in self._senders):
                candidates.append(self._now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        return min(candidates, default=None)

    def _jump(self, following: datetime) -> None:
        today = self._today()
        if local_date(self._original.zone, following) != today:
            self._note(today)
        self._now = following

    def _note(self, today: date) -> None:
        with unheard_transaction():
            note_reasons(self._now)
        self._waiting[today] = people(self._ask(_WAITING))

    # -- what happens at one moment --------------------------------------------------------------------------------

    def _moment(self) -> None:
        self._answer()
        self._once(lambda: release_due_holds(self._now, AT_ONCE))
        self._once(lambda: plan_batch(self._now).changed)
        places = dict.fromkeys((row.shard for row in self._ask(_SHARDS)), THE_BEGINNING)
        while places:
            leased = self._claim(places)
            if leased.rows:
                self._send(leased.rows)
                continue
            if not leased.further:
                break
            places = leased.further  # a whole window was held back: what stands behind it may go
        with unheard_transaction():
            finish_campaigns(self._now)

    def _once(self, work: Callable[[], int]) -> None:
        """Again and again until there is nothing left of it."""
        count = 1
        while count:
            with unheard_transaction():
                count = work()

    def _claim(self, places: dict[int, claiming.Place]) -> claiming.Leased:
        with unheard_transaction():
            return claiming.claim(plain_connection(), Claim("rehearsal", places, self._now, AT_ONCE, LEASE_S))

    def _send(self, leased: list[Any]) -> None:
        """Render, store, ask for the permit and record, as the engine does; what is refused goes back by itself."""
        with unheard_transaction():
            inputs = gather(plain_connection(), [row.id for row in leased], self._now, self._house)
        made = {row.id: render(inputs[row.id]) for row in leased}
        written = {number: one for number, one in made.items() if isinstance(one, Rendered)}
        with unheard_transaction():
            mine = [Bytes(row.id, row.epoch, written[row.id].mime, written[row.id].message_id) for row in leased if row.id in written]
            claiming.store_bytes(plain_connection(), mine, self._now)
        with unheard_transaction():
            asked = [Asked(row.id, row.epoch) for row in leased if row.id in written]
            answers = permitting.permit(plain_connection(), asked, self._now, LEASE_S) if asked else {}
        done = [
            Outcome(one.delivery_id, one.epoch, What.ACCEPTED, phase="done", code=250, text="rehearsed", words=written[one.delivery_id].words)
            for one, answer in answers.items()
            if answer.granted
        ]
        done += [_unwritable(row, made[row.id]) for row in leased if row.id not in written]
        with unheard_transaction():
            outcomes.record(plain_connection(), done, self._now)
        self._sent += sum(one.what is What.ACCEPTED for one in done)
        self._roll(leased, {one.delivery_id for one in done if one.what is What.ACCEPTED})

    def _roll(self, leased: list[Any], left: set[int]) -> None:
        """Which of these messages will be answered, and when: by the seed, the lead's walk and the step alone."""
        for row in leased:
            if row.id in left and self._wish.replies_percent:
                dice = random.Random(f"{self._wish.seed}:{row.enrollment_id}:{row.step_id}")
                if dice.random() * 100 < self._wish.replies_percent:
                    wait = timedelta(seconds=dice.randint(SOONEST_ANSWER_S, LATEST_ANSWER_S))
                    heapq.heappush(self._answers, (self._now + wait, row.lead_id))

    def _answer(self) -> None:
        while self._answers and self._answers[0][0] <= self._now:
            _, lead = heapq.heappop(self._answers)
            with unheard_transaction():
                stop_for_reply(self._original.client_id, [lead], now=self._now)

    # -- what happened ---------------------------------------------------------------------------------------------

    def _report(self, ending: Ending) -> Rehearsal:
        sent = self._ask(_SENT)
        own = [row for row in sent if row.campaign_id == self._original.campaign_id]
        finished = self._ask(_LAST_END)[0].at if ending is Ending.FINISHED else None
        return Rehearsal(
            self._original.campaign_id, self._original.name, self._original.zone, self._wish.now, self._now, finished, ending,
            SENTENCES[ending], len(own), len(sent) - len(own), self._wish.seed, self._wish.replies_percent,
            self._days(own), people(self._ask(_PEOPLE)),
        )  # fmt: skip

    def _days(self, own: list[Any]) -> tuple[Day, ...]:
        found: dict[date, dict[int, list[datetime]]] = {}
        for row in own:
            found.setdefault(local_date(self._original.zone, row.sent_at), {}).setdefault(row.sender_id, []).append(row.sent_at)
        days = sorted({*found, *(day for day, waiting in self._waiting.items() if waiting)})
        return tuple(Day(day, self._lines(found.get(day, {})), self._waiting.get(day, ())) for day in days)

    def _lines(self, by_sender: dict[int, list[datetime]]) -> tuple[SenderDay, ...]:
        return tuple(
            SenderDay(sender.address, len(times), times[0], times[-1])
            for sender in self._senders
            if (times := by_sender.get(sender.id))
        )


def _unwritable(row: Any, why: Rendered | CannotRender) -> Outcome:
    assert isinstance(why, CannotRender)
    return Outcome(row.id, row.epoch, What.UNWRITABLE, reason=str(why.reason), text=why.sentence)

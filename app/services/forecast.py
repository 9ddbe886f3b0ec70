"""How many messages will leave on which day through which sender, computed by the functions the sequence tick uses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from app.core import clock
from app.domain.forecasting import Send
from app.domain.working_time import day_start, local_date
from app.queries import campaigns as reading
from app.queries.forecasts import look_ahead

LONGEST = 60


@dataclass(frozen=True)
class SenderForecast:
    """``per_day`` runs parallel to ``Forecast.days``; ``first_per_day`` of it are first messages to a lead."""

    sender_id: int
    address: str
    per_day: tuple[int, ...]
    first_per_day: tuple[int, ...]


@dataclass(frozen=True)
class Forecast:
    """``days``: dates on the campaign's clock (``zone``). ``beyond``: leads that still wait after the last day shown."""

    zone: str
    days: tuple[date, ...]
    senders: tuple[SenderForecast, ...]
    first_at: datetime | None
    last_at: datetime | None
    beyond: int

    @property
    def totals(self) -> tuple[int, ...]:
        return tuple(sum(line.per_day[index] for line in self.senders) for index in range(len(self.days)))


def forecast(client_id: int, campaign_id: int, *, days: int = 14, now: datetime | None = None) -> Forecast:
    """Deterministic: the same ledger and the same ``now`` give the same answer. Nobody answers in it, nothing bounces."""
    now = now or clock.now()
    campaign = reading.campaign(client_id, campaign_id)
    today = local_date(campaign.timezone, now)
    dates = tuple(today + timedelta(days=index) for index in range(max(1, min(days, LONGEST))))
    until = day_start(campaign.timezone, dates[-1] + timedelta(days=1))
    ahead = look_ahead(campaign, now, until)
    own = [send for send in ahead.sends if send.campaign_id == campaign_id]
    senders = [line for line in reading.senders(client_id, campaign_id, now=now) if line.chosen]
    return Forecast(
        zone=campaign.timezone,
        days=dates,
        senders=tuple(_line(line.id, line.address, own, dates, campaign.timezone) for line in senders),
        first_at=own[0].at if own else None,
        last_at=own[-1].at if own else None,
        beyond=ahead.waiting,
    )


def _line(sender_id: int, address: str, sends: list[Send], days: tuple[date, ...], zone: str) -> SenderForecast:
    place = {day: index for index, day in enumerate(days)}
    every, first = [0] * len(days), [0] * len(days)
    for send in sends:
        if send.sender_id == sender_id:
            index = place[local_date(zone, send.at)]
            every[index] += 1
            first[index] += send.first
    return SenderForecast(sender_id, address, tuple(every), tuple(first))

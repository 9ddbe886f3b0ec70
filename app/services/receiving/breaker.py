"""The breaker of a webhook source: when many of its events fail, the rest waits instead of using up its attempts.

Counted over the last hundred or so. A hold begins with a minute and doubles while the first event let through still fails.
"""

from __future__ import annotations

from sqlalchemy import text

from app.core.extensions import db

WINDOW = 100
MOST_BAD = 20
FIRST_HOLD_S, LONGEST_HOLD_S = 60, 900

# Three cases: it was held (one was let through), the window is full and too many failed, or it is only counted.
_TALLY = text(
    """
WITH s AS (
  SELECT id, window_good + :good AS good, window_bad + :bad AS bad, held_until IS NOT NULL AS held, hold_s
  FROM webhook_sources WHERE id = :id FOR UPDATE),
 judged AS (
  SELECT *, CASE WHEN held AND :bad = 0 THEN 'release' WHEN held THEN 'longer'
                 WHEN bad > :most AND bad * :window > :most * (good + bad) THEN 'hold' ELSE 'count' END AS what FROM s)
UPDATE webhook_sources w SET
  window_good = CASE WHEN j.what <> 'count' THEN 0 WHEN j.good + j.bad >= :window THEN j.good / 2 ELSE j.good END,
  window_bad = CASE WHEN j.what <> 'count' THEN 0 WHEN j.good + j.bad >= :window THEN j.bad / 2 ELSE j.bad END,
  hold_s = CASE j.what WHEN 'hold' THEN :first WHEN 'longer' THEN least(greatest(j.hold_s, :first) * 2, :longest) ELSE 0 END,
  held_until = CASE j.what WHEN 'hold' THEN clock_timestamp() + :first * interval '1 s'
                           WHEN 'longer' THEN clock_timestamp() + least(greatest(j.hold_s, :first) * 2, :longest) * interval '1 s' END
FROM judged j WHERE w.id = j.id
"""
)


def tally(source_id: int, good: int, bad: int) -> None:
    """``good`` and ``bad`` of its events were worked on; what was quarantined as unreadable counts as neither."""
    if good or bad:
        values = {"id": source_id, "good": good, "bad": bad, "most": MOST_BAD, "window": WINDOW, "first": FIRST_HOLD_S, "longest": LONGEST_HOLD_S}
        db.session.execute(_TALLY, values)

"""Redis is emptied, killed, and comes back empty while leads are planned and messages leave: it costs seconds, never a message.

The whole road from an enrolled lead: the scheduler rings the sequence tick through Redis, a worker plans, two sending processes
send. Redis holds nothing that is not in PostgreSQL, so what was lost with it is found by the next tick or the next look.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack
from datetime import datetime

import pytest
import redis as redis_client

from launch.servers import Redis
from sandbox.mail.sink import SinkRates, counts_by_message_id
from tests import factories
from tests.conftest import settings_for
from tests.engine import workers
from tests.engine.faults.harness import judge, product_process
from tests.engine.workers import Database
from tests.patience import in_time, times_slower

FAULTS = int(os.environ.get("EMBERPOST_REDIS_FAULTS", "5"))
STORM = 5  # faults one after the other; then it is calm until everything has left
LEADS_PER_FAULT = 100
#: Product seconds per machine second: the ticks of the schedule come three times as often.
PACE = 3.0
SWEEP_S = 30.0
#: A sweep and five seconds, from the moment at which a lead is due and the storm is over. Sweeps come at the test's pace;
#: workers reconnect in machine time, which no pace shortens.
PROMISED_S = SWEEP_S / PACE + 5
KINDS = ("flushed", "killed", "away")

ENROL = """
WITH people AS (
  INSERT INTO leads (client_id, email, email_key, first_name, custom)
  SELECT %(client)s, %(tag)s || '-' || n || '@buyer.test', %(tag)s || '-' || n || '@buyer.test', 'Ada', '{}'
  FROM generate_series(1, %(count)s) n RETURNING id)
INSERT INTO enrollments (client_id, campaign_id, lead_id, sender_id, status, next_step_id, next_at, enrolled_at)
SELECT %(client)s, %(campaign)s, id, (%(boxes)s::bigint[])[1 + id %% cardinality(%(boxes)s::bigint[])], 'waiting', %(step)s, p.now, p.now
FROM people, (SELECT base_product + (clock_timestamp() - base_machine) * factor AS now FROM product_clock) p
"""
DELAYS = """
SELECT extract(epoch FROM d.answered_at - greatest((e.enrolled_at - p.base_product) / p.factor + p.base_machine, calm.at))
FROM deliveries d JOIN enrollments e ON e.id = d.enrollment_id CROSS JOIN product_clock p
JOIN unnest(%s::int[], %s::timestamptz[]) AS calm (storm, at) ON calm.storm = split_part(substr(d.to_address, 2), '.', 1)::int / %s
"""


def strike(redis: Redis, dice: random.Random, number: int) -> str:
    """One fault. A Redis of tests keeps nothing on disk: killed, it comes back empty."""
    kind = KINDS[number % len(KINDS)]
    if kind == "flushed":
        redis_client.Redis.from_url(redis.url).flushall()
        return kind
    assert redis.process is not None
    redis.process.send_signal(signal.SIGKILL)
    redis.process.wait()
    time.sleep(0 if kind == "killed" else dice.uniform(0.5, 2.0))
    redis.start()
    return kind


@pytest.mark.serial
@pytest.mark.slow
def test_a_redis_that_is_emptied_killed_and_restarted_costs_seconds_and_no_message(app, database_url, tmp_path):
    dice, hits = random.Random(4), dict.fromkeys(KINDS, 0)
    redis, counted = Redis(tmp_path, sync=False), tmp_path / "accepted"
    settings = settings_for(database_url, redis.start(), mode="rehearsal", drain_seconds=3)
    database = Database(settings)
    with ExitStack() as stack:
        stack.callback(redis.stop)
        stack.callback(database.close)
        database.run(
            "INSERT INTO product_clock (id, base_machine, base_product, factor) VALUES (1, clock_timestamp(), clock_timestamp(), %s)"
            " ON CONFLICT (id) DO UPDATE SET base_product = clock_timestamp(), base_machine = clock_timestamp(), factor = %s", PACE, PACE
        )  # fmt: skip
        port = stack.enter_context(workers.sink(counted, SinkRates(delay=0.1, delay_s=0.1)))
        client = factories.make_client()
        boxes = [factories.make_mailbox(client, smtp_port=port, daily_cap=1_000_000) for _ in range(16)]
        campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1)
        given = {"client": client.id, "campaign": campaign.id, "step": factories.first_step(campaign).id, "boxes": [box.id for box in boxes]}
        stack.enter_context(product_process(settings, tmp_path / "scheduler.log", "jobs.scheduler"))
        stack.enter_context(product_process(settings, tmp_path / "worker.log", "jobs.worker", "receive"))
        parent = stack.enter_context(workers.zygote(tmp_path / "log"))
        engines = [parent.start(settings) for _ in range(2)]
        wait_for(database, "SELECT count(*) FROM scheduled_runs WHERE job = 'jobs.sequence.tick' AND started_at IS NOT NULL", 1)
        calm: list[datetime] = []
        for number in range(FAULTS):
            for half in range(2):
                database.connection.execute(ENROL, {**given, "tag": f"r{number}.{half}", "count": LEADS_PER_FAULT // 2})
                time.sleep(dice.uniform(0.2, 1.2))
            hits[strike(redis, dice, number)] += 1
            if (number + 1) % STORM == 0 or number + 1 == FAULTS:
                calm.append(database.one("SELECT clock_timestamp()"))
                wait_for(database, "SELECT count(*) FROM deliveries WHERE status = 'sent'", (number + 1) * LEADS_PER_FAULT)
        for pid in engines:
            parent.kill(pid, signal.SIGTERM)
        assert [parent.wait(pid, 20) for pid in engines] == [0, 0], (tmp_path / "log").read_text()[-2000:]
        judge(database, counts_by_message_id(counted))
        delays = sorted(max(0.0, float(row[0])) for row in database.all(DELAYS, list(range(len(calm))), calm, STORM))
        print(f"\n{FAULTS} faults {hits} in {len(calm)} storms, {len(delays)} messages: slowest {delays[-1]:.1f} s, median {delays[len(delays) // 2]:.1f} s"
              f" at ticks every {15 / PACE:.0f} s and sweeps every {SWEEP_S / PACE:.0f} s")  # fmt: skip
        allowed = PROMISED_S * times_slower()  # on a machine of one's own: what is promised
        in_time(delays[-1] <= allowed, f"a message came {delays[-1]:.1f} s late, {PROMISED_S:.0f} s are promised and {allowed:.0f} s allowed")


def wait_for(database: Database, question: str, count: int, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while (found := database.one(question)) < count:
        in_time(time.monotonic() < end, f"{found} of {count}: {question}")
        time.sleep(0.1)

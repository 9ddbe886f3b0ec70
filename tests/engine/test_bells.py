"""What open pages hear of a sending process: everything that changed, but not a thousand times a second."""

from __future__ import annotations

import time
from collections import Counter

import redis

from app.core.bell import Bell
from jobs.sending.bells import Teller


def test_news_that_come_thick_are_told_together_and_the_last_of_them_too(redis_url):
    bell = Bell(redis_url, "telling")
    with redis.Redis.from_url(redis_url).pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(bell.live_channel(7), bell.live_channel(8))
        for _ in range(2):
            heard.get_message(timeout=1.0)  # each subscription is confirmed, and that is not shown
        teller = Teller(bell)
        teller.start()
        for number in range(400):
            teller.tell([(7, "counters"), (8, "counters"), (7, f"conversation-{number % 3}")])
        time.sleep(0.2)
        teller.tell([(7, "campaign-1")])
        teller.stop()
        told: Counter[tuple[bytes, bytes]] = Counter()
        while message := heard.get_message(timeout=0.5):
            told[message["channel"], message["data"]] += 1
    seven, eight = (bell.live_channel(client).encode() for client in (7, 8))
    wanted = {(seven, b"counters"), (eight, b"counters"), (seven, b"campaign-1"), *((seven, b"conversation-%d" % n) for n in range(3))}
    assert set(told) == wanted
    assert max(told.values()) <= 12, "four hundred changes of one counter are a few news of it"
    assert told[seven, b"campaign-1"] == 1


def test_a_process_that_stops_tells_what_still_waits(redis_url):
    bell = Bell(redis_url, "telling")
    with redis.Redis.from_url(redis_url).pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(bell.live_channel(7))
        heard.get_message(timeout=1.0)
        teller = Teller(bell)
        teller.tell([(7, "campaign-1")])
        teller.tell([(7, "campaign-2")])
        teller.start()
        teller.stop()
        assert {message["data"] for _ in range(2) if (message := heard.get_message(timeout=1.0))} == {b"campaign-1", b"campaign-2"}

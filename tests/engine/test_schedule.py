"""The schedule rings what is due, once, and survives a lost Redis and a restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Flask
from rq.utils import import_attribute
from sqlalchemy import text

from app.core.bell import Bell, use_bell
from app.core.extensions import db
from app.core.queue import Job, delayed_jobs, redis_queue
from jobs.schedule import SCHEDULE, Daily, Every
from jobs.scheduler import look, still_waiting

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def test_the_first_look_rings_everything_and_the_next_one_nothing(app: Flask) -> None:
    assert {entry.job for entry in look(NOW)} == {entry.job for entry in SCHEDULE}
    assert look(NOW + timedelta(milliseconds=500)) == []


def test_a_tick_that_still_waits_is_not_rung_again_until_redis_must_have_lost_it(app: Flask) -> None:
    look(NOW)
    later = {entry.job for entry in look(NOW + timedelta(seconds=40))}
    assert Job.SEQUENCE_TICK not in later
    db.session.execute(text("UPDATE scheduled_runs SET started_at = queued_at + interval '1 second'"))
    db.session.commit()
    assert Job.SEQUENCE_TICK in {entry.job for entry in look(NOW + timedelta(seconds=60))}
    assert Job.SEQUENCE_TICK in {entry.job for entry in look(NOW + timedelta(minutes=10))}


def test_a_tick_that_redis_forgot_is_rung_again_when_it_is_next_due(app: Flask) -> None:
    """Emptied between enqueueing and running: its next turn comes as if it had never waited."""
    look(NOW)
    redis_queue_of(Job.SEQUENCE_TICK).empty()
    assert Job.SEQUENCE_TICK in {entry.job for entry in look(NOW + timedelta(seconds=16))}
    assert Job.SEQUENCE_TICK not in {entry.job for entry in look(NOW + timedelta(seconds=32))}


def test_a_tick_that_could_not_be_enqueued_is_rung_again_when_it_is_next_due(app: Flask, redis_url: str) -> None:
    """Redis was away for the very moment of enqueueing."""
    redis_queue_of(Job.SEQUENCE_TICK).empty()
    use_bell(Bell("redis://127.0.0.1:1/0", "test"))
    look(NOW)
    use_bell(Bell(redis_url, app.extensions["settings"].instance_id))
    assert Job.SEQUENCE_TICK in {entry.job for entry in look(NOW + timedelta(seconds=16))}


def test_waiting_ends_when_the_run_began() -> None:
    assert still_waiting(NOW, None, NOW + timedelta(seconds=30))
    assert not still_waiting(NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=30))
    assert not still_waiting(NOW, None, NOW + timedelta(minutes=6))


def test_a_faster_rehearsal_shortens_scaled_ticks_but_never_below_a_second() -> None:
    assert Every(15, scaled=True).next_after(NOW, 60.0) == NOW + timedelta(seconds=1)
    assert Every(15, scaled=True).next_after(NOW, 5.0) == NOW + timedelta(seconds=3)
    assert Every(15).next_after(NOW, 60.0) == NOW + timedelta(seconds=15)


def test_a_daily_entry_comes_once_a_day_on_the_wall_clock() -> None:
    assert Daily(2, 0).next_after(NOW, 1.0) == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    assert Daily(12, 0).next_after(NOW, 1.0) == datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_every_job_name_resolves_to_a_function() -> None:
    for job in Job:
        assert callable(import_attribute(str(job))), job


def test_a_delayed_job_is_json_and_enters_its_queue_at_its_time(app: Flask) -> None:
    delayed = delayed_jobs()
    queue = redis_queue_of(Job.WAKE_SNOOZED)
    queue.empty()
    delayed.enqueue_at(datetime(2020, 1, 1), str(Job.WAKE_SNOOZED), queue_name=queue.name, job_result_ttl=0)  # noqa: DTZ001  rq-scheduler's own idiom
    delayed.enqueue_jobs()
    assert [job.func_name for job in queue.get_jobs()] == [str(Job.WAKE_SNOOZED)]
    queue.empty()


def redis_queue_of(job: Job):  # type: ignore[no-untyped-def]
    from app.core.queue import queue_name

    return redis_queue(queue_name(job))

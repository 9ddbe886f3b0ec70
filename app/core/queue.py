"""RQ by name: services enqueue a ``Job`` with ids; what it resolves to stands in ``jobs/`` (a test proves each resolves).

JSON travels, no pickle. Every job is idempotent and looks at the ledger; a lost one is found by a sweep.
"""

from __future__ import annotations

import logging
from datetime import datetime
from enum import StrEnum
from typing import Any

import redis
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer
from rq_scheduler import Scheduler

from app.core.bell import bell
from app.core.db import on_commit

log = logging.getLogger("emberpost.queue")

#: How many waiting jobs of a queue are looked through for one.
LOOKED_THROUGH = 1_000


class QueueName(StrEnum):
    DISPATCH = "dispatch"
    RECEIVE = "receive"
    BULK = "bulk"


class Job(StrEnum):
    """Dotted path of the job's entry point, as RQ resolves it."""

    RING_DISPATCH = "jobs.dispatch.ring"
    SEQUENCE_TICK = "jobs.sequence.tick"
    INBOUND_SWEEP = "jobs.receive.sweep"
    INBOUND_ARRIVED = "jobs.receive.arrived"
    DELIVERY_SWEEP = "jobs.upkeep.sweep_deliveries"
    LOOK_AGAIN = "jobs.upkeep.look_again"
    RECOUNT = "jobs.counting.recount"
    LEDGER_EQUATION = "jobs.counting.check_ledger"
    CLOSE_IDLE = "jobs.inbox_upkeep.close_idle_conversations"
    WAKE_SNOOZED = "jobs.inbox_upkeep.wake_snoozed"
    RETENTION = "jobs.counting.forget_old"
    SEAL_TRAIL = "jobs.trail.seal"
    RESOLVE_UNCERTAIN = "jobs.upkeep.resolve_uncertain"
    RUN_IMPORT = "jobs.imports.run"
    UNDO_IMPORT = "jobs.imports.undo"
    IMPORT_SWEEP = "jobs.imports.sweep"
    VERIFY_MAILBOX = "jobs.mailboxes.verify"
    VERIFY_SWEEP = "jobs.mailboxes.sweep"
    SUPPRESS_MANY = "jobs.suppressions.add_many"
    LEADS_MANY = "jobs.leads.act_on_many"
    REHEARSE = "jobs.rehearsing.run"
    TELL_OUTGOING = "jobs.outgoing.tell"


QUEUE_OF: dict[Job, QueueName] = {
    Job.RING_DISPATCH: QueueName.DISPATCH,
    Job.SEQUENCE_TICK: QueueName.RECEIVE,
    Job.INBOUND_SWEEP: QueueName.RECEIVE,
    Job.INBOUND_ARRIVED: QueueName.RECEIVE,
    Job.DELIVERY_SWEEP: QueueName.RECEIVE,
    Job.LOOK_AGAIN: QueueName.RECEIVE,
    Job.WAKE_SNOOZED: QueueName.RECEIVE,
}


def queue_name(job: Job) -> QueueName:
    return QUEUE_OF.get(job, QueueName.BULK)


def redis_queue(name: QueueName) -> Queue:
    """The RQ queue of this instance. Queue names carry the instance id, so two instances may share one Redis."""
    instance = bell().prefix.split(":")[1]
    return Queue(f"{instance}-{name}", connection=bell().connection, serializer=JSONSerializer)


def enqueue(job: Job, *arguments: Any, timeout_s: int = 600, job_id: str | None = None) -> None:
    """Enqueue now; a Redis that is away costs only seconds (a sweep finds the work), so this never raises."""
    try:
        redis_queue(queue_name(job)).enqueue_call(
            str(job),
            args=arguments,
            timeout=timeout_s,
            result_ttl=0,
            failure_ttl=86_400,
            job_id=job_id,
            unique=job_id is not None,
        )
    except DuplicateJobError:
        pass
    except redis.RedisError as error:
        log.warning("job %s not enqueued, a sweep will find it: %s", job, error)


def is_queued(job: Job) -> bool:
    """Whether a job of this kind waits in its queue now; False also while Redis is away (enqueueing anew fails then as well)."""
    try:
        return any(queued.func_name == str(job) for queued in redis_queue(queue_name(job)).get_jobs(0, LOOKED_THROUGH))
    except redis.RedisError:
        return False


def enqueue_after_commit(job: Job, *arguments: Any, timeout_s: int = 600) -> None:
    on_commit(lambda: enqueue(job, *arguments, timeout_s=timeout_s))


FLAG_SECONDS = 15


def ring_job_after_commit(job: Job) -> None:
    """Enqueue ``job`` once the transaction is committed, unless one waits that has not looked at the ledger yet.

    A thousand arrivals need one job, and the last of them is never missed: the job calls ``looking`` before it looks.
    """
    on_commit(lambda: ring_job(job))


def ring_job(job: Job) -> None:
    """The same at once, for what is committed already."""
    try:
        waits = not bell().connection.set(_flag(job), b"1", nx=True, ex=FLAG_SECONDS)
    except redis.RedisError as error:
        log.warning("job %s not rung, a sweep will find its work: %s", job, error)
        return
    if not waits:
        enqueue(job, timeout_s=60)


def looking(job: Job) -> None:
    """The job begins: whoever rings from now on needs another."""
    try:
        bell().connection.delete(_flag(job))
    except redis.RedisError:
        pass  # the flag runs out by itself


def _flag(job: Job) -> str:
    return f"{bell().prefix}rung:{job}"


class JsonJob(RqJob):
    """rq-scheduler builds and fetches jobs through their class; this one always speaks JSON."""

    @classmethod
    def create(cls, *args: Any, **options: Any) -> RqJob:
        return super().create(*args, **{**options, "serializer": JSONSerializer})

    @classmethod
    def fetch(cls, id: str, connection: redis.Redis | None = None, serializer: Any = None) -> RqJob:
        return super().fetch(id, connection=connection, serializer=JSONSerializer)


class JsonQueue(Queue):
    @classmethod
    def from_queue_key(cls, queue_key: str, connection: redis.Redis, *args: Any, **options: Any) -> Queue:
        return super().from_queue_key(queue_key, connection, *args, **{**options, "serializer": JSONSerializer})


def delayed_jobs() -> Scheduler:
    """rq-scheduler for this instance: jobs for a later moment of machine time. Only a convenience: a sweep finds the same work."""
    scheduler = Scheduler(connection=bell().connection, job_class=JsonJob, queue_class=JsonQueue)
    scheduler.scheduled_jobs_key = f"{bell().prefix}delayed"
    return scheduler


def enqueue_at_after_commit(moment: datetime, job: Job, *arguments: Any) -> None:
    """Enqueue ``job`` at a moment of machine time (UTC), once the present transaction is committed."""

    def later() -> None:
        try:
            queue = redis_queue(queue_name(job)).name
            delayed_jobs().enqueue_at(moment.replace(tzinfo=None), str(job), *arguments, queue_name=queue, job_result_ttl=0)
        except redis.RedisError as error:
            log.warning("delayed job %s not stored, a sweep will find it: %s", job, error)

    on_commit(later)

"""The names of the original: what its programs ask for is answered by the same views, rights and words as everything else."""

from __future__ import annotations

from typing import Any

from flask import current_app, jsonify
from flask.typing import ResponseReturnValue
from marshmallow import fields

from app.blueprints.access import unguarded
from app.blueprints.api.campaign_schemas import CampaignWhole, StatusShown
from app.blueprints.api.campaigns import start, status
from app.blueprints.api.core import OPERATIONS, Operation, api_route, root_blueprint
from app.blueprints.api.leads import LeadShown, NewLead, create
from app.blueprints.api.schemas import Moment, Nothing, Shown, one_of
from app.core import clock
from app.domain.permissions import Permission
from app.models import Campaign, Lead
from app.queries import ops
from app.services import doctor, schedule_state, schema_upgrades

TAG = "original names"
RUN, READ = Permission.OPS_MANAGE, Permission.OPS_READ


class HealthShown(Shown):
    status = fields.String(required=True)


@root_blueprint.get("/health")
@unguarded
def health() -> ResponseReturnValue:
    return jsonify(status="ok")


OPERATIONS.append(
    Operation(
        "GET", "/health", None, "original_names_health", "Does the web process answer", "Asks neither database nor Redis: GET /readyz does.", TAG, None,
        None, HealthShown, None, 200, None, False, True, False, "", True,
    )
)  # fmt: skip


# What the whole installation looks like


class FindingShown(Shown):
    name = fields.String(required=True)
    state = one_of(doctor.State)
    found = fields.String(required=True)
    fix = fields.String(required=True, metadata={"description": "what to do"})


class ProcessShown(Shown):
    name = fields.String(required=True)
    kind = fields.String(required=True)
    started_at = Moment(required=True)
    seen_at = Moment(required=True)
    silent = fields.Boolean(required=True)


class RunShown(Shown):
    job = fields.String(required=True)
    queued_at = Moment(required=True, allow_none=True)
    started_at = Moment(required=True, allow_none=True)
    finished_at = Moment(required=True, allow_none=True)
    duration_ms = fields.Integer(required=True, allow_none=True)
    next_at = Moment(required=True, allow_none=True)
    error = fields.String(required=True)


class SchedulerShown(Shown):
    running = fields.Boolean(required=True, metadata={"description": "it lives and is not paused"})
    alive = fields.Boolean(required=True, metadata={"description": "its process was heard of in the last 20 seconds"})
    paused = fields.Boolean(required=True)
    paused_by = fields.String(required=True, allow_none=True)
    paused_at = Moment(required=True, allow_none=True)
    last_tick = Moment(required=True, allow_none=True, metadata={"description": "when it last enqueued something (machine time)"})


class SystemShown(Shown):
    status = one_of(doctor.State, metadata={"description": "the worst finding"})
    mode = fields.String(required=True)
    findings = fields.List(fields.Nested(FindingShown), required=True)
    scheduler = fields.Nested(SchedulerShown, required=True)
    schedule = fields.List(fields.Nested(RunShown), required=True)
    processes = fields.List(fields.Nested(ProcessShown), required=True)
    queues = fields.Dict(
        keys=fields.String(), values=fields.Integer(), required=True, allow_none=True, metadata={"description": "jobs waiting; null: Redis does not answer"}
    )
    messages = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "of the clients you may read"})
    ledger_faults = fields.List(fields.String(), required=True, metadata={"description": "what the hourly look at the ledger found; must be empty"})


@api_route("GET", "/system/status", READ, client=False, root=True, response=SystemShown, tag=TAG, summary="The doctor, processes, queues and schedule")
def system_status() -> dict[str, Any]:
    """What the page Operations shows."""
    settings = current_app.extensions["settings"]
    findings = doctor.examine(settings)
    worst = max((finding.state for finding in findings), key=list(doctor.State).index, default=doctor.State.GOOD)
    return {
        "status": worst, "mode": settings.mode, "findings": findings, "scheduler": schedule_state.state(), "schedule": ops.schedule(),
        "processes": ops.processes(), "queues": ops.queue_depths(), "messages": ops.ledger(clock.now()),
        "ledger_faults": sorted(ops.equation().get("faults", {})),
    }  # fmt: skip


# A lead, a launch, a campaign's progress


@api_route("POST", "/subscribers/", Permission.LEADS_EDIT, root=True, body=NewLead, response=LeadShown, status=201, tag=TAG, summary="Add a lead")
def add_subscriber(body: dict[str, Any]) -> Lead:
    """The same as POST /api/leads."""
    return create(body)


@api_route(
    "POST", "/campaigns/<int:row_id>/send", Permission.CAMPAIGNS_LAUNCH, root=True, object_of=Campaign, response=CampaignWhole, tag=TAG,
    summary="Start a campaign",
)
def send_campaign(campaign: Campaign) -> Campaign:
    """The same as POST /api/campaigns/{id}/launch."""
    return start(campaign)


@api_route(
    "GET", "/automation/campaigns/<int:row_id>/status", Permission.CAMPAIGNS_READ, object_of=Campaign, response=StatusShown, tag=TAG,
    summary="Progress of a campaign",
)
def automation_status(campaign: Campaign) -> dict[str, Any]:
    """The same as GET /api/campaigns/{id}/status."""
    return status(campaign)


# The scheduler


@api_route("GET", "/automation/scheduler/status", READ, client=False, response=SchedulerShown, tag=TAG, summary="Does the scheduler run")
def scheduler_status() -> schedule_state.ScheduleState:
    return schedule_state.state()


@api_route("GET", "/webhooks/scheduler-status", READ, client=False, response=SchedulerShown, tag=TAG, summary="Does the scheduler run (the same)")
def scheduler_status_again() -> schedule_state.ScheduleState:
    return schedule_state.state()


@api_route("POST", "/automation/scheduler/start", RUN, client=False, body=Nothing, response=SchedulerShown, tag=TAG, summary="Let the schedule go on")
def start_scheduler(body: dict[str, Any]) -> schedule_state.ScheduleState:
    """What came due during the pause is rung once. Starts no process: ``alive`` says whether one is there."""
    return schedule_state.turn(paused=False)


@api_route("POST", "/automation/scheduler/stop", RUN, client=False, body=Nothing, response=SchedulerShown, tag=TAG, summary="Pause the schedule")
def stop_scheduler(body: dict[str, Any]) -> schedule_state.ScheduleState:
    """No new work is made until it is started again, restarts included; obeyed within two seconds. What is due already still leaves:
    POST /api/switches/instance/stop stops sending. Replies, freed leases and the seals of the trail go on."""
    return schedule_state.turn(paused=True)


# Migrations


class MigrationShown(Shown):
    revision = fields.String(required=True)
    what = fields.String(required=True)


class MigrationsShown(Shown):
    at = fields.String(required=True, allow_none=True, metadata={"description": "where the database is; null: never migrated"})
    head = fields.String(required=True, metadata={"description": "what this code needs"})
    at_head = fields.Boolean(required=True)
    pending = fields.List(fields.Nested(MigrationShown), required=True)
    known = fields.Boolean(required=True, metadata={"description": "false: the database is newer than this code"})
    may_bootstrap = fields.Boolean(required=True, metadata={"description": "the database login may run them"})
    what_to_do = fields.String(required=True)


class BootstrappedShown(MigrationsShown):
    applied = fields.List(fields.Nested(MigrationShown), required=True)


@api_route("GET", "/admin/migrations/status", READ, client=False, response=MigrationsShown, tag=TAG, summary="Where the database is and what is pending")
def migrations_status() -> schema_upgrades.MigrationState:
    return schema_upgrades.state()


@api_route(
    "POST", "/admin/migrations/bootstrap", RUN, client=False, body=Nothing, response=BootstrappedShown, tag=TAG, summary="Run pending migrations"
)
def bootstrap_migrations(body: dict[str, Any]) -> dict[str, Any]:
    """Nothing pending: nothing happens. 409 ``migrations_not_allowed``, ``migrations_running``, ``migrations_unknown`` or
    ``migration_failed``, each with what to do."""
    applied = schema_upgrades.bootstrap()
    after = schema_upgrades.state()
    names = ("at", "head", "at_head", "pending", "known", "may_bootstrap", "what_to_do")
    return {**{name: getattr(after, name) for name in names}, "applied": applied}

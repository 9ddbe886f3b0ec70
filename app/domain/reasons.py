"""Every reason a message waits or is not sent: its code, with the sentence and what would free it (``app/strings/reasons.py``).

Codes are stored, counted and shown; the sentence is what a person reads. A code without a producer yet is a reserved name.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.words import Word
from app.strings import t


class Reason(Word):
    DRAFT = "draft"
    FINISHED = "finished"
    CAMPAIGN_PAUSED = "campaign_paused"
    STOPPED_INSTANCE = "stopped_instance"
    STOPPED_CLIENT = "stopped_client"
    STOPPED_CAMPAIGN = "stopped_campaign"
    STOPPED_SENDER = "stopped_sender"
    OUTSIDE_WINDOW = "outside_window"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"
    CLOSED_DAY = "closed_day"
    DELAY_NOT_OVER = "delay_not_over"
    MIN_GAP = "min_gap"
    SENDER_DAY_CAP = "sender_day_cap"
    SENDER_HOUR_CAP = "sender_hour_cap"
    CAMPAIGN_DAY_CAP = "campaign_day_cap"
    NEW_LEADS_CAP = "new_leads_cap"
    CLIENT_HOUR_CAP = "client_hour_cap"
    INSTANCE_MINUTE_CAP = "instance_minute_cap"
    INSTANCE_HOUR_CAP = "instance_hour_cap"
    DOMAIN_BULK_GATE = "domain_bulk_gate"
    WARMUP_RESERVE = "warmup_reserve"
    NO_SENDER = "no_sender"
    SENDER_CONNECTING = "sender_connecting"
    SENDER_PAUSED = "sender_paused"
    SENDER_AUTH_FAILED = "sender_auth_failed"
    PROVIDER_BACKOFF = "provider_backoff"
    CIRCUIT_OPEN = "circuit_open"
    REPLIED = "replied"
    REPLIED_ELSEWHERE = "replied_elsewhere"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    BOUNCED = "bounced"
    UNSUBSCRIBED = "unsubscribed"
    SUPPRESSED_CLIENT = "suppressed_client"
    SUPPRESSED_GLOBAL = "suppressed_global"
    DUPLICATE_IN_OTHER_CAMPAIGN = "duplicate_in_other_campaign"
    NEEDS_ATTENTION_VARIABLE = "needs_attention_variable"
    NEEDS_ATTENTION_ADDRESS = "needs_attention_address"
    LEAD_PAUSED = "lead_paused"
    OUT_OF_OFFICE_UNTIL = "out_of_office_until"
    DIRECTION_UNKNOWN = "direction_unknown"
    PREVIOUS_UNCERTAIN = "previous_uncertain"
    WAITING_ACCEPTANCE = "waiting_acceptance"
    INVITE_WEEK_CAP = "invite_week_cap"
    NOTES_USED_UP = "notes_used_up"
    WITHDRAWN_COOLDOWN = "withdrawn_cooldown"
    ACCOUNT_NOT_OK = "account_not_ok"
    IN_FLIGHT = "in_flight"
    # ends that a person or an outcome chose
    SKIPPED = "skipped"
    RESENT = "resent"
    UNDONE = "undone"
    REFUSED = "refused"


@dataclass(frozen=True)
class Explanation:
    """``text`` says why it waits, ``frees`` what would let it go on."""

    text: str
    frees: str


def _e(text: str, frees: str) -> Explanation:
    return Explanation(t(text), t(frees))


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.DRAFT: _e("reasons.draft", "reasons.draft_frees"),
    Reason.FINISHED: _e("reasons.finished", "reasons.finished_frees"),
    Reason.CAMPAIGN_PAUSED: _e("reasons.campaign_paused", "reasons.campaign_paused_frees"),
    Reason.STOPPED_INSTANCE: _e("reasons.stopped_instance", "reasons.stopped_instance_frees"),
    Reason.STOPPED_CLIENT: _e("reasons.stopped_client", "reasons.stopped_client_frees"),
    Reason.STOPPED_CAMPAIGN: _e("reasons.stopped_campaign", "reasons.stopped_campaign_frees"),
    Reason.STOPPED_SENDER: _e("reasons.stopped_sender", "reasons.resume_mailbox"),
    Reason.OUTSIDE_WINDOW: _e("reasons.outside_window", "reasons.next_opening"),
    Reason.WEEKEND: _e("reasons.weekend", "reasons.next_opening"),
    Reason.HOLIDAY: _e("reasons.holiday", "reasons.next_opening"),
    Reason.CLOSED_DAY: _e("reasons.closed_day", "reasons.next_opening"),
    Reason.DELAY_NOT_OVER: _e("reasons.delay_not_over", "reasons.by_itself"),
    Reason.MIN_GAP: _e("reasons.min_gap", "reasons.by_itself"),
    Reason.SENDER_DAY_CAP: _e("reasons.sender_day_cap", "reasons.tomorrow_or_raise"),
    Reason.SENDER_HOUR_CAP: _e("reasons.sender_hour_cap", "reasons.by_itself"),
    Reason.CAMPAIGN_DAY_CAP: _e("reasons.campaign_day_cap", "reasons.tomorrow_or_raise"),
    Reason.NEW_LEADS_CAP: _e("reasons.new_leads_cap", "reasons.tomorrow_or_raise"),
    Reason.CLIENT_HOUR_CAP: _e("reasons.client_hour_cap", "reasons.by_itself"),
    Reason.INSTANCE_MINUTE_CAP: _e("reasons.instance_minute_cap", "reasons.by_itself"),
    Reason.INSTANCE_HOUR_CAP: _e("reasons.instance_hour_cap", "reasons.by_itself"),
    Reason.DOMAIN_BULK_GATE: _e("reasons.domain_bulk_gate", "reasons.domain_bulk_gate_frees"),
    Reason.WARMUP_RESERVE: _e("reasons.warmup_reserve", "reasons.warmup_reserve_frees"),
    Reason.NO_SENDER: _e("reasons.no_sender", "reasons.no_sender_frees"),
    Reason.SENDER_CONNECTING: _e("reasons.sender_connecting", "reasons.sender_connecting_frees"),
    Reason.SENDER_PAUSED: _e("reasons.sender_paused", "reasons.resume_mailbox"),
    Reason.SENDER_AUTH_FAILED: _e("reasons.sender_auth_failed", "reasons.sender_auth_failed_frees"),
    Reason.PROVIDER_BACKOFF: _e("reasons.provider_backoff", "reasons.by_itself"),
    Reason.CIRCUIT_OPEN: _e("reasons.circuit_open", "reasons.circuit_open_frees"),
    Reason.REPLIED: _e("reasons.replied", "reasons.answer"),
    Reason.REPLIED_ELSEWHERE: _e("reasons.replied_elsewhere", "reasons.answer"),
    Reason.ANSWERED_ELSEWHERE: _e("reasons.answered_elsewhere", "reasons.answered_elsewhere_frees"),
    Reason.BOUNCED: _e("reasons.bounced", "reasons.correct_address"),
    Reason.UNSUBSCRIBED: _e("reasons.unsubscribed", "reasons.final"),
    Reason.SUPPRESSED_CLIENT: _e("reasons.suppressed_client", "reasons.suppressed_client_frees"),
    Reason.SUPPRESSED_GLOBAL: _e("reasons.suppressed_global", "reasons.suppressed_global_frees"),
    Reason.DUPLICATE_IN_OTHER_CAMPAIGN: _e("reasons.duplicate_in_other_campaign", "reasons.duplicate_in_other_campaign_frees"),
    Reason.NEEDS_ATTENTION_VARIABLE: _e("reasons.needs_attention_variable", "reasons.needs_attention_variable_frees"),
    Reason.NEEDS_ATTENTION_ADDRESS: _e("reasons.needs_attention_address", "reasons.correct_address"),
    Reason.LEAD_PAUSED: _e("reasons.lead_paused", "reasons.lead_paused_frees"),
    Reason.OUT_OF_OFFICE_UNTIL: _e("reasons.out_of_office_until", "reasons.out_of_office_until_frees"),
    Reason.DIRECTION_UNKNOWN: _e("reasons.direction_unknown", "reasons.direction_unknown_frees"),
    Reason.PREVIOUS_UNCERTAIN: _e("reasons.previous_uncertain", "reasons.previous_uncertain_frees"),
    Reason.WAITING_ACCEPTANCE: _e("reasons.waiting_acceptance", "reasons.by_itself"),
    Reason.INVITE_WEEK_CAP: _e("reasons.invite_week_cap", "reasons.by_itself"),
    Reason.NOTES_USED_UP: _e("reasons.notes_used_up", "reasons.by_itself"),
    Reason.WITHDRAWN_COOLDOWN: _e("reasons.withdrawn_cooldown", "reasons.by_itself"),
    Reason.ACCOUNT_NOT_OK: _e("reasons.account_not_ok", "reasons.account_not_ok_frees"),
    Reason.IN_FLIGHT: _e("reasons.in_flight", "reasons.by_itself"),
    Reason.SKIPPED: _e("reasons.skipped", "reasons.final"),
    Reason.RESENT: _e("reasons.resent", "reasons.resent_frees"),
    Reason.UNDONE: _e("reasons.undone", "reasons.undone_frees"),
    Reason.REFUSED: _e("reasons.refused", "reasons.refused_frees"),
}

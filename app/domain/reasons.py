"""Every reason a message waits or is not sent: its code, its sentence, and what would free it.

Codes are stored, counted and shown; the sentence is what a person reads. A code without a producer yet is a reserved name.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.words import Word


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
    return Explanation(text, frees)


_BY_ITSELF = "Nothing to do: it goes on by itself."

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.DRAFT: _e("The campaign has not been started.", "Start the campaign."),
    Reason.FINISHED: _e("The sequence is complete.", "Nothing: every message was sent."),
    Reason.CAMPAIGN_PAUSED: _e("The campaign is paused.", "Resume the campaign."),
    Reason.STOPPED_INSTANCE: _e("Everything is stopped on this installation.", "The operator releases the stop."),
    Reason.STOPPED_CLIENT: _e("Everything of this client is stopped.", "An admin releases the client's stop."),
    Reason.STOPPED_CAMPAIGN: _e("The campaign was stopped for good.", "Duplicate the campaign to start again."),
    Reason.STOPPED_SENDER: _e("This mailbox is stopped.", "Resume the mailbox."),
    Reason.OUTSIDE_WINDOW: _e("Outside the campaign's hours.", "It leaves at the next opening."),
    Reason.WEEKEND: _e("Closed at the weekend.", "It leaves at the next opening."),
    Reason.HOLIDAY: _e("A public holiday.", "It leaves at the next opening."),
    Reason.CLOSED_DAY: _e("A closed day of this campaign.", "It leaves at the next opening."),
    Reason.DELAY_NOT_OVER: _e("The delay of this step is not over.", _BY_ITSELF),
    Reason.MIN_GAP: _e("The mailbox keeps a gap between two messages.", _BY_ITSELF),
    Reason.SENDER_DAY_CAP: _e("The mailbox has reached its messages for today.", "It goes on tomorrow, or raise the cap."),
    Reason.SENDER_HOUR_CAP: _e("The mailbox has reached its messages for this hour.", _BY_ITSELF),
    Reason.CAMPAIGN_DAY_CAP: _e("The campaign has reached its messages for today.", "It goes on tomorrow, or raise the cap."),
    Reason.NEW_LEADS_CAP: _e("The campaign has reached its new leads for today.", "It goes on tomorrow, or raise the cap."),
    Reason.CLIENT_HOUR_CAP: _e("The client has reached its messages for this hour.", _BY_ITSELF),
    Reason.INSTANCE_MINUTE_CAP: _e("The installation has reached its messages for this minute.", _BY_ITSELF),
    Reason.INSTANCE_HOUR_CAP: _e("The installation has reached its messages for this hour.", _BY_ITSELF),
    Reason.DOMAIN_BULK_GATE: _e("This domain is near the provider's bulk limit.", "Mark the domain bulk-ready."),
    Reason.WARMUP_RESERVE: _e("The rest of today is reserved for warm-up.", "It goes on tomorrow."),
    Reason.NO_SENDER: _e("No mailbox is assigned.", "Choose mailboxes for the campaign; who had one that is gone gets another on the page People."),
    Reason.SENDER_CONNECTING: _e("The mailbox is not verified yet.", "Verify the mailbox."),
    Reason.SENDER_PAUSED: _e("The mailbox is paused.", "Resume the mailbox."),
    Reason.SENDER_AUTH_FAILED: _e("The mailbox cannot log in.", "Correct the mailbox's password and verify it."),
    Reason.PROVIDER_BACKOFF: _e("The mail server asked us to wait.", _BY_ITSELF),
    Reason.CIRCUIT_OPEN: _e("Five messages in a row got no answer from the mailbox's server, so it rests.", "Look at «Not sure», then resume the mailbox."),
    Reason.REPLIED: _e("The lead has answered.", "Answer in the inbox."),
    Reason.REPLIED_ELSEWHERE: _e("The lead has answered in another campaign.", "Answer in the inbox."),
    Reason.ANSWERED_ELSEWHERE: _e("Somebody of us wrote to this lead from outside.", "Resume the lead when it should go on."),
    Reason.BOUNCED: _e("The address does not exist.", "Correct the lead's address."),
    Reason.UNSUBSCRIBED: _e("The lead asked not to be written to.", "Nothing: this is final."),
    Reason.SUPPRESSED_CLIENT: _e("The address is on the do-not-contact list.", "An admin may remove it with a reason."),
    Reason.SUPPRESSED_GLOBAL: _e("The address is on this installation's do-not-contact list.", "Ask the operator."),
    Reason.DUPLICATE_IN_OTHER_CAMPAIGN: _e("The lead is active in another campaign.", "Tick «also if active elsewhere»."),
    Reason.NEEDS_ATTENTION_VARIABLE: _e("A value for the text is missing.", "Fill in the lead's field or add a fallback."),
    Reason.NEEDS_ATTENTION_ADDRESS: _e("The lead has no usable address.", "Correct the lead's address."),
    Reason.LEAD_PAUSED: _e("The lead is paused.", "Resume the lead."),
    Reason.OUT_OF_OFFICE_UNTIL: _e("The lead is out of office.", "It goes on after the return."),
    Reason.DIRECTION_UNKNOWN: _e("An answer came that may be this lead's.", "Decide in the inbox whose it is."),
    Reason.PREVIOUS_UNCERTAIN: _e("We are not sure the previous message arrived.", "Decide on the page «Not sure»."),
    Reason.WAITING_ACCEPTANCE: _e("The invitation is not accepted yet.", _BY_ITSELF),
    Reason.INVITE_WEEK_CAP: _e("The account has reached its invitations for this week.", _BY_ITSELF),
    Reason.NOTES_USED_UP: _e("The account has used up its notes.", _BY_ITSELF),
    Reason.WITHDRAWN_COOLDOWN: _e("The invitation was withdrawn a short time ago.", _BY_ITSELF),
    Reason.ACCOUNT_NOT_OK: _e("The LinkedIn account is not connected.", "Reconnect the account."),
    Reason.IN_FLIGHT: _e("The message is on its way.", _BY_ITSELF),
    Reason.SKIPPED: _e("A person skipped this.", "Nothing: this is final."),
    Reason.RESENT: _e("A person sent it again.", "Nothing: see the new message."),
    Reason.UNDONE: _e("A person took it back before it left.", "Write it again."),
    Reason.REFUSED: _e("The mail server refused it.", "See the server's words on the page «Failed»."),
}

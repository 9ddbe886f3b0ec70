"""All tables, so that one import fills the metadata."""

from app.models.activity import Activity, AuditEntry, AuditSeal
from app.models.campaign import Campaign, CampaignRehearsal, CampaignSender, Enrollment, Step
from app.models.client import Client, Setting, Switch
from app.models.conversation import Attachment, Blob, Conversation, InboundEvent, Message, Participant
from app.models.delivery import Delivery, DeliveryAttempt, KnownMessageId, Shard, UsageCounter
from app.models.instance import Instance, ProcessBeat, ProductClockRow, RememberedAnswer, ScheduledRun
from app.models.lead import ImportChange, ImportReject, Lead, LeadImport
from app.models.mailbox import FolderState, Mailbox, SeenUid, Sender
from app.models.outgoing import OutgoingCall, OutgoingEndpoint, OutgoingEvent, OutgoingSecret, OutgoingTry
from app.models.suppression import GlobalSuppression, Suppression
from app.models.user import (
    ApiKey,
    LoginAttempt,
    LoginThrottle,
    Membership,
    OneTimeLink,
    RecoveryCode,
    SecondFactor,
    User,
    UserSession,
)
from app.models.webhook import WebhookSecret, WebhookSource

__all__ = [
    "Activity", "ApiKey", "Attachment", "AuditEntry", "AuditSeal", "Blob", "Campaign", "CampaignRehearsal", "CampaignSender", "Client", "Conversation", "Delivery",
    "DeliveryAttempt", "Enrollment", "FolderState", "GlobalSuppression", "ImportChange", "ImportReject", "InboundEvent",
    "Instance", "KnownMessageId", "Lead", "LeadImport", "LoginAttempt", "LoginThrottle", "Mailbox", "Membership", "Message", "OneTimeLink",
    "OutgoingCall", "OutgoingEndpoint", "OutgoingEvent", "OutgoingSecret", "OutgoingTry", "Participant", "ProcessBeat", "ProductClockRow",
    "RecoveryCode", "RememberedAnswer", "ScheduledRun", "SecondFactor", "SeenUid", "Sender", "Setting",
    "Shard", "Step", "Suppression", "Switch", "UsageCounter", "User", "UserSession", "WebhookSecret", "WebhookSource",
]

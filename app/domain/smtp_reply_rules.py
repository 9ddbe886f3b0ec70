# ruff: noqa: E501  (a table: one habit of the field per line)
"""What servers answer, and what it means: one row per habit of the field, first match wins, each with its example.

Columns: reason | action | concerns | phases ("" any; "envelope" mail…reply) | code | enhanced | text | example.
`code` and `enhanced` are regular expressions matched from the start, `text` is searched without regard to case; an empty
cell matches everything. The examples are spoken by a server of the kind named or are typical of it; each is a test.
Texts are matched linearly: no nested repetition (a test feeds every row 100 kB).
"""

from __future__ import annotations

from typing import NamedTuple

from app.domain.smtp_reply import Action, Concern

RETRY, SLOW, PAUSE = Action.RETRY, Action.SLOW, Action.PAUSE_MAILBOX
FAIL, SUPPRESS = Action.FAIL, Action.FAIL_SUPPRESS
LEAD, SENDER, PROVIDER, NETWORK = Concern.RECIPIENT, Concern.SENDER, Concern.PROVIDER, Concern.NETWORK


class Rule(NamedTuple):
    reason: str
    action: Action
    concerns: Concern
    phases: str
    code: str
    enhanced: str
    text: str
    example: str
    retry_after: int | None = None


R = Rule
# fmt: off
FIRST = (
    R("recipient_restricted", FAIL, LEAD, "envelope", "5", r"5\.7\.(12[0-9]|13[0-6])$", "", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed"),
)
LOGIN = (
    R("app_password_needed", PAUSE, SENDER, "auth", "53", r"5\.7\.9", "", "534 5.7.9 Application-specific password required. Learn more at our help page"),
    R("app_password_needed", PAUSE, SENDER, "auth", "53", "", r"application[- ]specific password|app password|application password", "535 5.7.0 Please use an app password to log in from this program"),
    R("app_password_needed", PAUSE, SENDER, "auth", "5", "", r"generate.{0,20}third[- ]party|authorization code|authentication code|device password", "535 Login fail. Please enter your authorization code to login."),
    R("app_password_needed", PAUSE, SENDER, "auth", "5", "", r"NEOBHODIM parol|application password is required|parol prilozheniya", "535 5.7.0 NEOBHODIM parol prilozheniya; an application password is REQUIRED"),
    R("app_password_needed", PAUSE, SENDER, "auth", "5", "", r"InvalidSecondFactor", "534 5.7.9 InvalidSecondFactor g-12 - gsmtp"),
    R("basic_auth_disabled", PAUSE, SENDER, "", "5", r"5\.7\.30", "", "550 5.7.30 Basic authentication is not supported for Client Submission."),
    R("basic_auth_disabled", PAUSE, SENDER, "auth", "5", "", r"basic authentication is (disabled|not supported)", "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."),
    R("smtp_auth_disabled", PAUSE, SENDER, "auth", "5", "", r"SmtpClientAuthentication is disabled", "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."),
    R("smtp_auth_disabled", PAUSE, SENDER, "auth", "5", "", r"(smtp|pop|imap)[ /a-z]*(access|service)? ?(is |has been )?(disabled|not enabled|turned off)", "535 SMTP service is not enabled for this account"),
    R("login_blocked", PAUSE, SENDER, "auth", "5", r"5\.7\.14", "", "534 5.7.14 Please log in via your web browser and then try again."),
    R("login_blocked", PAUSE, SENDER, "auth", "5", "", r"log ?in (via|with|through) (your |a )?(web )?browser|WebLoginRequired", "534 5.7.14 WebLoginRequired"),
    R("login_blocked", PAUSE, SENDER, "auth", "5", "", r"account (is |has been )?(temporarily )?(locked|blocked)|user is locked", "535 5.7.139 Authentication unsuccessful, the account is locked"),
    R("login_blocked", PAUSE, SENDER, "auth", "5", "", r"security defaults policy|conditional access|did not pass the criteria", "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy."),
    R("login_blocked", PAUSE, SENDER, "auth", "5", "", r"suspicious (activity|login|sign)", "535 5.7.1 Login refused because of suspicious activity, check your account"),
    R("account_suspended", PAUSE, SENDER, "auth", "5", "", r"account (is |has been )?(currently )?(suspended|disabled|deactivated|inactive)", "535 5.7.8 The account has been suspended"),
    R("account_suspended", PAUSE, SENDER, "auth", "5", "", r"(no active|expired) (subscription|licen[cs]e)|subscription (has )?expired", "535 5.7.0 Login denied: your subscription has expired"),
    R("tls_required", PAUSE, SENDER, "", "5", r"5\.7\.0", r"must issue a STARTTLS", "530 5.7.0 Must issue a STARTTLS command first."),
    R("tls_required", PAUSE, SENDER, "", "5(30|38|23|54)", "", r"(encryption|starttls|tls|ssl) (is )?(required|needed)|requires (tls|ssl|encryption)", "538 5.7.11 Encryption required for requested authentication mechanism"),
    R("auth_mechanism", PAUSE, SENDER, "auth", "504", "", "", "504 5.5.4 Unrecognized authentication type"),
    R("auth_mechanism", PAUSE, SENDER, "auth", "50[0-3]", "", "", "503 5.5.1 Error: authentication not enabled"),
    R("auth_required", PAUSE, SENDER, "envelope", "5", "", r"authenti[a-z]+ (is )?required|must authenticate|not authenticated|relay.{0,30}without auth", "530 5.7.0 Authentication Required."),
    R("auth_required", PAUSE, SENDER, "envelope", "530", "", "", "530 5.7.57 Client not authenticated to send mail."),
    R("too_many_logins", SLOW, PROVIDER, "auth", "[45]", "", r"too many (login|auth|failed|invalid)|login attempts|rate limit", "454 4.7.0 Too many login attempts, please try again later.", 3600),
    R("login_temporarily_down", RETRY, PROVIDER, "auth", "4", "", "", "454 4.7.0 Temporary authentication failure"),
    R("login_temporarily_down", RETRY, PROVIDER, "auth", "535", "", r"(internal|temporary) (error|failure|problem)|try again later", "535 5.7.0 Internal error while checking the login, try again later", 900),
    R("wrong_password", PAUSE, SENDER, "auth", "5", r"5\.7\.8", "", "535 5.7.8 Username and Password not accepted. For more information, go to the help page"),
    R("wrong_password", PAUSE, SENDER, "auth", "5", r"5\.7\.3", "", "535 5.7.3 Authentication unsuccessful [AM0PR01CA0001.eurprd01.prod.example.com]"),
    R("wrong_password", PAUSE, SENDER, "auth", "5", "", r"(invalid|incorrect|bad|wrong).{0,30}(user|login|password|credential)", "535 Incorrect authentication data: invalid user or password"),
    R("wrong_password", PAUSE, SENDER, "auth", "5", "", r"authentication.{0,20}(fail|invalid|unsuccessful|error|incorrect)", "535 5.7.1 Authentication failed"),
    R("wrong_password", PAUSE, SENDER, "auth", "5", "", "", "535 login not recognised"),
)
LIMITS = (
    R("daily_limit", PAUSE, SENDER, "", "[45]", r"[45]\.4\.5", "", "550 5.4.5 Daily user sending limit exceeded. For more information on sending limits go to the help page", 86400),
    R("daily_limit", PAUSE, SENDER, "envelope", "[45]", "", r"daily.{0,40}(limit|quota|maximum)|(limit|quota|maximum).{0,40}(per|a|for) day|per 24 hours", "550 5.7.1 You have reached your daily sending limit", 86400),
    R("daily_limit", PAUSE, SENDER, "envelope", "[45]", r"5\.7\.233|5\.1\.90", "", "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients", 86400),
    R("daily_limit", PAUSE, SENDER, "envelope", "[45]", "", r"(exceed|reach)[a-z]* (the|your|its)? ?(maximum|max)?.{0,30}(messages|recipients|emails|mails).{0,20}(day|24)", "554 5.7.1 You have exceeded the maximum number of messages for the day", 86400),
    R("hourly_limit", SLOW, SENDER, "envelope", "[45]", "", r"(per|an|in the last|this) hour|hourly", "550 Domain has exceeded the max emails per hour (150/100 (150%)) allowed. Message discarded.", 3600),
    R("sending_blocked", PAUSE, SENDER, "envelope", "5", r"5\.1\.8$", r"bad (outbound )?sender|restricted", "501 5.1.8 Bad sender: your account is restricted from sending", 86400),
    R("sending_blocked", PAUSE, SENDER, "envelope", "5", r"5\.7\.50[0-9]", "", "550 5.7.501 Access denied, spam abuse detected from this account", 86400),
    R("sending_blocked", PAUSE, SENDER, "envelope", "5", "", r"\b(account|user|mailbox|you)\b.{0,40}(suspended|blocked|restricted|disabled|not allowed).{0,20}\bsend(ing)?\b", "550 5.7.1 Your account has been blocked from sending outgoing mail", 86400),
    R("sending_blocked", PAUSE, SENDER, "envelope", "5", "", r"(outgoing|outbound) (mail|spam|messages?|sending).{0,40}(blocked|suspended|disabled|detected)", "554 5.1.2 Outgoing mail from this mailbox has been suspended", 86400),
    R("sending_blocked", PAUSE, SENDER, "envelope", "5", "", r"unusual (sending|activity)", "550 5.4.6 Unusual sending activity detected. Please try after sometime", 86400),
    R("deferred_reputation", SLOW, PROVIDER, "", "4", r"4\.7\.(650|651|500)$", "", "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.", 3600),
    R("deferred_reputation", SLOW, PROVIDER, "", "4", "", r"reputation|RP-00[1-3]|temporarily (blocked|deferred|rejected).{0,60}(spam|policy)", "421 RP-001 The mail server IP connecting has exceeded the rate limit allowed; reputation", 3600),
    R("minute_limit", SLOW, SENDER, "", "[45]", "", r"submission rate|exceed.{0,30}(per|a) minute|too many messages.{0,20}minute", "432 4.3.2 Submission rate limit exceeded, too many messages a minute", 300),
    R("concurrent_connections", SLOW, PROVIDER, "", "[45]", "", r"(too many|concurrent|simultaneous|maximum number of|maximum allowed).{0,30}(connection|session)|connection limit", "432 4.3.2 Concurrent connections limit exceeded.", 300),
    R("concurrent_connections", SLOW, PROVIDER, "", "421", r"4\.7\.0", r"connections? (rate|from)", "421 4.7.0 Too high a rate of connections from your host", 600),
    R("too_fast", SLOW, PROVIDER, "", "4", r"4\.7\.28", "", "421 4.7.28 Our system has detected an unusual rate of unsolicited mail from your address", 3600),
    R("too_fast", SLOW, PROVIDER, "", "4", r"4\.2\.1", r"rate|too (quickly|many|fast)", "450 4.2.1 The user you are trying to contact is receiving mail too quickly.", 900),
    R("too_fast", SLOW, PROVIDER, "", "[45]", "", r"rate[- ]?limit|throttl|too (fast|quickly|much mail)|slow(ing)? down", "451 4.7.1 You are sending too fast, please slow down", 900),
    R("too_fast", SLOW, PROVIDER, "", "4", "", r"too many (messages|mails|emails|recipients|requests|rcpts|transactions)", "452 4.5.3 Too many recipients received from you", 1800),
    R("too_fast", SLOW, PROVIDER, "", "4", "", r"\[?(TSS?04|TS0[1-4])\]?|unexpected volume|user complaints", "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", 14400),
    R("too_fast", SLOW, PROVIDER, "", "4", "", r"(exceed|over|reach)[a-z]* .{0,30}(limit|quota|rate)", "450 4.7.1 Error: you have exceeded your sending limit", 1800),
)
SENDER_FAULTS = (
    R("sender_unauthenticated", PAUSE, SENDER, "", "[45]", r"[45]\.7\.(26|27|30|31|32|40|515)$", "", "550 5.7.26 Your email has been blocked because the sender is unauthenticated. SPF or DKIM must pass", 21600),
    R("sender_unauthenticated", PAUSE, SENDER, "envelope", "5", "", r"(spf|dkim|dmarc).{0,60}(fail|required|reject|not pass|did not|policy|invalid|missing)|(fail|not pass)[a-z]* .{0,40}(spf|dkim|dmarc)", "550 5.7.1 Message rejected due to DMARC policy of the sender's domain", 21600),
    R("sender_no_reverse_name", PAUSE, SENDER, "", "[45]", r"[45]\.7\.25$", "", "550 5.7.25 The IP address sending this message does not have a PTR record", 21600),
    R("sender_no_reverse_name", PAUSE, SENDER, "", "[45]", "", r"reverse (dns|host|hostname|name|lookup)|PTR record|rdns", "550 5.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]", 21600),
    R("sender_not_allowed", PAUSE, SENDER, "envelope", "5", r"5\.7\.60$|5\.2\.252$", "", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    R("sender_not_allowed", PAUSE, SENDER, "envelope", "5", "", r"(SendAsDenied|not allowed to send as|send as this|not owned by user|sender address rejected: not owned|from (header|address).{0,40}(match|verif|authori))", "553 5.7.1 Sender address rejected: not owned by user sales@acme.example"),
    R("sender_not_allowed", PAUSE, SENDER, "envelope", "5", "", r"relay(ing)? (not allowed|disallowed).{0,40}(sender|from)|sender.{0,30}(not|un)[- ]?(verified|authorized|authorised|permitted|allowed)", "553 5.7.1 Relaying disallowed as sender is not verified"),
    R("sender_domain_bad", PAUSE, SENDER, "", "[45]", r"[45]\.1\.[78]$", "", "553 5.1.8 Sender address rejected: domain of sender address does not exist", 21600),
    R("sender_domain_bad", PAUSE, SENDER, "", "[45]", "", r"sender (address )?(domain|rejected: domain)|domain of sender|sender verify failed|unroutable sender|sender rejected", "550 5.1.7 Sender verify failed", 21600),
    R("sender_listed", PAUSE, SENDER, "", "5", "", r"spamhaus|spamcop|barracuda|sorbs|uceprotect|invaluement|\b(rbl|dnsbl|zen)\b|block ?list|black ?list|listed (at|in|on|by)", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", 21600),
    R("sender_listed", SLOW, SENDER, "", "4", "", r"spamhaus|spamcop|barracuda|sorbs|\b(rbl|dnsbl)\b|block ?list|black ?list|listed (at|in|on|by)", "450 4.7.1 Client host [192.0.2.1] is listed at a blocklist, see the postmaster page", 14400),
    R("sender_reputation", PAUSE, SENDER, "", "5", "", r"\b(ip|domain|sender|network|host)\b.{0,40}(reputation|banned|blocked|denied)|reputation", "550 5.7.1 Access denied because of the poor reputation of your domain", 21600),
    R("sender_reputation", PAUSE, SENDER, "", "5", r"5\.7\.(606|60[7-9]|61\d|511|512)$", "", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]", 86400),
    R("sender_reputation", PAUSE, SENDER, "envelope", "5", "", r"likely unsolicited|suspected spam from|unsolicited (mail|messages|email)", "550 5.7.1 Our system has detected that this message is likely unsolicited mail.", 21600),
    R("tls_required", PAUSE, SENDER, "", "[45]", r"[45]\.7\.29$", "", "550 5.7.29 This message was not sent over a TLS connection"),
)
RECIPIENT = (
    R("domain_gone", FAIL, LEAD, "envelope", "5", r"5\.4\.4$|5\.4\.310$", "", "550 5.4.310 DNS domain customer.example does not exist"),
    R("domain_gone", SUPPRESS, LEAD, "envelope", "5", r"5\.1\.2$", "", "550 5.1.2 Host unknown: the domain of the recipient does not exist"),
    R("domain_gone", SUPPRESS, LEAD, "envelope", "5", "", r"(domain|host).{0,30}(not found|does not exist|doesn't exist|unknown|invalid|no mail|not accept)|nxdomain|null mx|no (valid )?mx", "556 5.1.10 Recipient address has a null MX"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", r"5\.1\.1$", "", "550 5.1.1 The email account that you tried to reach does not exist."),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", r"5\.1\.10$", "", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"(user|mailbox|account|recipient|address|alias|inbox).{0,40}(unknown|not (be )?found|does ?n[o']t exist|not exist|invalid|no longer)", "550 Requested action not taken: mailbox unknown"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"no such (user|mailbox|recipient|address|person|account|local)|unknown (user|mailbox|recipient|local|address|account)", "550 No such user here"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"(invalid|unrouteable|undeliverable|nonexistent|non-existent) (recipient|mailbox|address|user)", "550 Unrouteable address"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"does not have (an?|any) .{0,40}account|doesn't have an? .{0,40}account", "554 delivery error: This user doesn't have a mail account here (lead@customer.example)"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"(recipient|address|user).{0,20}rejected.{0,60}(unknown|not found|access denied|does not)|AddressNotFound|RecipientNotFound|not our customer|not listed in", "550 5.4.1 Recipient address rejected: Access denied. [AM0EUR01FT001.eop.example.com]"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"utilisateur inconnu|boite.{0,20}(inconnue|inexistante)|adresse.{0,20}(inconnue|invalide)", "550 5.5.0 Adresse du destinataire inconnue"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"benutzer unbekannt|empf.{0,4}nger.{0,20}(unbekannt|nicht gefunden)|postfach.{0,20}nicht", "550 Postfach existiert nicht"),
    R("unknown_user", SUPPRESS, LEAD, "envelope", "5", "", r"usuario (desconocido|no existe)|cuenta no existe|utente (sconosciuto|non trovato)|destinat[aá]rio.{0,20}(desconhecido|inexistente)", "550 Usuario desconocido"),
    R("account_gone", SUPPRESS, LEAD, "envelope", "5", r"5\.2\.1$", "", "550 5.2.1 The email account that you tried to reach is disabled."),
    R("account_gone", SUPPRESS, LEAD, "envelope", "5", r"5\.1\.6$", "", "551 5.1.6 The recipient has moved, no forwarding address"),
    R("account_gone", SUPPRESS, LEAD, "envelope", "5", "", r"(account|mailbox|user|address|recipient).{0,30}(disabled|inactive|deactivated|closed|suspended|expired|terminated|deleted|removed|blocked|unavailable|moved)", "554 5.7.1 delivery error: Sorry your message cannot be delivered. This mailbox is disabled (554.30)."),
    R("account_gone", SUPPRESS, LEAD, "envelope", "5", "", r"no longer (works|employed|with|active|in use|valid|available|accept)", "550 Jane no longer works here, please write to the office"),
    R("relay_denied", FAIL, LEAD, "rcpt mail", "5", "", r"relay(ing)? (access )?(denied|not (permitted|allowed)|prohibited)|unable to relay|not permitted to relay", "550 5.7.1 Unable to relay for lead@customer.example"),
    R("bad_address", FAIL, LEAD, "envelope", "5", r"5\.1\.3$", "", "501 5.1.3 Bad recipient address syntax"),
    R("bad_address", FAIL, LEAD, "rcpt", "5(01|53|13)", "", r"syntax|malformed|bad address|invalid character", "553 5.0.0 Malformed address"),
    R("mailbox_full", RETRY, LEAD, "envelope", "4", r"4\.2\.2$", "", "452 4.2.2 The recipient's inbox is out of storage space.", 14400),
    R("mailbox_full", FAIL, LEAD, "envelope", "5", r"5\.2\.2$", "", "552 5.2.2 The email account that you tried to reach is over quota."),
    R("mailbox_full", RETRY, LEAD, "envelope", "4", "", r"(mailbox|inbox|quota|storage).{0,30}(full|exceeded|over|out of)|over ?quota", "452 Mailbox full, requested action aborted", 14400),
    R("mailbox_full", FAIL, LEAD, "envelope", "5", "", r"(mailbox|inbox|quota|storage).{0,30}(full|exceeded|over)|over ?quota", "552 Requested mail action aborted: exceeded storage allocation, mailbox is full"),
    R("recipient_refuses", FAIL, LEAD, "envelope", "5", "", r"(blocked|refused|rejected|denied) by (the |this )?(recipient|user)|recipient.{0,30}(refus|not accepting|does not accept|doesn't want)|sender is blocked by", "550 5.7.1 The recipient does not accept messages from this sender"),
    R("recipient_restricted", FAIL, LEAD, "envelope", "5", "", r"(RESOLVER\.RST|restricted|only accept|authorized senders|not authorized to (send|mail)|permission to (send|mail))", "550 5.7.124 Sender not in allowed-senders list: this group has restricted who can write"),
    R("recipient_temporarily_unavailable", RETRY, LEAD, "envelope", "4", r"4\.2\.1$|4\.1\.1$", "", "450 4.2.1 The mailbox is temporarily not accepting mail"),
    R("recipient_temporarily_unavailable", RETRY, LEAD, "envelope", "4", "", r"(mailbox|recipient|user|address|account).{0,40}(unavailable|busy|locked|lookup|verification|temporar|deferred|unverified)", "450 4.1.1 Recipient address rejected: unverified address: Address verification in progress"),
)
CONTENT = (
    R("too_large", FAIL, SENDER, "envelope", "5", r"5\.3\.4$|5\.2\.3$", "", "552 5.3.4 Message size exceeds fixed maximum message size"),
    R("too_large", FAIL, SENDER, "envelope", "5", "", r"(message|mail|size).{0,30}(too (large|big|long)|exceed)|exceed.{0,30}size", "552 5.2.3 Your message exceeded the size limits"),
    R("content_attachment", FAIL, LEAD, "envelope", "5", r"5\.7\.0$", r"attach|potential security|blocked because its content", "552 5.7.0 This message was blocked because its content presents a potential security issue."),
    R("content_attachment", FAIL, LEAD, "envelope", "5", "", r"virus|malware|phish|executable|attachment|infected", "554 5.7.1 Message contains a virus or a forbidden attachment"),
    R("content_link", FAIL, LEAD, "envelope", "5", "", r"\b(url|uri|link|surbl|uribl|dbl)\b", "554 5.7.1 Message contains a listed URL (URIBL)"),
    R("content_spam", FAIL, LEAD, "envelope", "5", "", r"spam|junk|unsolicited|bulk", "554 5.7.1 Message classified as spam"),
    R("content_rejected", FAIL, LEAD, "envelope", "5", r"5\.6\.", "", "554 5.6.0 Message content cannot be converted"),
    R("content_rejected", FAIL, LEAD, "envelope", "5", "", r"(content|message|header|format|rfc).{0,30}(reject|refus|denied|not accept|complian|malformed|invalid|duplicate|missing|blocked)|(reject|refus|block)[a-z]* .{0,30}content", "550 5.7.1 Message rejected because of unacceptable content"),
    R("content_deferred", RETRY, LEAD, "reply data body", "4", "", r"spam|content|suspicious|scan|virus|score", "451 4.7.1 Message content looks suspicious, please try again later", 3600),
)
GREY_AND_BUSY = (
    R("greylisted", RETRY, LEAD, "envelope", "4", "", r"gr[ea]y[- ]?list|greylst|postgrey|gray ?listed", "450 4.2.0 Recipient address rejected: Greylisted, see the help page of postgrey", 600),
    R("greylisted", RETRY, LEAD, "rcpt mail", "4", r"4\.7\.1$", r"(try|come back|retry).{0,20}(again|later)|first (time|contact)|defer", "451 4.7.1 Please try again later (unknown sender, first contact)", 600),
    R("greylisted", RETRY, LEAD, "envelope", "4", "", r"not yet authorized to deliver|temporar.{0,20}(reject|refus).{0,40}(unknown|new)", "451 Temporarily refused, this new triplet is not yet authorized to deliver", 600),
    R("server_busy", RETRY, PROVIDER, "", "4", r"4\.3\.2$", "", "451 4.3.2 Please try again later, system not accepting network messages"),
    R("server_busy", RETRY, PROVIDER, "", "4", r"4\.3\.1$", "", "452 4.3.1 Insufficient system storage"),
    R("server_busy", RETRY, PROVIDER, "", "4", "", r"busy|overload|load (is )?too|resources|insufficient|out of memory|disk|high load", "421 Server busy, too high load, try again later"),
    R("server_closing", RETRY, PROVIDER, "", "421", "", r"(shut|clos|restart|maintenance|down|not available|timeout|time-out|idle|timed out|bye)", "421 4.4.2 mail.example.com Error: timeout exceeded, closing connection"),
    R("server_trouble", RETRY, PROVIDER, "", "4", r"4\.3\.0$|4\.3\.5$", "", "451 4.3.0 Error: queue file write error"),
    R("server_trouble", RETRY, PROVIDER, "", "4", r"4\.4\.[0-9]+$", "", "451 4.4.3 Temporary server error. Please try again later. PRX4"),
    R("server_trouble", RETRY, PROVIDER, "", "4", "", r"(internal|local|server|system|dns|database|lookup|processing|unexpected|temporary).{0,20}(error|failure|problem)|milter|backend", "451 Requested action aborted: local error in processing"),
    R("deferred_unnamed", RETRY, PROVIDER, "", "4", "", r"(try|retry).{0,20}(again|later)|defer|temporar", "450 Requested action not taken, please try again later"),
    R("mail_loop", FAIL, LEAD, "envelope", "5", r"5\.4\.6$|5\.4\.14$", "", "554 5.4.6 Too many hops, hop count exceeded: routing loop"),
    R("undeliverable_route", FAIL, LEAD, "envelope", "5", r"5\.4\.(1|300|316)$|5\.4\.7$", "", "550 5.4.7 Delivery expired at the next server"),
    R("server_unwilling", RETRY, PROVIDER, "connect banner ehlo starttls", "5", "", "", "554 5.3.2 No SMTP service here", 3600),
    R("server_unwilling", RETRY, PROVIDER, "envelope", "554", r"5\.3\.2$", "", "554 5.3.2 System is not accepting messages at this time, ask the operator", 3600),
    R("command_unknown", RETRY, PROVIDER, "", "50[0-4]", r"5\.5\.|^$", r"command|sequence|unrecognized|bad|syntax", "503 5.5.1 Bad sequence of commands"),
)
#: Where neither the text nor a known code said more: what the kind of code means at that point.
FALLBACK = (
    R("sender_refused", PAUSE, SENDER, "mail", "5", "", "", "550 you may not", 3600),
    R("policy", FAIL, LEAD, "rcpt data body permit dot reply", "5", r"5\.7\.", "", "550 5.7.1 Delivery not authorized"),
    R("recipient_refused", FAIL, LEAD, "rcpt", "5", "", "", "550 Requested action not taken"),
    R("refused", FAIL, LEAD, "data body permit dot reply", "5", "", "", "554 Transaction failed"),
    R("refused_at_end", RETRY, PROVIDER, "done", "5", "", "", "599 hm", 3600),
    R("deferred_policy", RETRY, PROVIDER, "", "4", r"4\.7\.", "", "450 4.7.10 policy", 900),
    R("server_closing", RETRY, PROVIDER, "", "421", "", "", "421 mail.example.com", 300),
    R("deferred", RETRY, PROVIDER, "", "4", "", "", "450 hm"),
)
RULES: tuple[Rule, ...] = (
    *FIRST, *LOGIN, *LIMITS, *SENDER_FAULTS, *GREY_AND_BUSY[:3], *RECIPIENT, *CONTENT, *GREY_AND_BUSY[3:], *FALLBACK
)
# fmt: on

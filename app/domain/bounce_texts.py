# ruff: noqa: E501 - tables of phrases read better unwrapped
"""What mail servers say, as data: texts and status codes that tell why a mail was not delivered."""

from __future__ import annotations

import re

from app.domain.verdicts import BounceClass as C

# Order matters: the first class whose text is found wins, so narrow causes stand before wide ones.
_TEXTS: tuple[tuple[C, str], ...] = (
    (C.GREYLIST, r"gr[ea]ylist|grey-list|try again in \d+ (?:sec|min)|postgrey|temporarily deferred.{0,40}first time"),
    (C.EXPIRED, r"retry time(?:out)? (?:not reached|exceeded)|delivery time expired|message expired|expired in (?:the )?queue|"
                r"been in the queue too long|delivery (?:attempts? )?(?:has |have )?(?:timed out|expired)|unable to deliver.{0,40}within|"
                r"maximum retries|could not be delivered (?:for|within) \d|giving up.{0,60}(?:days|hours)|#?4\.4\.7|queue ?lifetime|"
                r"retried.{0,40}(?:hours|days).{0,40}giv"),
    (C.FULL, r"mailbox (?:is )?(?:full|size limit exceeded|too full)|over ?quota|quota (?:is )?exceeded|exceed(?:s|ed|ing)? .{0,30}quota|"
             r"out ?of ?storage|inbox is full|insufficient (?:disk |system )?storage|mailbox.{0,30}(?:exceed|limit)|disk ?quota|storage.{0,20}exceeded|"
             r"postfach.{0,30}voll|speicherplatz.{0,30}(?:erschöpft|überschritten)|boîte.{0,40}pleine|bandeja.{0,20}llena|buzón.{0,30}lleno|"
             r"casella.{0,30}piena|caixa.{0,30}cheia|ящик.{0,40}переполнен|переполнен|容量.{0,10}超|已满|mailbox_full|mailfolder is full"),
    (C.TOO_BIG, r"message (?:size )?(?:is )?(?:too (?:large|big)|exceeds|size exceeds)|size limit|maximum (?:allowed )?message size|"
                r"too (?:large|big) (?:for|to)|nachricht.{0,20}zu groß|message trop (?:volumineux|gros)|mensaje.{0,30}demasiado grande"),
    (C.POLICY, r"\bspf\b|\bdkim\b|\bdmarc\b|unauthenticated (?:email|mail)|not authenticated|authentication (?:required|checks?|failure|failed)|"
               r"sender id|reverse (?:dns|lookup)|\bptr\b|rdns|starttls|must issue a starttls|tls (?:is )?required|does not accept (?:mail|messages) from|"
               r"not (?:permitted|allowed|authorized|authorised) to (?:send|relay from)|sender (?:address )?(?:rejected|denied|verify failed)|"
               r"only (?:authenticated|authorized|internal) senders|senders? (?:are|is) (?:not )?allowed|restricted.{0,30}(?:group|recipient|senders)|"
               r"requireauth|delivery not authorized|recipient.{0,40}only accept|rejected (?:by|due to) (?:local |security )?polic|violat\w+ .{0,30}policy"),
    (C.REPUTATION, r"spamhaus|barracuda|spamcop|\bsorbs\b|blocklist|block list|blacklist|black list|listed (?:at|in|by|on) .{0,60}(?:rbl|bl\b|zen|dnsbl)|\brbl\b|dnsbl|"
                   r"poor reputation|low reputation|bad reputation|reputation|ip (?:address )?(?:has been |is |was )?(?:blocked|banned|block)|"
                   r"client host.{0,60}blocked|blocked (?:using|by)|s3140|s3150|banned sending ip|suspicious (?:due|activity)|access denied.{0,30}banned|senderscore"),
    (C.RATE, r"too many (?:messages|emails|mails|connections|recipients|errors|requests)|rate[ -]?limit|throttl|exceed\w* .{0,40}(?:rate|per hour|per day|hourly|daily)|"
             r"receiving mail at a rate|sending limit|daily (?:user )?sending|try again later.{0,30}busy|quota for (?:sending|messages)|4\.7\.28|unusual rate"),
    (C.CONTENT, r"\bspam\b|unsolicited|\bvirus|malware|phish|message content|content (?:rejected|filter|policy)|bulk (?:mail|email)|looks like junk|"
                r"prohibited (?:attachment|content|file)|attachment.{0,30}(?:not allowed|blocked|rejected)|blocked for security|url.{0,30}(?:blocked|listed)|surbl|"
                r"5\.7\.509|high probability of|high spam score|undesired"),
    (C.DISABLED, r"(?:account|mailbox|user|address|recipient|benutzer|konto|compte|cuenta|inbox).{0,50}(?:disabled|deactivated|suspended|inactive|"
                 r"not active|is locked|expired|closed|no longer (?:available|active|in use|valid)|deaktiviert|gesperrt|désactivé|desactivad|terminated|discontinued)|"
                 r"disabled (?:mailbox|account|recipient|user)|inactive (?:account|user|mailbox|recipient)|account that you tried to reach is (?:disabled|inactive)|"
                 r"is a deactivated|заблокирован|отключ[её]н|not accepting (?:any )?(?:mail|messages|email)|has been (?:disabled|blocked) by (?:the )?admin"),
    (C.MOVED, r"has moved|user (?:has )?moved|new address|recipient (?:has )?moved|changed (?:my|his|her|their) address|please (?:use|try) .{0,20}@|551 "),
    (C.RELAY_DENIED, r"relay(?:ing)? (?:access )?(?:denied|not (?:permitted|allowed)|prohibited)|unable to relay|not (?:a )?local (?:host|domain)|"
                     r"we do not relay|relay not permitted|no relaying|isn't in my list of allowed rcpthosts|not our customer"),
    (C.NO_SUCH_DOMAIN, r"(?:host|domain)(?: or domain)?(?: name)? (?:not found|does ?n[o']t exist|unknown|couldn't be found)(?!.{0,20}try again)|"
                       r"no such (?:domain|host)|nxdomain|domain .{0,80}(?:couldn't be found|does not exist|doesn't exist|not found|could not be found)|"
                       r"unrout(?:e)?able (?:mail )?(?:domain|address)|couldn't find any host (?:named|by that name)|bad destination (?:system|domain)|"
                       r"all relevant mx records point to non-existent|unknown (?:mail )?(?:host|domain)|dns error.{0,60}domain name not found|"
                       r"does not accept mail \(nullmx\)|null ?mx|domain has no (?:valid )?(?:mx|mail)|no valid mail (?:host|exchanger)|домен.{0,30}не (?:найден|существует)"),
    (C.NO_SUCH_USER, r"user unknown|unknown (?:user|recipient|local|address|mailbox|account)|no such (?:user|recipient|mailbox|person|address|account|email|local)|"
                     r"(?:user|recipient|mailbox|address|account|email|e-mail|inbox|alias).{0,60}(?:not found|does ?n[o']t exist|doesn['’]t exist|unknown|not exist|not known|"
                     r"couldn['’]t be found|wasn['’]t found|could not be found|invalid|not valid|isn['’]t valid|unavailable or does not)|invalid (?:recipient|mailbox|user|address)|"
                     r"(?:this user|the user) doesn['’]t have|doesn['’]t have an? \S+ account|does not have an? .{0,30}(?:account|mailbox)|no mailbox (?:here )?(?:by|with) that name|"
                     r"not a (?:known|valid) (?:user|recipient|mailbox|address)|there is no (?:such )?(?:user|one|account|mailbox)|recipnotfound|resolver\.adr\.|recipient not found|"
                     r"mailbox unavailable|recipient address rejected(?!.{0,60}(?:policy|spf|grey|domain))|address rejected|no account by that name|nobody (?:here )?by that name|"
                     r"address (?:wasn't|was not) found|address not found|addressee unknown|not listed in|"
                     r"empfänger.{0,40}(?:unbekannt|nicht gefunden|existiert nicht)|adresse.{0,60}(?:nicht gefunden|unbekannt|existiert nicht|konnte nicht gefunden|introuvable|n['’]existe pas)|"
                     r"benutzer.{0,30}unbekannt|utilisateur inconnu|destinataire (?:inconnu|introuvable)|usuario (?:desconocido|no existe)|(?:dirección|destinatario).{0,40}no (?:existe|encontrad)|"
                     r"no se encontró.{0,40}(?:dirección|destinatario)|utente sconosciuto|indirizzo.{0,40}(?:inesistente|non (?:esiste|trovato))|casella.{0,20}inesistente|"
                     r"usuário (?:desconhecido|não existe)|endereço.{0,40}(?:não (?:foi )?encontrado|não existe)|onbekende gebruiker|(?:adres|gebruiker).{0,30}(?:niet gevonden|bestaat niet|onbekend)|"
                     r"(?:пользовател|адрес|получател|ящик)\w*.{0,40}не (?:найден|существует|обнаружен)|нет такого (?:пользователя|ящика|адреса)|неизвестн\w+ (?:адрес|пользоват|получат)|"
                     r"nieznany użytkownik|nie ma takiego|adres.{0,30}nie (?:istnieje|znalezion)|宛先.{0,20}見つかり|ユーザー.{0,10}(?:不明|存在しません)|存在しません|用户不存在|不存在|收件人.{0,20}(?:未知|不存在)|사용자.{0,10}없"),
    (C.NETWORK, r"connection (?:timed out|refused|reset|dropped|lost)|(?:could|can)(?: ?not|'t) connect|no route to host|network (?:is )?unreachable|timed? ?out|name service error|"
                r"dns (?:lookup|failure|error)|lookup.{0,20}fail|host not found|unable to (?:connect|resolve)|connect to .{0,80}(?:failed|timed)|not responding|lost connection|server (?:is )?unreachable|"
                r"unable to lookup|temporary lookup|no answer from host|service (?:is )?unavailable"),
    (C.SYSTEM, r"(?:local|internal|server|system|configuration|temporary) (?:system )?(?:error|problem|failure)|out of memory|mail loop|too many hops|loops? back to myself|"
               r"routing loop|mail for .{0,60} loops|read-only|cannot (?:create|open|write)|command (?:not|unknown)|syntax error|protocol error|try again later|resources temporarily"),
)
_COMPILED = tuple((cls, re.compile(text, re.IGNORECASE)) for cls, text in _TEXTS)

_STATUS: dict[str, C] = {
    "1.0": C.NO_SUCH_USER, "1.1": C.NO_SUCH_USER, "1.2": C.NO_SUCH_DOMAIN, "1.3": C.NO_SUCH_USER, "1.6": C.MOVED, "1.7": C.POLICY, "1.8": C.POLICY,
    "1.10": C.NO_SUCH_USER, "2.1": C.DISABLED, "2.2": C.FULL, "2.3": C.TOO_BIG, "3.1": C.FULL, "3.4": C.TOO_BIG, "3.2": C.SYSTEM,
    "4.1": C.NETWORK, "4.2": C.NETWORK, "4.3": C.NETWORK, "4.4": C.NETWORK, "4.5": C.RATE, "4.6": C.SYSTEM, "4.7": C.EXPIRED, "4.310": C.NETWORK,
    "4.312": C.NETWORK, "4.316": C.EXPIRED, "7.1": C.POLICY, "7.13": C.DISABLED, "7.17": C.DISABLED, "7.28": C.RATE, "7.508": C.RATE, "7.708": C.RATE,
    "7.511": C.REPUTATION, "7.606": C.REPUTATION, "7.705": C.RATE, "7.25": C.POLICY, "7.26": C.POLICY,
}
_STATUS_GROUP: dict[str, C] = {"3": C.SYSTEM, "4": C.NETWORK, "5": C.SYSTEM, "6": C.CONTENT, "7": C.POLICY}
# "550 5.4.1 Recipient address rejected: Access denied" is Exchange Online's way of saying that nobody has this address.
_NO_USER_AT_EXCHANGE = re.compile(r"5\.4\.1.{0,60}recipient address rejected|5\.1\.1\b.{0,200}resolver", re.IGNORECASE | re.DOTALL)


# How reports without RFC 3464 parts are recognised, and where in them the copy of our mail begins.
COPY = re.compile(
    r"(?im)^[-_=\s>*]*(?:below this line is a copy|this is a copy of (?:the|your) message|this is a copy of the message|original message|"
    r"the body of the message is|a copy of (?:the|your) (?:original )?message|original message headers|the original message was included|"
    r"message headers|included is a copy|ursprüngliche nachricht|die ursprüngliche nachricht|kopie der nachricht|message d'origine|mensaje original|"
    r"unsent message below|received: (?:from|by|\(qmail)|return-path:|текст (?:вашего )?письма|копия письма)")
DAEMON = re.compile(r"^(?:mailer-daemon|mail-daemon|mailerdaemon|postmaster|mail-delivery-(?:subsystem|system)|bounce[s]?(?:[-+].*)?|mdaemon|"
                     r"microsoftexchange[0-9a-f]{8,}|mailsupport|mail\.daemon|noreply-mail-delivery)$", re.IGNORECASE)
DAEMON_NAME = re.compile(r"mail delivery (?:sub)?system|mailer[- ]daemon|mail delivery service|system administrator|postmaster|mail administrator", re.IGNORECASE)
SUBJECT = re.compile(
    r"undeliver|delivery (?:status|failure|has failed|failed|report|error|notification|problem)|failure notice|returned mail|mail delivery failed|"
    r"message (?:undeliverable|not delivered|could not be delivered)|non[- ]?remis|nondeliverable|unzustellbar|nicht zustellbar|zustellung fehlgeschlagen|"
    r"mail delivery|returning message to sender|échec de (?:la )?remise|non distribuable|no se (?:pudo|puede) entregar|no entregado|error de entrega|"
    r"impossibile (?:recapitare|consegnare)|mancato recapito|não (?:foi )?entregue|falha na entrega|niet bestelbaar|onbestelbaar|недостав|не доставлено|"
    r"возвращ|не удалось доставить|niedostarcz|zwrot|nedoručiteln|kan inte levereras|kunne ikke leveres|toimittaminen epäonnistui|配信不能|配送失敗|未送达|退信|系统退信|반송|delivery incomplete",
    re.IGNORECASE)
BODY = re.compile(
    r"this is the qmail-send program|this message was created automatically by mail delivery software|this is the mail system at host|"
    r"delivery (?:to the following recipients?|has failed to these recipients|to the following recipient has been|failed)|"
    r"could(?: not|n['’]t) be delivered|wasn['’]t delivered|was not delivered|unable to deliver|undeliverable|failed permanently|"
    r"the following (?:address(?:es)?|recipients?|message).{0,40}(?:failed|had|could|permanent)|did not reach (?:the following|some)|had permanent fatal errors|"
    r"returned (?:to sender|because)|i'?m sorry to have to inform you|konnte nicht zugestellt|nicht zugestellt werden|n['’]a pas pu être (?:remis|distribu)|"
    r"no (?:se )?ha podido (?:ser )?entreg|no se pudo entregar|non (?:è stato possibile|può essere) (?:recapit|consegn)|não (?:pôde|foi) (?:ser )?entreg|"
    r"не (?:может быть|было|удалось) достав|не было доставлено|nie (?:mogła|została) (?:być )?dostarczon|kon niet worden (?:bezorgd|afgeleverd)|could not send your message|"
    r"配信できません|无法送达|无法投递|配送できません", re.IGNORECASE | re.DOTALL)
DELAY = re.compile(r"delayed|warning: (?:could not send|message)|will (?:be retried|keep trying|continue to try)|still being retried|not yet been delivered|"
                    r"delivery incomplete|temporary problem delivering|verzögert|retardée?|retrasad|do not need to resend|задерж", re.IGNORECASE)


def class_of(text: str, status: str | None) -> C:
    """Why it failed: text first (5.1.1 with "mailbox full" is full), then the enhanced status."""
    text = " ".join(text[:2000].split())
    if _NO_USER_AT_EXCHANGE.search(text):
        return C.NO_SUCH_USER
    # An explicit "no such user" outranks the words servers put around it; "policy" and "blocked" outrank a bare code.
    for cls, pattern in _COMPILED:
        if pattern.search(text):
            return cls
    if status and status.count(".") == 2:
        _, subject, detail = status.split(".")
        return _STATUS.get(f"{subject}.{detail}") or _STATUS_GROUP.get(subject) or C.UNKNOWN
    return C.UNKNOWN

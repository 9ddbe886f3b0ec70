# ruff: noqa: E501 - tables of phrases read better unwrapped
"""The words of automatic answers in the languages our mail meets, as data."""

from __future__ import annotations

import re

# Subjects of out-of-office notices; one line per language or family.
OUT_OF_OFFICE_SUBJECT = re.compile(
    r"out[ -]of[ -](?:the )?office|\booo\b|on (?:vacation|holiday|annual leave|leave|parental leave|maternity leave|paternity leave)|away from (?:the )?(?:office|my desk)|"
    r"vacation (?:reply|response|notice|message)|absence (?:notice|notification)|"
    r"abwesen|nicht (?:im büro|am platz|im haus)|außer haus|im urlaub|urlaubs|"
    r"absence du bureau|absent du bureau|réponse d['’]absence|message d['’]absence|absen(?:t|ce) (?:jusqu|du)|en congés?|"
    r"fuera de (?:la )?oficina|ausente|de vacaciones|ausencia|"
    r"fuori (?:sede|ufficio)|assente dall|assenza|in ferie|"
    r"fora d[oe] escritório|ausência|de férias|"
    r"afwezig|niet op kantoor|met vakantie|"
    r"frånvaro|på semester|inte på kontoret|"
    r"fraværende|fravær|ikke på kontoret|på ferie|ferieafvikling|"
    r"poissa|lomalla|"
    r"poza biurem|nieobecno|na urlopie|"
    r"mimo kancelář|nepřítomn|dovolen|neprítomn|mimo kancelári|"
    r"távollét|házon kívül|szabadságon|"
    r"în afara biroului|absent de la birou|în concediu|"
    r"вне офиса|нет на (?:месте|работе)|в отпуске|отсутств|"
    r"поза офісом|у відпустці|відсутн|в отпуска|извън офиса|"
    r"εκτός γραφείου|απουσία|σε άδεια|"
    r"ofis dışında|izindeyim|yıllık izin|"
    r"不在(?:通知|の(?:連絡|お知らせ)|自動|です)|休暇|外出(?:中|しています)|外出|不在办公室|休假|不在辦公室|"
    r"부재 ?중|휴가|מחוץ למשרד|חופשה|خارج المكتب|إجازة|"
    r"di luar kantor|sedang cuti|vắng mặt|nghỉ phép|ไม่อยู่ที่สำนักงาน|izvan ureda|odsot|"
    r"kontorist väljas|ārpus biroja|ne biure|atostog", re.IGNORECASE)

# Subjects that say "automatic answer" without saying why.
AUTOMATIC_SUBJECT = re.compile(
    r"^\W*(?:auto(?:matic|mated|mat(?:isch|ic))?[ -]?(?:reply|response|answer|svar|antwort|respond|repl)|automatische (?:antwort|beantwoording)|automatisch antwoord|"
    r"réponse automatique|respuesta autom[aá]tica|risposta automatica|resposta autom[aá]tica|automatiskt? svar|autosvar|automaattinen vastaus|"
    r"odpowiedź automatyczna|automatyczna odpowiedź|automatick[aá] odpov[eě]ď|automatická odpoveď|automatikus válasz|răspuns automat|"
    r"автоответ|автоматический ответ|автоматична відповідь|автоматичен отговор|αυτόματη απάντηση|otomatik (?:yanıt|cevap)|自動応答|自動返信|自动(?:回复|答复)|自動回覆|"
    r"자동 ?(?:응답|회신)|תשובה אוטומטית|מענה אוטומטי|رد تلقائي|balasan otomatis|trả lời tự động|ตอบกลับอัตโนมัติ|automatski odgovor|samodejni odgovor|automaatvastus|"
    r"automātiskā atbilde|automatinis atsakymas)", re.IGNORECASE)

ABSENCE_BODY = re.compile(
    r"(?:i am|i'm|i’m|i will be|i'll be|currently|is|we are) (?:currently |presently |now )?(?:out[ -]of[ -](?:the )?office|on (?:vacation|holiday|annual leave|leave|"
    r"a business trip|parental leave|maternity leave|paternity leave|sick leave)|away (?:from|until|on)|travelling|traveling|not in the office|unavailable until)|"
    r"limited access to (?:my )?e-?mail|(?:will|shall) (?:be back|return|respond) (?:on|to|upon|when)|upon my return|when i (?:return|am back|get back)|"
    r"(?:bin|befinde mich|sind).{0,60}(?:nicht im (?:büro|haus)|abwesend|im urlaub|außer haus|nicht erreichbar|in elternzeit)|(?:ab dem|am|ab).{0,30}wieder (?:erreichbar|im büro|für sie da)|"
    r"(?:suis|serai|sera) (?:actuellement )?(?:absente?|en congés?|en vacances|en déplacement)|de retour (?:le|au bureau)|"
    r"(?:estoy|estaré|me encuentro|estar[eé]) .{0,30}(?:fuera de (?:la )?oficina|de vacaciones|ausente)|"
    r"(?:sono|sarò|siamo) .{0,30}(?:fuori (?:ufficio|sede)|assente|in ferie)|(?:estou|estarei) .{0,30}(?:fora|ausente|de férias)|"
    r"(?:ben|ik ben) .{0,40}(?:afwezig|met vakantie|niet aanwezig|niet op kantoor)|(?:jag är|är) .{0,30}(?:på semester|inte på kontoret|föräldraledig|frånvarande)|"
    r"(?:jeg er|er) .{0,30}(?:på ferie|ikke på kontoret|fraværende)|olen .{0,30}(?:lomalla|poissa)|"
    r"(?:jestem|będę|przebywam) .{0,40}(?:na urlopie|nieobecn|poza biurem)|(?:jsem|budu|čerpám) .{0,40}(?:dovolen|nepřítom|mimo)|(?:som|budem|čerpám) .{0,40}(?:dovolenk|neprítom|mimo)|"
    r"szabadságon (?:vagyok|leszek)|nem vagyok .{0,20}irodában|sunt .{0,30}(?:în concediu|plecat)|"
    r"(?:нахожусь|буду|я) .{0,40}(?:в отпуске|отсутств|вне офиса|в командировке)|(?:перебуваю|буду) .{0,40}(?:відпустці|відсутн)|"
    r"βρίσκομαι .{0,30}(?:εκτός|σε άδεια)|(?:izindeyim|ofis dışındayım|yıllık izinde)|"
    r"(?:休暇|不在|外出).{0,20}(?:ております|です|いたし|中)|(?:休假|不在办公室|外出|出差)(?:中|期间|，|。)|(?:휴가|부재|출장) ?중", re.IGNORECASE | re.DOTALL)

LEFT_COMPANY = re.compile(
    r"(?:no longer|not) (?:work(?:s|ing)?|with|employed|at|part of) .{0,40}(?:company|here|at |for |with |employ|organi[sz]ation|firm|team|us\b)|"
    r"(?:i|he|she|they|who|employee|colleague|\b\w{1,30}) (?:have|has|had) left (?:the (?:company|organi[sz]ation|firm|business)|\w+ (?:gmbh|inc|ltd|ag|llc))|no longer (?:an employee|employed|with (?:the company|us))|"
    r"this (?:mailbox|e-?mail address|account|email) (?:is|has been) (?:no longer (?:monitored|in use|active|valid)|discontinued)|"
    r"nicht mehr (?:für|bei|im unternehmen|in unserem|in der firma|tätig|beschäftigt)|(?:das |unser )?unternehmen verlassen|aus(?:geschieden| dem unternehmen)|"
    r"ne (?:fait|travaille|fais) plus (?:partie|chez|dans|pour|au sein)|a quitté (?:la société|l['’]entreprise|notre)|"
    r"ya no (?:trabaja|trabajo|forma parte|pertenece|labora)|non (?:lavora|lavoro|fa|faccio) più|ha lasciato (?:l['’]azienda|la società)|"
    r"(?:não|já não) (?:trabalha|trabalho|faz|faço) (?:mais|parte)|não (?:trabalha|faz parte).{0,20}mais|deixou (?:a empresa|de trabalhar)|"
    r"(?:werkt|werk|is|ben) (?:niet (?:meer|langer)) (?:werkzaam|bij|in dienst|voor)|niet meer werkzaam|(?:arbetar|jobbar) (?:inte längre|ej längre)|har slutat|"
    r"(?:arbejder|jobber) ikke (?:længere|lenger)|er fratrådt|har sluttet|ei ole enää|ei työskentele enää|"
    r"nie pracuj[ęe]|już nie pracuje|nie jest już pracownikiem|(?:již|už) (?:u nás |v |ve )?.{0,20}nepracuj|nepracuje (?:již|už)|už nepracuj|már nem dolgozik|"
    r"nu mai (?:lucrează|lucrez|face parte)|больше не работа|уволил(?:ся|ась)|(?:уже|здесь) не работа|більше не працю|"
    r"artık (?:burada |şirketimizde )?çalışm(?:ıyor|amakta)|işten ayrıl|退職(?:いたし|しま|した)|已(?:经)?(?:离职|離職)|퇴사|δεν εργάζεται πλέον", re.IGNORECASE)

TICKET = re.compile(
    r"(?:ticket|case|request|support request|inquiry|enquiry|query|incident|reference)(?: (?:number|no\.?|id|nr\.?))?\s*[#:(\[]?\s*#?[\[(]?[A-Z]{0,6}[-#]?\d{3,}|"
    r"\[(?:ticket|case|request|support)[ #:-]*[\w-]*\d[\w-]*\]|\[#[\w-]*\d+[\w-]*\]|##- please type your reply above this line|"
    r"(?:we(?:'ve| have)?|i have) (?:successfully )?received your (?:request|ticket|inquiry|enquiry|message|e-?mail|support)|your (?:request|ticket|inquiry|case) (?:has been|was) (?:received|created|logged|opened|registered)|"
    r"thank(?:s| you) for (?:contacting|reaching out to|getting in touch|your (?:inquiry|enquiry|request))|a member of our team will|"
    r"(?:ihre|deine) (?:anfrage|nachricht|e-mail|mail).{0,40}(?:eingegangen|erhalten|bearbeit|registriert)|ticket(?:nummer|-nr|-id)|vielen dank für ihre (?:anfrage|nachricht|e-mail)|"
    r"(?:nous avons bien reçu|accusons réception)|votre (?:demande|message|ticket).{0,40}(?:enregistr|reçu|pris en compte)|"
    r"hemos recibido (?:su|tu)|su (?:solicitud|consulta|ticket).{0,40}(?:recibid|registrad|cread)|abbiamo ricevuto la (?:sua|tua)|la (?:sua|tua) richiesta.{0,30}(?:presa in carico|ricevuta)|"
    r"recebemos (?:a )?(?:sua|seu)|seu (?:chamado|pedido|ticket)|we hebben uw .{0,30}ontvangen|uw (?:aanvraag|vraag|ticket).{0,30}ontvangen|"
    r"ваш[аe]? (?:заявк|обращени|запрос|письмо).{0,40}(?:принят|зарегистр|получен)|zgłoszenie.{0,30}(?:przyjęte|zarejestrowan)|"
    r"お問い合わせ.{0,20}(?:ありがとう|受け付け|受付)|您的(?:请求|工单|邮件|来信).{0,12}(?:收到|受理)", re.IGNORECASE)
TICKET_SENDER = re.compile(r"^(?:support|help|helpdesk|service|servicedesk|tickets?|info|contact|kontakt|noreply|no-reply|donotreply|do-not-reply|customer\w*|hilfe)(?:[+.-].*)?$", re.IGNORECASE)

CHALLENGE = re.compile(
    r"(?:verify|confirm) (?:that )?(?:you(?:r| are)|this).{0,60}(?:human|sender|email|e-mail|message|delivery)|click .{0,60}(?:to (?:release|deliver|confirm|verify|have your|complete)).{0,60}(?:message|mail|delivery|sender)|"
    r"(?:message|e-?mail|mail) (?:is|has been|was) (?:held|quarantined|being held|on hold).{0,80}(?:confirm|verify|approv|authenticat)|"
    r"boxbe|spamarrest|spam arrest|mailblocks|bitbounce|uol antispam|anti-?spam uol|vade ?secure challenge|mailinblack|mail in black|"
    r"sender (?:verification|authentication|confirmation|address verification) (?:required|needed|request)|challenge[- ]response|"
    r"(?:bestätigen sie).{0,60}(?:absender|e-?mail|nachricht)|authentifi(?:er|cation).{0,40}(?:expéditeur|message|mail)|confirme.{0,30}(?:seu|su) (?:email|e-mail|mensaje|mensagem|correo)", re.IGNORECASE)
CHALLENGE_SUBJECT = re.compile(
    r"(?:please )?confirm (?:your )?(?:message|e-?mail|sender|request)|verify your (?:message|email)|(?:sender|message) verification|challenge|action required.{0,30}(?:deliver|verify)|"
    r"your (?:e-?mail|message) (?:requires|needs) (?:verification|confirmation)|mailinblack|boxbe|spam ?arrest|waiting list", re.IGNORECASE)

SUCCESSOR = re.compile(
    r"(?:contact|e-?mail|write to|reach|wenden sie sich(?: bitte)? an|kontaktieren sie|ansprechpartner|contacter|adresser|contacte|contactar|contattare|rivolgersi|contatar|"
    r"contact op(?:nemen)?|kontakta|kontakt|обращайтесь|обращаться|пишите|skontaktować|kontaktujte|iletişim|連絡|联系)[^@]{0,160}?"
    r"([A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6})", re.IGNORECASE | re.DOTALL)
NO_REPLY_TEXT = re.compile(
    r"this is an auto(?:matic|mated|matically|-?generated)|automatically generated|do not reply to this (?:e-?mail|message)|auto-?generated (?:e-?mail|message)|automatisch (?:generierte|erstellte|erzeugte)|"
    r"message (?:généré |envoyé )?automatique|mensaje automático|generato automaticamente|mensagem automática|automatisch (?:bericht|gegenereerd)|автоматическ\w+ (?:сообщени|уведомлени|ответ)|"
    r"wiadomość (?:została )?wygenerowana automatycznie|自動(?:送信|配信)|系统自动|자동으로 발송", re.IGNORECASE)

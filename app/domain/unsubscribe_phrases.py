
"""An answer that says nothing but "take me off": the whole visible text must be one of these wishes.

"Please stop by on Tuesday" or "I will not unsubscribe" are letters of a human; only exact wishes count."""

from __future__ import annotations

import re
import unicodedata

PHRASES_VERSION = 1
MAX_LENGTH = 160

_WISHES = """
stop | stop it | stop please | stopp | stoppen | stop mailing me | stop emailing me | stop sending me emails | stop contacting me |
stop writing to me | stop sending emails | stop spamming me | stop emails | stop all | stopall | optout | opt out |
opt me out | optout me | unsubscribe | unsubscribe me | unsubcribe | unsuscribe | unsubscribed | unsub | remove | remove me |
remove my email | remove my address | remove me from your list | remove me from the list | remove me from this list | remove this email |
remove me from your mailing list | remove me from the mailing list | remove me from your email list | remove me from your database |
remove my email from your list | remove my email address | remove my email from your database | delete me from your list |
take me off your list | take me off the list | take me off this list | take me off your mailing list | delete my email |
delete my data | do not contact me | do not contact me again | do not email me | do not email me again | do not write to me again |
do not contact | dont contact me | dont contact me again | dont email me | dont email me again | never contact me again |
i want to unsubscribe | i would like to unsubscribe | i wish to unsubscribe | no more emails | no more mails |
abmelden | abmeldung | abbestellen | austragen | bitte austragen | bitte abmelden | keine weiteren mails | keine weiteren emails |
keine mails mehr | keine emails mehr | bitte keine mails mehr | bitte keine weiteren emails | bitte keine weiteren mails |
nehmen sie mich aus dem verteiler | nehmen sie mich von der liste | bitte nehmen sie mich aus ihrem verteiler |
bitte nehmen sie mich aus dem verteiler | bitte streichen sie mich von der liste | bitte entfernen sie mich aus ihrem verteiler |
bitte loschen sie meine daten | bitte loschen sie mich aus dem verteiler | entfernen sie mich | entfernen | bitte entfernen |
kontaktieren sie mich nicht mehr | schreiben sie mir nicht mehr | bitte nicht mehr schreiben | bitte nicht mehr kontaktieren |
desabonner | desinscrire | desinscription | desabonnement | me desabonner | me desinscrire | desinscrivez moi | desabonnez moi |
veuillez me desinscrire | veuillez me desabonner | merci de me desinscrire | merci de me desabonner | retirez moi de votre liste |
merci de me retirer de votre liste | veuillez me retirer de votre liste | supprimez moi de votre liste | ne me contactez plus |
merci de ne plus me contacter | merci de ne plus m'ecrire | ne m'ecrivez plus | arretez | arret |
baja | darme de baja | dar de baja | deme de baja | dame de baja | denme de baja | quiero darme de baja | cancelar suscripcion |
cancelar la suscripcion | no me escriban mas | no me contacten mas | no me contacte mas | no me envien mas correos |
no quiero recibir mas correos | eliminenme de su lista | quitenme de la lista | borrenme | eliminar | remover |
cancellami | cancellatemi | disiscrivimi | disiscrivetemi | disiscrizione | disiscrivermi | annulla iscrizione | cancellazione |
rimuovimi | rimuovetemi | rimuovetemi dalla lista | cancellatemi dalla lista | vi prego di cancellarmi | non scrivetemi piu |
non contattatemi piu | basta | toglietemi dalla lista |
descadastrar | descadastre me | cancelar inscricao | cancelar assinatura | remover da lista | remova me | remova me da lista |
remova meu email | retire me da lista | me remova da lista | me tire da lista | sair | pare | parar | nao quero receber mais emails |
nao me contacte mais | nao me envie mais emails | anular subscricao |
afmelden | uitschrijven | schrijf me uit | meld me af | afmelding | graag uitschrijven | graag afmelden | verwijder mij |
verwijder mij uit de lijst | verwijder me | haal me van de lijst | stop met mailen | geen mails meer | uitschrijving | niet meer mailen |
avregistrera | avregistrera mig | avprenumerera | avsluta prenumeration | ta bort mig | ta bort mig fran listan | sluta maila mig |
sluta skicka mejl | avanmal mig | inga fler mejl |
afmeld | afmeld mig | frameld | fjern mig | fjern mig fra listen | slet mig | avmeld | avmeld meg | meld meg av | fjern meg |
fjern meg fra listen | stopp a sende epost | peruuta tilaus | poista minut | poista minut listalta | poista tilaus | lopettakaa |
wypisz | wypisz mnie | wypisac | rezygnuje | prosze o wypisanie | prosze mnie wypisac | wypiszcie mnie | usun mnie |
prosze usunac moj adres | prosze o usuniecie z listy | prosze o usuniecie z bazy | prosze nie pisac | prosze wiecej nie pisac |
odhlasit | odhlasit se | odhlaste me | odhlasit odber | vyradte me | vymazte me | odhlasit sa | odhlaste ma | uz mi nepiste |
leiratkozas | leiratkozom | iratkozzon le | toroljenek | kerem toroljenek | ne irjanak tobbet |
dezabonare | dezabonati ma | ma dezabonez | stergeti ma | scoateti ma din lista | nu ma mai contactati |
abonelikten cik | aboneligi iptal et | listeden cikar | beni listeden cikarin | listenizden cikarin | mail atmayin | cikar |
отписаться | отписка | отпишите меня | отпишите | отписать | удалите меня | удалите меня из рассылки | удалите мои адрес |
уберите меня из рассылки | уберите меня из списка | больше не пишите | больше мне не пишите | не пишите мне | не пишите мне больше |
прошу не писать | стоп | хватит | отказ от рассылки | прошу исключить меня из рассылки | исключите меня из рассылки |
відписатися | відпишіть мене | видаліть мене | не пишіть мені | більше не пишіть | відписка |
отпиши ме | отпишете ме | премахнете ме | не ми пишете | διαγραφη | διαγραψτε με | απεγγραφη | σταματηστε |
退订 | 退訂 | 取消订阅 | 取消訂閱 | 请不要再发 | 请勿再发 | 不要再发了 | 请不要再联系我 | 请将我移除 | 请删除我 |
配信停止 | 配信停止してください | 配信停止希望 | 配信を停止してください | 購読解除 | 登録解除 | 停止してください | 送らないでください |
もう送らないでください | 今後のメールは不要です | 수신거부 | 수신 거부 | 구독취소 | 구독 취소 | 그만 보내세요 | 삭제해 주세요 |
الغاء الاشتراك | الغ اشتراكي | توقف | احذفني | להסיר | הסר | הסירו אותי | נא להסיר | הסר אותי | תסירו אותי |
streichen sie mich aus ihrem verteiler | elimineme de su lista | cancellatemi dalla vostra lista | remova me da sua lista |
verwijder mij van uw lijst | prosze usunac mnie z listy | usunac mnie z listy | ta bort mig fran er lista | fjern mig fra jeres liste |
beni listenizden cikarin | कृपया मुझे अपनी सूची से हटा दें | मुझे अपनी सूची से हटा दें |
berhenti | berhenti berlangganan | hapus saya | huy dang ky | ngung gui | dung gui | unsubscribe karo | band karo
"""
_COURTESY = re.compile(
    r"\b(?:please|pls|plz|kindly|thanks|thank you|thank you very much|thx|cheers|bitte|danke|vielen dank|merci|s'il vous plait|svp|"
    r"por favor|gracias|muchas gracias|obrigado|obrigada|grazie|per favore|prego|alstublieft|aub|graag|bedankt|dank u|tack|tak|takk|"
    r"vanligen|venligst|vennligst|kiitos|ole hyva|prosze|dziekuje|prosim|dekuji|dakujem|koszonom|kerem|va rog|multumesc|lutfen|"
    r"tesekkurler|tesekkur ederim|пожалуиста|спасибо|будь ласка|дякую|моля|благодаря|παρακαλω|ευχαριστω|"
    r"immediately|now|asap|hi|hello|hey|hallo|bonjour|bonsoir|hola|ciao|ola|buongiorno|hej|guten tag|dear sir or madam|"
    r"sehr geehrte damen und herren|здравствуите|добрыи день|mit freundlichen grussen|viele grusse|mfg|lg|regards|best regards|"
    r"kind regards|best|cordialement|saludos|saluti|cordiali saluti|mvh|med vanlig halsning)\b")
_JUNK = re.compile(r"[^\w\s'-]+")


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("’", "'").replace("ß", "ss").replace("ł", "l").replace("Ł", "l").casefold())
    plain = "".join(ch for ch in plain if not unicodedata.combining(ch)).replace("ı", "i").replace("ø", "o").replace("đ", "d")
    plain = _JUNK.sub(" ", plain.replace("e-mail", "email").replace("-", " "))
    return " ".join(plain.replace("don't", "dont").split())


_KNOWN = frozenset(folded for wish in _WISHES.split("|") if (folded := _folded(wish)))


def is_unsubscribe_request(visible: str) -> bool:
    """Whether the text says only that no more mail is wanted. Courtesies, case, accents and marks do not matter."""
    if not visible or len(visible) > MAX_LENGTH:
        return False
    text = _folded(visible)
    if text in _KNOWN:
        return True
    bare = " ".join(_COURTESY.sub(" ", text).split())
    if bare in _KNOWN:
        return True
    # "Stop. Unsubscribe me!" is two wishes and nothing else
    clauses = [" ".join(_COURTESY.sub(" ", _folded(clause)).split()) for clause in re.split(r"[.!?,;\n。！،]+", visible)]
    said = [clause for clause in clauses if clause]
    return bool(said) and all(clause in _KNOWN for clause in said)


def without_name(visible: str, name: str) -> str:
    """The text without a last line that is only (part of) the sender's own name: "Stop\\nBob" says stop."""
    lines = [line for line in visible.splitlines() if line.strip()]
    words = set(_folded(name).split())
    if len(lines) > 1 and words and set(_folded(lines[-1]).split()) <= words:
        return "\n".join(lines[:-1])
    return visible

"""Which folder is which: by SPECIAL-USE (RFC 6154), else by its name in the languages of the common programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Role(StrEnum):
    INBOX = "inbox"
    SENT = "sent"
    JUNK = "junk"
    TRASH = "trash"
    DRAFTS = "drafts"
    ARCHIVE = "archive"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Folder:
    """`name` is decoded (as a person reads it); `wire_name` is how the server spells it; role None: none known."""

    name: str
    role: Role | None
    wire_name: str
    selectable: bool = True


def as_chosen(folders: list[Folder], sent: str = "", junk: str = "") -> list[Folder]:
    """A person's word comes before the server's: these names are Sent and Junk; "" or a name that is not there changes nothing."""
    for role, name in ((Role.SENT, sent), (Role.JUNK, junk)):
        if name and any(one.name == name and one.role is not Role.INBOX for one in folders):
            others = [replace(one, role=None) if one.role is role else one for one in folders]
            folders = [replace(one, role=role) if one.name == name else one for one in others]
    return folders


ATTRIBUTES: dict[str, Role] = {
    "\\sent": Role.SENT,
    "\\junk": Role.JUNK,
    "\\spam": Role.JUNK,
    "\\trash": Role.TRASH,
    "\\drafts": Role.DRAFTS,
    "\\archive": Role.ARCHIVE,
    "\\all": Role.ALL,
    "\\allmail": Role.ALL,
    "\\inbox": Role.INBOX,
}
# English, German, French, Spanish, Italian, Portuguese, Dutch, Danish, Norwegian, Swedish, Finnish, Polish, Czech,
# Slovak, Hungarian, Romanian, Croatian/Serbian, Slovenian, Russian, Ukrainian, Bulgarian, Greek, Turkish, Estonian,
# Latvian, Lithuanian, Hindi, Chinese (both), Japanese, Korean, Vietnamese, Thai, Indonesian, Arabic, Hebrew, Persian.
_NAMES: dict[Role, str] = {
    Role.SENT: (
        "sent|sent items|sent mail|sent messages|sent-mail|gesendet|gesendete objekte|gesendete elemente|"
        "gesendete nachrichten|postausgang gesendet|envoyés|envoyes|éléments envoyés|messages envoyés|"
        "courrier envoyé|objets envoyés|enviados|elementos enviados|mensajes enviados|correo enviado|inviata|"
        "posta inviata|inviati|messaggi inviati|itens enviados|mensagens enviadas|e-mails enviados|verzonden|"
        "verzonden items|verzonden berichten|sendt|sendte elementer|sendt post|sendte e-mails|skickat|skickade|"
        "skickade objekt|skickade meddelanden|lähetetyt|lähetetyt viestit|wysłane|elementy wysłane|odeslané|"
        "odeslaná pošta|odeslané zprávy|odoslané|odoslaná pošta|odoslané správy|elküldött|elküldött elemek|"
        "elküldött üzenetek|trimise|elemente trimise|mesaje trimise|poslano|poslane poruke|poslata pošta|poslato|"
        "poslani predmeti|poslana pošta|отправленные|отправленные элементы|исходящие отправленные|надіслані|"
        "надіслані елементи|відправлені|изпратени|изпратени елементи|απεσταλμένα|σταλμένα|gönderilmiş|"
        "gönderilmiş öğeler|gönderilen|gönderilenler|gönderilmiş postalar|saadetud|saadetud kirjad|nosūtītie|"
        "nosūtītās vēstules|išsiųsta|išsiųsti laiškai|išsiųsti|भेजे गए|भेजी गई|भेजा गया मेल|已发送|已发送邮件|已发邮件|"
        "已傳送|寄件備份|已寄出|已傳送郵件|送信済み|送信済みアイテム|送信済みメール|보낸편지함|보낸 편지함|보낸메일함|đã gửi|thư đã gửi|"
        "ส่งแล้ว|จดหมายที่ส่ง|รายการที่ถูกส่ง|terkirim|item terkirim|المرسل|العناصر المرسلة|البريد المرسل|נשלחו|פריטים שנשלחו|"
        "דואר יוצא נשלח|ارسال شده|ارسال‌شده"
    ),
    Role.JUNK: (
        "junk|junk e-mail|junk email|junk mail|spam|bulk|bulk mail|spamverdacht|unerwünscht|werbung|junk-e-mail|"
        "courrier indésirable|indésirables|pourriel|correo no deseado|no deseado|posta indesiderata|indesiderata|"
        "lixo eletrônico|lixo eletrónico|correio eletrônico não solicitado|ongewenst|ongewenste e-mail|uønsket|"
        "uønsket e-mail|uønsket mail|søppelpost|skräppost|skräp|roskaposti|roskapostit|wiadomości-śmieci|"
        "wiadomości śmieci|niechciane|nevyžádaná pošta|nevyžádané|nevyžiadaná pošta|nevyžiadané|levélszemét|"
        "kéretlen|mesaje nedorite|nedorite|neželjena pošta|neželjeno|neželena pošta|neželeno|спам|"
        "нежелательная почта|небажана пошта|небажані|нежелана поща|ανεπιθύμητα|ανεπιθύμητη αλληλογραφία|istenmeyen|"
        "istenmeyen posta|önemsiz|önemsiz posta|gereksiz|rämpspost|mēstules|nevēlamās|brukalas|nepageidaujami|"
        "šlamštas|जंक|स्पैम|垃圾邮件|垃圾郵件|垃圾箱|迷惑メール|迷惑メールフォルダ|스팸|스팸메일함|스팸함|정크메일|thư rác|ขยะ|สแปม|อีเมลขยะ|"
        "sampah|البريد العشوائي|بريد مزعج|البريد غير الهام|דואר זבל|ספאם|דואר זבל אלקטרוני|هرزنامه"
    ),
    Role.TRASH: (
        "trash|deleted|deleted items|deleted messages|bin|papierkorb|gelöscht|gelöschte elemente|gelöschte objekte|"
        "corbeille|éléments supprimés|papelera|eliminados|elementos eliminados|cestino|posta eliminata|lixeira|"
        "itens excluídos|lixo|prullenbak|verwijderde items|papirkurv|slettet post|slettede elementer|papperskorgen|"
        "borttaget|roskakori|poistetut|kosz|elementy usunięte|koš|odstraněná pošta|kôš|odstránená pošta|kuka|"
        "törölt elemek|coș de gunoi|elemente șterse|otpad|smeće|koš za smeti|удаленные|удалённые|корзина|кошик|"
        "видалені|кошче|изтрити|κάδος|διαγραμμένα|çöp|çöp kutusu|silinmiş|silinmiş öğeler|prügikast|atkritne|"
        "šiukšlinė|रद्दी|已删除|已删除邮件|刪除的郵件|垃圾桶|ゴミ箱|削除済みアイテム|휴지통|지운편지함|thùng rác|ถังขยะ|tempat sampah|"
        "المهملات|العناصر المحذوفة|אשפה|פריטים שנמחקו|زباله‌دان"
    ),
    Role.DRAFTS: (
        "drafts|draft|entwürfe|entwurf|brouillons|borradores|bozze|rascunhos|concepten|kladder|utkast|luonnokset|"
        "szkice|kopie robocze|wersje robocze|koncepty|rozepsané|rozpísané|piszkozatok|ciorne|skice|nacrti|osnutki|"
        "черновики|чернетки|чернови|πρόχειρα|taslaklar|mustandid|melnraksti|juodraščiai|ड्राफ़्ट|草稿|草稿箱|草稿匣|下書き|"
        "임시보관함|thư nháp|ร่างจดหมาย|draf|konsep|المسودات|טיוטות|پیش‌نویس‌ها"
    ),
    Role.ARCHIVE: (
        "archive|archives|archiv|archivio|archivo|arquivo|archief|arkiv|arkisto|archiwum|archív|archívum|arhiva|arhiv|"
        "архив|архів|αρχείο|arşiv|arhiiv|arhīvs|archyvas|归档|封存|アーカイブ|보관함|lưu trữ|arsip|الأرشيف|ארכיון"
    ),
    Role.ALL: "all mail|alle nachrichten|tous les messages|todos|tutti i messaggi|todos os e-mails|alle e-mail",
}
_BY_NAME: dict[str, Role] = {name: role for role, names in _NAMES.items() for name in names.split("|")}


def role_of(name: str, attributes: Iterable[str], delimiter: str = "/") -> Role | None:
    """The role told by the server, else the one its last name part has in some language; INBOX is INBOX."""
    if name.upper() == "INBOX":
        return Role.INBOX
    for attribute in attributes:
        role = ATTRIBUTES.get(attribute.lower())
        if role is not None:
            return role
    return None


def role_by_name(name: str, delimiter: str = "/") -> Role | None:
    """A guess by the folder's own name; used only for roles that the server named for no folder."""
    own = name.rsplit(delimiter, 1)[-1] if delimiter else name
    return _BY_NAME.get(own.strip().casefold())


def with_roles(rows: list[tuple[str, str, list[str], str]]) -> list[Folder]:
    """Folders from (decoded name, wire name, attributes, delimiter): each role but INBOX once, the server's word first."""
    folders: dict[str, Folder] = {}
    taken: set[Role] = set()
    told = {name: role_of(name, attributes) for name, _, attributes, _ in rows}
    taken.update(role for role in told.values() if role is not None)
    for name, wire_name, attributes, delimiter in sorted(rows, key=lambda row: row[0].count(row[3] or "/")):
        role = told[name]
        if role is None:
            guess = role_by_name(name, delimiter)
            if guess is not None and guess not in taken:
                taken.add(guess)
                role = guess
        flags = {attribute.lower() for attribute in attributes}
        selectable = not flags & {"\\noselect", "\\nonexistent"}
        folders[name] = Folder(name, role, wire_name, selectable)
    return [folders[name] for name, *_ in rows]

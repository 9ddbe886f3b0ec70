"""The demo as data: our client, its mailboxes, the people it writes to, its campaign. Everything is invented."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import Any

from sandbox.mail.store import Account
from sandbox.personas import Person, Persona

DEMO_ZONE = "Europe/Berlin"
DEMO_DOMAIN = "emberdemo.test"
HOST = "127.0.0.1"
WRONG_PASSWORD_ADDRESS = f"milo.hartmann@{DEMO_DOMAIN}"
MISSING_FIRST_NAMES = 2

OUR_PEOPLE = (
    ("ada.lindner", "Ada Lindner"),
    ("jonas.weber", "Jonas Weber"),
    ("mira.castell", "Mira Castell"),
    ("tom.okafor", "Tom Okafor"),
    ("lena.brandt", "Lena Brandt"),
    ("milo.hartmann", "Milo Hartmann"),
)

# company, domain, language, zone, five people
COMPANIES = (
    ("Northwind Tooling", "northwind-tooling.test", "en", "Europe/London",
     "Grace Whitfield, Oliver Marsh, Priya Nair, Callum Reid, Hannah Osborne"),
    ("Kessler Logistik", "kessler-logistik.test", "de", "Europe/Berlin",
     "Katrin Vogel, Stefan Kessler, Uwe Brandner, Anja Seidel, Felix Thoma"),
    ("Atelier Dumont", "atelier-dumont.test", "fr", "Europe/Paris",
     "Claire Dumont, Hugo Lemaire, Inès Fabre, Mathis Caron, Élodie Rey"),
    ("Sol Energia", "sol-energia.test", "es", "Europe/Madrid",
     "Lucía Ortega, Javier Molina, Carmen Vidal, Pablo Serrano, Núria Costa"),
    ("Fjord Analytics", "fjord-analytics.test", "sv", "Europe/Stockholm",
     "Astrid Lund, Erik Nyström, Maja Holm, Oskar Berg, Sigrid Dahl"),
    ("Brightwater Foods", "brightwater-foods.test", "en", "Europe/London",
     "Amelia Frost, Ben Hargreaves, Nadia Rahman, Simon Pike, Tessa Quinn"),
    ("Alpenmedia", "alpenmedia.test", "de", "Europe/Zurich",
     "Luca Imhof, Nora Steiner, Beat Zumthor, Sarah Gerber, David Amstutz"),
    ("Verde Costruzioni", "verde-costruzioni.test", "it", "Europe/Rome",
     "Giulia Ferri, Marco Bassi, Elena Conti, Paolo Riva, Sara Greco"),
    ("Polder Software", "polder-software.test", "nl", "Europe/Amsterdam",
     "Daan de Wit, Fleur Bakker, Joris Smit, Lotte Visser, Ruben Mulder"),
    ("Harbor Clinics", "harbor-clinics.test", "en", "America/New_York",
     "Maya Bennett, Ethan Cole, Olivia Grant, Noah Fisher, Zoe Parker"),
    ("Monsoon Textiles", "monsoon-textiles.test", "hi", "Asia/Kolkata",
     "Ananya Iyer, Rohan Mehta, Kavya Reddy, Arjun Sethi, Divya Menon"),
    ("Kapital Doradcy", "kapital-doradcy.test", "pl", "Europe/Warsaw",
     "Agata Nowak, Piotr Zielinski, Ewa Lis, Tomasz Wrona, Hanna Krol"),
)  # fmt: skip
TITLES = ("Head of Operations", "Managing Director", "Head of Sales", "IT Manager", "Marketing Lead")

# One persona per person in the order above: every dozen holds somebody who answers soon.
P = Persona
PERSONAS = (
    P.ANSWERS_SOON, P.NEVER_ANSWERS, P.ANSWERS_SOON, P.NEVER_ANSWERS, P.OUT_OF_OFFICE,
    P.HTML_ANSWER, P.BOUNCES, P.NEVER_ANSWERS, P.ASKS_TO_STOP, P.ANSWERS_LATE,
    P.ANSWERS_SOON, P.NEVER_ANSWERS, P.OTHER_ADDRESS, P.NEVER_ANSWERS, P.ANSWERS_LATE,
    P.BOTTOM_POSTING, P.NEVER_ANSWERS, P.ONE_CLICK, P.ANSWERS_SOON, P.NEVER_ANSWERS,
    P.OUT_OF_OFFICE, P.NEVER_ANSWERS, P.HOSTILE, P.ANSWERS_LATE, P.NEVER_ANSWERS,
    P.ATTACHMENT, P.ANSWERS_SOON, P.NEVER_ANSWERS, P.ANSWERS_LATE, P.MAILBOX_FULL,
    P.ASKS_TO_STOP, P.NEVER_ANSWERS, P.ANSWERS_SOON, P.NEVER_ANSWERS, P.OUT_OF_OFFICE,
    P.NEVER_ANSWERS, P.HTML_ANSWER, P.ANSWERS_LATE, P.NEVER_ANSWERS, P.ANSWERS_SOON,
    P.NEVER_ANSWERS, P.ASKS_TO_STOP, P.ANSWERS_LATE, P.NEVER_ANSWERS, P.BOUNCES,
    P.ANSWERS_SOON, P.FORGES_REPORTS, P.NEVER_ANSWERS, P.ONE_CLICK, P.ANSWERS_LATE,
    P.NEVER_ANSWERS, P.OTHER_ADDRESS, P.ANSWERS_SOON, P.NEVER_ANSWERS, P.HTML_ANSWER,
    P.BOTTOM_POSTING, P.NEVER_ANSWERS, P.ANSWERS_LATE, P.OUT_OF_OFFICE, P.ANSWERS_SOON,
)  # fmt: skip


def demo_people() -> list[Person]:
    """The sixty people who live in the world, in the order in which they are contacted."""
    people: list[Person] = []
    for company, domain, language, zone, names in COMPANIES:
        for name in names.split(", "):
            first, _, last = name.partition(" ")
            index = len(people)
            people.append(
                Person(
                    address=f"{_plain(first)}.{_plain(last)}@{domain}",
                    first_name=first,
                    last_name=last,
                    persona=PERSONAS[index],
                    company=company,
                    title=TITLES[index % len(TITLES)],
                    language=language,
                    timezone=zone,
                    other_address=f"{_plain(first)}{index}@private-post.test",
                )
            )
    return people


def _plain(name: str) -> str:
    letters = str.maketrans("éèëíóúñöäüåøß ", "eeeiounoauaos-")
    return name.lower().translate(letters)


def _password(address: str) -> str:
    """The world's passwords only open mailboxes of this machine's own sandbox; both sides derive the same one."""
    return hashlib.sha256(f"rehearsal:{address}".encode()).hexdigest()[:16]


def demo_accounts() -> list[Account]:
    """Every mailbox of the world: ours (with their providers' habits) and the people's."""
    accounts = [
        Account(f"{local}@{DEMO_DOMAIN}", _password(f"{local}@{DEMO_DOMAIN}"), name, copies_to_sent=index % 2 == 0)
        for index, (local, name) in enumerate(OUR_PEOPLE)
    ]
    for person in demo_people():
        name = person.writer.name
        accounts.append(Account(person.address, _password(person.address), name))
        if person.persona is Persona.OTHER_ADDRESS:
            accounts.append(Account(person.other_address, _password(person.other_address), name))
    return accounts


def demo_client() -> dict[str, Any]:
    return {
        "name": "Ember Demo",
        "slug": "ember-demo",
        "email": f"ada.lindner@{DEMO_DOMAIN}",
        "postal_address": "Ember Demo GmbH, Feuerweg 7, 10115 Berlin, Germany",
        "timezone": DEMO_ZONE,
        "country": "DE",
        "language": "en",
    }


def demo_mailboxes(smtp_port: int, imap_port: int) -> list[dict[str, Any]]:
    """Our client's mailboxes as the API takes them (without client_id); one of them has a wrong password on purpose."""
    mailboxes = []
    for local, name in OUR_PEOPLE:
        address = f"{local}@{DEMO_DOMAIN}"
        password = "not-the-password" if address == WRONG_PASSWORD_ADDRESS else _password(address)
        mailboxes.append(
            {
                "email": address,
                "display_name": name,
                "smtp_host": HOST,
                "smtp_port": smtp_port,
                "smtp_security": "none",
                "smtp_user": address,
                "smtp_password": password,
                "imap_host": HOST,
                "imap_port": imap_port,
                "imap_security": "none",
                "imap_user": address,
                "imap_password": password,
                "timezone": DEMO_ZONE,
                "daily_cap": 40,
                "min_gap_s": 120,
            }
        )
    return mailboxes


def demo_leads() -> list[dict[str, Any]]:
    """The people as leads (without client_id). Two of them lack a first name on purpose."""
    leads = []
    for index, person in enumerate(demo_people()):
        nameless = index in range(7, 7 + MISSING_FIRST_NAMES * 12, 12)
        leads.append(
            {
                "email": person.address,
                "first_name": "" if nameless else person.first_name,
                "last_name": person.last_name,
                "company": person.company,
                "title": person.title,
                "linkedin_url": "",
                "timezone": person.timezone,
                "language": person.language,
                "custom": {"team_size": str(12 + index * 7 % 80)} if index % 5 else {},
            }
        )
    return leads


def demo_csv() -> bytes:
    """The same people as a list in a file, as a spreadsheet writes it; the last two rows cannot be taken."""
    known = ("email", "first_name", "last_name", "company", "title", "timezone", "language")
    leads = demo_leads()
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(["E-mail", "First name", "Last name", "Company", "Job title", "Time zone", "Language", "Team size"])
    for lead in leads:
        writer.writerow([*(lead[name] for name in known), lead["custom"].get("team_size", "")])
    writer.writerow(["ask at the fair", "Robin", "Vale", "Vale & Sons", "", "", "", ""])
    writer.writerow([leads[0]["email"], leads[0]["first_name"], leads[0]["last_name"], "", "", "", "", ""])
    return out.getvalue().encode("utf-8-sig")


def demo_campaign(mailbox_ids: list[int] | None = None) -> dict[str, Any]:
    """The running campaign as the API takes it (without client_id): three steps, spintax, fallbacks, a way out."""
    first = (
        "{Hi|Hello} {{ first_name }},\n\n"
        "I {noticed|saw} that {{ company | default: 'your team' }} is growing, and wondered how you keep "
        "{follow-ups|conversations} from falling through the cracks with {{ team_size | default: 'so many' }} people.\n\n"
        "We built a small tool for exactly that. {Worth a look?|Would a ten minute call be worth it?}\n\n"
        "Best\n{{ sender_name }}\n\nIf this is not for you: {{ unsubscribe_url }}"
    )
    second = (
        "{Hi|Hello} {{ first_name }},\n\n{just bringing this up again|a short reminder}, in case it got lost. "
        "Teams like {{ company | default: 'yours' }} usually save two hours a week.\n\n"
        "Best\n{{ sender_name }}\n\nNo more of these: {{ unsubscribe_url }}"
    )
    third = (
        "{{ first_name }}, I will leave it at this. {If it becomes a topic, just answer here.|My door stays open.}\n\n"
        "{{ sender_name }}\n\nNo more of these: {{ unsubscribe_url }}"
    )
    return {
        "name": "Autumn introduction",
        "timezone": DEMO_ZONE,
        "windows": [{"weekday": day, "from": "09:00", "to": "17:00"} for day in range(5)],
        "closed_days": [],
        "weekend": {"mode": "closed", "percent": 0},
        "holidays_country": None,
        "mailbox_ids": mailbox_ids or [],
        "daily_cap": 150,
        "daily_new_leads": 40,
        "steps": [
            _step(0, "{Quick question|A question}, {{ first_name }}", first),
            _step(3, "", second),
            _step(3, "", third),
        ],
    }


def _step(after_days: int, subject: str, text: str) -> dict[str, Any]:
    delay = {"value": after_days, "unit": "working_days"}
    return {"channel": "email", "delay": delay, "subject": subject, "text": text, "html": ""}

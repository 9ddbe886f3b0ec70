"""What the people of the rehearsal write, in their own words. All of it is made up here."""

from __future__ import annotations

INTERESTED = (
    "Hi {first},\n\nthanks for reaching out. This is actually well timed, we are looking at this for next quarter. "
    "Could you send me a short overview and two slots next week?",
    "Hello {first},\n\nsounds interesting. How does it work with a team of about {team} people, and what does it cost?",
    "Thanks for the note. Happy to have a quick call, Thursday after 15:00 works for me. "
    "Please send an invite to this address.",
    "Hi,\n\nI had a look at your site after your mail. One question before we talk: can it run on our own servers?",
    "Good morning {first},\n\nyes, please tell me more. We tried something similar two years ago and it did not stick, "
    "so I would like to understand what is different.",
    "Interesting! I am in meetings until noon. Would tomorrow 10:30 be fine for a first conversation?",
)
NOT_NOW = (
    "Hi {first},\n\nthanks, but we are covered for this year. Feel free to come back in January.",
    "Thank you for thinking of us. Right now this is not a priority, our budget is fixed until spring.",
    "Hello,\n\nI am not the right person for this any more. My colleague Dana in operations decides about tools now.",
    "No need at the moment, sorry. Good luck with it!",
)
FOLLOW_UPS = (
    "Perfect, thank you. I will bring {team} questions, be prepared :)",
    "That answers it, thanks. Let us do Thursday then.",
    "Great, looking forward to it. Please also add our CTO, I will send you the address.",
    "Understood. Let me discuss this internally and come back to you by Friday.",
)
STOP = {
    "en": "Please remove me from your list.",
    "de": "Bitte streichen Sie mich aus Ihrem Verteiler.",
    "fr": "Merci de me retirer de votre liste.",
    "es": "Por favor, elimíneme de su lista.",
    "it": "Per favore, cancellatemi dalla vostra lista.",
    "pt": "Por favor, remova-me da sua lista.",
    "nl": "Graag uitschrijven, verwijder mij van uw lijst.",
    "pl": "Proszę usunąć mnie z listy.",
    "sv": "Ta bort mig från er lista, tack.",
    "da": "Fjern mig venligst fra jeres liste.",
    "tr": "Lütfen beni listenizden çıkarın.",
    "hi": "कृपया मुझे अपनी सूची से हटा दें।",
}
AWAY = {
    "en": ("Out of office: {subject}", "I am out of the office until {back} and will answer after my return."),
    "de": ("Abwesenheitsnotiz: {subject}", "Ich bin bis zum {back} nicht im Büro und antworte nach meiner Rückkehr."),
    "fr": ("Réponse automatique : {subject}", "Je suis absent jusqu'au {back} et vous répondrai à mon retour."),
    "es": ("Respuesta automática: {subject}", "Estoy fuera de la oficina hasta el {back}."),
    "sv": ("Autosvar: {subject}", "Jag är inte på kontoret förrän {back}."),
}
AWAY_DATES = {"en": "%B {day}, %Y", "de": "{day}.%m.%Y", "fr": "{day}/%m/%Y", "es": "{day}/%m/%Y", "sv": "%Y-%m-%d"}
SIGNATURES = (
    "Best,\n{name}",
    "Best regards\n{name}\n{title}, {company}",
    "Cheers, {own}",
    "-- \n{name}\n{company}\nPhone +49 30 5550{team}",
    "{own}\n\nSent from my phone",
)
ATTRIBUTIONS = {
    "en": "On {date}, {sender} wrote:",
    "de": "Am {date} schrieb {sender}:",
    "fr": "Le {date}, {sender} a écrit :",
    "es": "El {date}, {sender} escribió:",
    "sv": "Den {date} skrev {sender}:",
}
HOSTILE_HTML = """<html><head><meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/stolen">
<style>body{{position:fixed;top:0;left:0;width:100vw;height:100vh;z-index:99999;background:red}}</style>
<base href="http://127.0.0.1:9/"></head>
<body onload="alert('owned')"><script>document.title='owned';fetch('/api/me')</script>
<p>Hello {first}, nice product.</p>
<img src="x" onerror="alert(1)"><img src="http://127.0.0.1:9/pixel.gif?who={first}" width="1" height="1">
<svg><animate onbegin="alert(2)" attributeName="x" dur="1s"></animate><script>alert(3)</script></svg>
<a href="javascript:alert(4)">Our requirements</a> <a href="data:text/html,<script>alert(5)</script>">Price list</a>
<form action="/c/demo/settings" method="post">
<input name="password" placeholder="Your password"><button>OK</button></form>
<iframe src="javascript:alert(6)"></iframe><object data="x"></object><embed src="x">
<math><mtext></table></math><!--[if mso]><script>alert(7)</script><![endif]-->
<div style="background:url(javascript:alert(8));position:absolute">{{{{ 7*7 }}}} {{% raw %}} ${{7*7}}</div>
</body></html>"""
HOSTILE_TEXT = (
    "Hello {first}, nice product.\r\nBcc: everybody@victim.test\r\n"
    "{{{{ config }}}} <script>alert(1)</script> =cmd|' /C calc'!A0"
)

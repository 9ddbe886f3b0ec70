"""``gunicorn wsgi:app`` serves the pages, the API and the webhooks."""

from app import create_app

app = create_app()

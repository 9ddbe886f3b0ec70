"""The sending engine: an asyncio loop that talks to mail servers, one thread that talks to PostgreSQL."""

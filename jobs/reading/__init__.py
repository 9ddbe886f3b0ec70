"""The resident reading engine: one asyncio loop with the connections, one thread with the ledger."""

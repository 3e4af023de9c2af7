"""The library's calls, awaited, with asyncio and with trio: ``AsyncLauncher`` and what it gives."""

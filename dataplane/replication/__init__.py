"""The asyncio driver of the consensus core."""

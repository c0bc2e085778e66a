"""What every server of pages in here shares: who may talk to it."""

__all__: list[str] = []

"""Sessions that are started before they are needed."""

__all__: list[str] = []

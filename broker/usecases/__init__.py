"""The stories: the only place where the store meets the provider.

Each module is one story, readable from top to bottom; ``web`` and ``scheduler`` call them with a ``Context``.
"""

"""Who may come in: three doors, each an ASGI app of its own with its own routes and guards.

``asgi`` shows them on one screen; ``daemon`` opens them.
"""

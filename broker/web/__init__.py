"""Who may come in: three doors, each an ASGI app of its own with its own routes and guards.

``asgi`` shows the two for programs on one screen, ``browser`` the one for people; ``daemon`` opens them, and beside
them a socket that speaks no HTTP (``emulate.oidc_door``).
"""

"""Endpoints that speak what existing programs speak already, so that those get their token without a line changed.

One module for each dialect; put behind the app doors by ``asgi``. oidc-agent's clients come to a socket of their own,
``oidc_door``, which ``daemon`` opens.
"""

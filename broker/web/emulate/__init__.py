"""Endpoints that speak what existing programs speak already, so that those get their token without a line changed.

One module for each dialect; put behind the app doors by ``asgi``.
"""

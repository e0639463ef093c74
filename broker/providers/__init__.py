"""Whom we know: providers as data.

``presets/*.toml`` describe them, ``catalog`` reads and resolves them, ``discovery`` checks what a server says about
itself. No I/O but reading preset files; called by ``oauth`` and ``usecases``.
"""

"""What we remember: one SQLite database, sealed secrets, the only SQL.

Called by ``usecases`` and ``daemon`` through :class:`broker.store.store.Store`; the modules beside it are its parts:
``tables`` and ``engine`` (where rows live), ``seal``, ``keys`` and ``vault`` (how secrets are kept), ``files`` and
``migrate`` (how it begins), and one module per noun (``accounts``, ``refreshes``, ``providers``, ``logins``, ``apps``,
``audit``).
"""

"""How we ask: the only Authlib, the only JOSE and the only outgoing HTTP.

Called by the use cases; knows providers as data and nothing of the store. Every reply is hostile input until
``strict`` and the module that asked have judged it.
"""

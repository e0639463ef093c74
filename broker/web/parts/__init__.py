"""What the owner sees in the browser once signed in: one module for each page, with its part and the handler of it.

Put behind the browser door by ``browser``. A part is the inside of a page, drawn by ``pages.render``; whatever
providers and programs said of themselves is cleaned and escaped there. ``signed_in`` has the sign-in, and what all
pages share.
"""

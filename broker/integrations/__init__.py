"""Programs that others call: what git, kubectl, mail programs and the like say and want to hear.

Called by the verbs of ``cli`` that those programs start. Standard library only, and of Keyfob only ``broker.client``:
git starts one of them at every fetch, so nothing here may import what is slow to import.
"""

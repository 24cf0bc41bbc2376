"""Which plugins there are: found, read and compared, from their manifests alone.

Rooms, from the ground up: `python_versions`, `script` (the block in a one-file plugin), `validate` (one
manifest), `scan` (folders of them), `catalog` (what changed, and in what order to start). Nothing here
imports or runs a plugin's code, and nothing raises because of what a folder holds.
"""

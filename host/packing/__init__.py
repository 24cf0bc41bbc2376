"""Plugins as files to hand on: what goes into a pack, what may come out of one, and what is installed.

From a folder to a pack, and from a pack to the host's data folder. Never imports or runs a plugin's code.
"""

"""Plugins that ship with outboard: to learn from, to demonstrate with, and to break things with.

Each folder is a whole plugin with its manifest. Nothing here is imported by the host: it is a package
only so that an installed outboard finds the folders.
"""

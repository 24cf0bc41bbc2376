"""Files that people write, read against structs: every problem at once, each with its line.

Rooms, from the ground up: `problems` (what is wrong, and where), `lines` (where a key stands), `read`
(a TOML file against a struct), `model` (`outboard.toml`), `effective` (what holds for one plugin).
Nothing here writes a file, logs, or raises because of what a file holds.
"""

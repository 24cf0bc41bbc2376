"""What an author does before a plugin is anybody else's: begin one, check it, test it, try it.

Rooms: `scaffold` writes a new one, from `templates/`; `findings` is what is said of one, `source` what its
code shows, `examine` all of it; `trial` a host for plugins that are being worked on.
"""

"""The only room that touches child processes: starting, talking, stopping, explaining."""

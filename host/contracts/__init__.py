"""What is promised between callers and plugins, as JSON Schema: held, compared and shown.

Rooms, from the ground up: `weigh` (may this schema be held at all), `words` (what is wrong, as a person
says it), `checker` (a schema, compiled), `held` (the methods of a plugin); `fit` (does what one side
sends fit what the other takes), `compare` (two versions of a contract).
"""

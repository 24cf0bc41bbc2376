"""The daemon and its control socket: the same framing and messages as a plugin's, over a unix socket."""

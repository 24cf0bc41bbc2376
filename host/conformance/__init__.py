"""A plugin in any language, held to the protocol from outside: what a host would see of it, and a host that
is not always polite. Nothing in here knows what the plugin is about.
"""

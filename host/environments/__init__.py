"""A plugin's own dependencies: which environment they need, who builds it, and who waits for it."""

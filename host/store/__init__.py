"""What plugins keep: a key-value store each."""

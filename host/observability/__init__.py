"""What happens in a host, as data: events, counters, snapshots, and the log that is made from them."""

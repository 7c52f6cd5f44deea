"""The benchmark: the relay beside a naive one that stores nothing, on the same machine."""

"""The page: what the relay knows and can repair, for people."""

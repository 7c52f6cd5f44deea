"""The three listeners: hooks from CircleCI, ops for probes and Prometheus, admin for people."""

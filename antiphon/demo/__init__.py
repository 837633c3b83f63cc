"""The demo: a whole federation of operating-system processes on one machine, on real data."""

"""Whole federations in virtual time over a broker in memory: for tests and experiments."""

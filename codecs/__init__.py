"""Arrays to sealed frames and back, messages to bytes and back. Pure: no IO, no clock, no environment."""

"""The coordinator: takes in sealed updates, merges them as they come, publishes signed versions."""

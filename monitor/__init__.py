"""What people look at: plots of a run. It reads numbers only, never models or updates."""

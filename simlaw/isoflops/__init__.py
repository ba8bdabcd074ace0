"""The compute-optimal size, read off runs at equal compute or off a law."""

"""GPU code that nobody has timed."""

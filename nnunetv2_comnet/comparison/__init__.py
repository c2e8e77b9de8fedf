"""Compares models on the same cases."""

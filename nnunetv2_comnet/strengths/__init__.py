"""Correction strengths."""

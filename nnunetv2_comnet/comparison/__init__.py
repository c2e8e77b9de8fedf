"""Compares models on the same cases: paired differences with interval, test and effect size, ranks, and a verdict.

In the order of the data: sources.py finds each model's scores; pairing.py brings them onto the same cases; ranking.py
ranks the models; compare.py computes all differences into an outcome.py; verdict.py says what they support, and text.py
writes them. Neither torch nor nnunetv2.
"""

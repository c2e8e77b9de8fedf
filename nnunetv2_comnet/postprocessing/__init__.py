"""Rules for label maps and probabilities, the challenge winners' presets, and their choice on held-out cases.

In the order of use: volume.py, rules.py, probability_rules.py, rule_list.py,
presets.py, rule_file.py (JSON), stock.py (nnU-Net's pickle), predictions.py, families.py, measuring.py, fitting.py.
"""

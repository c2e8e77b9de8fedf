"""Choose how strongly the refiner corrects each region; "calibration" is the word for the reliability of probabilities.

In the order of the data: measure.py predicts the held-out cases and computes their Dice at every strength,
choose_strength.py chooses each region's from that table, and strengths_file.py reads what is stored beside the model.
"""

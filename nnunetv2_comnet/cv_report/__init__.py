"""The paper's experiment: held-out predictions of cross-validated models, its table and its figures.

In the order of the data: models.py and dataset.py open what the user names; data.py says what kind of data it is,
patients.py whether the folds keep a patient's cases together; held_out.py finds the predictions and proves that they
are held out; scoring.py and calibration.py measure them; summary.py brings the scores into tables beside paper.py's;
content.py holds all that is said; tables.py writes it; figures.py and slices.py draw it, with the canvas of plots.py;
report.py does all of this.
"""

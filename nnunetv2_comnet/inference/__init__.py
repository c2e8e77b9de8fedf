"""Predict: images of new patients to masks on the patients' own grids, through nnU-Net's predictor (method, ensemble).

In the order of the data: cases.py, model_folder.py find what there is; predictor.py makes a `Prediction` of
prediction.py in three stages: grids.py reads and preprocesses; fold_maps.py runs the folds by sliding_window.py and
mirroring.py; averaging.py joins them. images.py, outputs.py and records.py write it; folder.py does so
for a whole folder, its stages overlapping by stages.py.
"""

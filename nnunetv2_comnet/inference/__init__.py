"""Predict: images of new patients to masks on the patients' own grids, through nnU-Net's predictor (method, ensemble).

In the order of the data: cases.py, model_folder.py find what there is; predictor.py, running.py and decision.py make a
`Prediction` of prediction.py; images.py, outputs.py and records.py write it; folder.py does so for a whole folder.
"""

"""Predict: images of new patients to masks on the patients' own grids, through nnU-Net's predictor (method, ensemble).

In the order of the data: cases.py lists a folder's patients, model_folder.py finds the trained model, options.py holds
what is asked for, loading.py checks and loads the model. predictor.py makes one patient's prediction in three stages:
images.py reads and resampling.py preprocesses; fold_maps.py runs the folds, tile by tile with sliding_window.py, and
averaging.py joins them; prediction.py holds the result, with its post-processing. outputs.py writes its files and
records.py the tables. folder.py does so for a whole folder, overlapped by stages.py; merging.py joins the parts of a
shared run. nnunet_output.py keeps nnU-Net's own messages in the log.
"""

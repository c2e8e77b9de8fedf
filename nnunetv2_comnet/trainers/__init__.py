"""Train: the trainers that stock `nnUNetv2_train -tr NAME` finds through the folder `ext/`.

In the order of the data: batches.py (preprocessed cases, numbered batches), augmentation.py (light, and modality
dropout), device.py (precision, a CPU's settings), recipe.py (what every training sets up once), loop.py (its epochs and
checkpoints), mednext.py and segresnet.py (the trainers of stage 1 and of the baseline); for stage 2 frozen_stage.py
(which stage 1 model serves which case) and corrdiff.py (its trainers).
user_errors.py ends a stock command in one line.
"""

"""Train: the trainers that stock `nnUNetv2_train -tr NAME` finds through the folder `ext/`."""

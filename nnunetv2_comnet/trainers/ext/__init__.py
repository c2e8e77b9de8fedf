"""The folder that the environment variable nnUNet_extTrainer points at; see comnet_trainers.py."""

"""Does the refiner help? The experiment of `make refinement-study`: run.py runs it, settings.py has its numbers."""

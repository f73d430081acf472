"""What every training here has in common: order of samples, history, what is kept, going on after a kill, and `fit`."""

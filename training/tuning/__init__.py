"""Search for better hyperparameters: spaces, resumable studies, worker processes, MLflow's runs and pictures of them."""

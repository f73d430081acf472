"""Where models go when training is done: MLflow's registry and the signed bundle that serving loads."""

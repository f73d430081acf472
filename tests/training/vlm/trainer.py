"""The keyword arguments of a trainer on the CPU that every test here has."""

TRAINER = {
    "accelerator": "cpu",
    "devices": 1,
    "use_distributed_sampler": False,
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "deterministic": True,
}

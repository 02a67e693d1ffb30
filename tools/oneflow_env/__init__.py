"""Makes the environment that the backends `oneflow` and `onediff` run in: an older Python with OneFlow 0.9.0."""

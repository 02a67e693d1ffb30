"""What draws: skipstep's models in shared batches, and a dummy to test the service with."""

"""A cluster of replicas as discrete events: what `simulate.py` runs."""

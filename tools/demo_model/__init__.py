"""Training of the demo models; see `README.md` in this folder."""

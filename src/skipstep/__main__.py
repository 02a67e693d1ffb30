"""`python -m skipstep` is the `skipstep` command."""

from .cli import main

main()

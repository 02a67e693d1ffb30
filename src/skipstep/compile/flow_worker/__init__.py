"""What runs in the Python of a OneFlow environment: needs OneFlow and numpy, and neither torch nor skipstep.

The other side imports `wire` and `operators` from here, so that both have one protocol and one list of operators.
"""

from pathlib import Path

START = Path(__file__).with_name("start.py")

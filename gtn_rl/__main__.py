"""`python -m gtn_rl`, the same as `gtn-rl`."""

from gtn_rl.cli import main

if __name__ == "__main__":
    main()

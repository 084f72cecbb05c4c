"""`python -m wiseft.cli`: what torchrun starts in each process."""

from wiseft.cli import main

if __name__ == "__main__":
    main()

"""`python -m evofool`."""

from evofool.cli import main

if __name__ == "__main__":
    main()

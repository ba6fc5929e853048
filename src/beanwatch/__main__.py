"""`python -m beanwatch` is the `beanwatch` command."""

from beanwatch.cli import main

if __name__ == "__main__":
    main()

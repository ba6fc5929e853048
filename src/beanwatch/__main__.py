"""Run the `beanwatch` command when Python is started as `python -m beanwatch`."""

from beanwatch.cli import main

if __name__ == "__main__":
    main()

"""Run `python -m datasets.scenes`."""

from datasets.scenes.split import main

if __name__ == "__main__":
    raise SystemExit(main())

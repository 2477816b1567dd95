"""``python -m reproduction``: repeat a published result, and write its tables, figures and page anew."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from jumpstart.files.streams import command
from model.errors import ConfigError
from reproduction.run import run_method
from reproduction.study import Study, studies, study_named


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Train the runs of a study, and write its page.

    Args:
        arguments: The words of the command line; None: those of the process.

    Returns:
        0, or 2 after a mistake in the arguments, or 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        study = study_named(options.study)
        for method in options.methods or study.methods:
            study.grids(method, options.seeds)
        if not options.page:
            for method in options.methods or study.methods:
                run_method(study, method, options.output_dir, seeds=options.seeds, workers=options.workers)
        write_page(study)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"page: {study.folder / 'README.md'}\n")
    return 0


def write_page(study: Study) -> None:
    """Write the tables and the figures of a study from its committed results.

    Args:
        study: The study.
    """
    importlib.import_module(f"reproduction.{study.name}.report").write(study)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reproduction", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help=f"the result to repeat: {', '.join(studies())}")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="methods of the study; all by default")
    parser.add_argument("--seeds", help="seeds in place of those of the study, such as 0..2")
    parser.add_argument("--output_dir", default="runs/reproduction", help="folder of the sweeps (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="runs that are trained at once (default: one for each core)")
    parser.add_argument("--page", action="store_true", help="train nothing, and write the page from the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())

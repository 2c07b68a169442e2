"""A finished comparison as pages for `docs/`: English and Japanese Markdown with PNG figures, and one HTML page.

    python experiments/publish.py experiments/gpu/sizes.yaml --run-dir runs/sizes --out docs/studies

Writes OUT/{en,ja}/NAME.md and OUT/NAME.html from the directory of the comparison alone; neither its text nor its
weights need be there.
The other studies' scripts write such pages themselves, with `--figures png`.
"""

import argparse
from pathlib import Path

from study import run, write_reports

from tsumiki.compare import comparison_report, read_experiment, summarise
from tsumiki.doctor.messages import Language
from tsumiki.report import LANGUAGES, Report, write_html


def main() -> None:
    """Read, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    comparison = read_experiment(args.experiment, args.run_dir)
    summary = summarise(comparison)
    reports: dict[Language, Report] = {
        language: comparison_report(comparison, summary, language) for language in LANGUAGES
    }
    write_reports(comparison.name, args.out, "png", lambda language: reports[language])
    write_html(reports, args.out / f"{comparison.name}.html")


if __name__ == "__main__":
    run(main)

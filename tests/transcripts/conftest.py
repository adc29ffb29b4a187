"""The `--rewrite` option of golden transcripts."""


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write the transcripts of this run over the golden ones, to be reviewed as a diff",
    )

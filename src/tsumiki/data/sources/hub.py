"""Data sets of the Hugging Face hub, SimpleStories first of all."""

from collections.abc import Iterator
from typing import Any, Literal

from tsumiki.data.document import Document
from tsumiki.data.files import check_field, first_line, group_text, text_of
from tsumiki.data.sources.base import Source, SourceConfig, Split, check_fraction, group_of, split_documents
from tsumiki.errors import UserError
from tsumiki.spec import spec

KNOWN: dict[str, dict[str, str]] = {
    "SimpleStories/SimpleStories": {
        "field": "story",
        "group_field": "generation_id",
        "licence": "MIT (generated with gpt-4o-mini)",
    },
    "SimpleStories/SimpleStories-JA": {
        "field": "story",
        "group_field": "generation_id",
        "licence": "MIT (generated with gpt-4o-mini)",
    },
    "roneneldan/TinyStories": {
        "field": "text",
        "validation_split": "validation",
        "licence": "CDLA-Sharing-1.0 (generated with GPT-3.5 and GPT-4)",
    },
}
"""Options that need not be written for data sets whose form is known.

SimpleStories' test split was drawn row by row, while one completion of the generating model holds up to thirty
sibling stories; so siblings of most test stories are in the train split. Here validation is held out of the train
split completion by completion. `validation_split: test` measures on the official split instead.
"""


class HubSource(Source):
    """A data set as `datasets.load_dataset` gives it: from the hub, its cache, or a local directory of the same form.

    A document's group is the value of `group_field` without a final number (`3f2a-7` -> `3f2a`), or else its text.
    Validation is a fraction of the train split's groups, or with `validation_split` a split of the data set's own; then
    training leaves out every document whose group occurs in it. Either way siblings stand on one side only.
    """

    @spec
    class Config(SourceConfig):
        """Which data set, and which of its columns and splits.

        Args:
            dataset: its name on the hub, such as `SimpleStories/SimpleStories`, or a local directory.
            revision: branch, tag or commit; a commit makes a run repeatable.
            subset: the data set's configuration, where it has several.
            field: the column that holds the text; known for the data sets in `KNOWN`.
            group_field: the column whose equal values, a final number aside, must not be parted.
            validation_split: an official split to validate on; None holds out `validation_fraction` of the train split.
        """

        kind: Literal["hub"] = "hub"
        dataset: str
        revision: str | None = None
        subset: str | None = None
        field: str | None = None
        group_field: str | None = None
        train_split: str = "train"
        validation_split: str | None = None
        validation_fraction: float = 0.01

        def __post_init__(self) -> None:
            super().__post_init__()
            check_fraction(self.validation_fraction)
            if self.field is None and self.dataset not in KNOWN:
                raise ValueError(f"field is missing; name the column of '{self.dataset}' that holds the text.")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        known = KNOWN.get(config.dataset, {})
        self.config = config
        self.licence = config.licence or known.get("licence")
        self._field = config.field or known["field"]
        self._group_field = config.group_field or known.get("group_field")
        self._splits: dict[Split, str] = {"train": config.train_split}
        if validation := config.validation_split or known.get("validation_split"):
            self._splits["validation"] = validation

    def documents(self, split: Split) -> Iterator[Document]:
        """The documents of a split, in the data set's order."""
        own_validation = "validation" in self._splits
        fraction = self.config.validation_fraction
        return split_documents(self._rows, split, own_validation=own_validation, fraction=fraction)

    def _identify(self) -> dict[str, Any]:
        return {
            "kind": "hub",
            "dataset": self.config.dataset,
            "revision": self.config.revision,
            "subset": self.config.subset,
            "field": self._field,
            "group_field": self._group_field,
            "validation_fraction": self.config.validation_fraction,
            "splits": {split: self._load(split)._fingerprint for split in self._splits.values()},
        }

    def _rows(self, split: Split) -> Iterator[tuple[str, Document]]:
        name = self._splits[split]
        place = f"The data set '{self.config.dataset}', split '{name}',"
        columns = [self._field] if self._group_field is None else [self._field, self._group_field]
        data = self._load(name)
        for column in columns:
            check_field(column, data.column_names, place)
        row = 0
        for batch in data.select_columns(columns).iter(batch_size=1000):
            for text, *rest in zip(*(batch[column] for column in columns), strict=True):
                row += 1
                text = text_of(text, f"{place} row {row},")
                group = group_text(rest[0], f"{place} row {row},") if rest else None
                key = group or f"{name}:{row}"
                document = Document(text=text, language=self.language, source=self.name, key=key)
                yield (text if group is None else group_of(group)), document

    def _load(self, split: str) -> Any:
        try:
            import datasets
            from datasets.exceptions import DatasetsError
        except ImportError as error:
            raise UserError("Data sets of the hub need an extra; run: pip install 'tsumiki[data]'") from error
        config = self.config
        try:
            return datasets.load_dataset(config.dataset, config.subset, revision=config.revision, split=split)
        except (OSError, ValueError, DatasetsError) as error:
            raise UserError(
                f"The data set '{config.dataset}' (split '{split}') could not be loaded: {first_line(error)}. "
                "Check its name and the connection, or use a `local` source with files of your own, or a `sample` "
                "source, the stories that come with tsumiki."
            ) from error

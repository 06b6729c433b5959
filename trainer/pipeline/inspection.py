"""Inspect one file's rows as training would see them, a few at a time. Nothing is trained or refused here."""

from trainer.config.schema import DataSettings
from trainer.data.checks.answers import has_thoughts
from trainer.data.checks.deep_inspection import DeepInspection
from trainer.data.checks.report import InspectedRow, ReportLimits, RowReport, find_duplicates, spread
from trainer.data.formats import read_conversation
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.render import RowExamples
from trainer.data.rendering.source import ExampleSource, Renderer
from trainer.pipeline.rendering import FindOddities
from trainer.profiles.base import DataProfile
from trainer.protocol.data_report import DataReport, Depth
from trainer.protocol.job import Job

ROWS_AT_ONCE = 16  # so that the steps of the file in training, which the same thread renders, need not wait


class FileInspection:
    """The inspection of one file.

    Args:
        source: of the job's steps.
        render_whole: renders rows as they would be without a limit.
        find_oddities: says what is odd in how a row is rendered.
        profile: says what is wrong with rows.
        wanted: rows to be inspected, if not all are.
        deep: inspects every row for more.
    """

    def __init__(
        self,
        job: Job,
        rows: RowFile,
        source: ExampleSource,
        render_whole: Renderer,
        find_oddities: FindOddities,
        data: DataSettings,
        profile: DataProfile,
        *,
        wanted: int,
        deep: DeepInspection | None,
    ) -> None:
        self._job = job
        self._deep = deep
        self._fields = data.fields
        self._rows = rows
        self._source = source
        self._render_whole = render_whole
        self._find_oddities = find_oddities
        self._profile = profile
        self._depth: Depth = "deep" if deep else "standard"
        self._positions = spread(len(rows), len(rows) if deep else wanted)
        self.num_inspected = 0
        limits = ReportLimits(max_length=data.max_length, max_truncated_fraction=data.max_truncated_fraction)
        self._found = RowReport(limits)

    @property
    def num_wanted(self) -> int:
        return len(self._positions)

    @property
    def is_done(self) -> bool:
        return self.num_inspected == self.num_wanted

    def go_on(self) -> bool:
        """Inspect the next few rows; return whether there are more. To be called on the thread that renders.

        Raises:
            BadConfig: the chat template cannot be used.
            OSError: the file cannot be read.
        """
        positions = self._positions[self.num_inspected : self.num_inspected + ROWS_AT_ONCE]
        self._inspect(positions)
        self.num_inspected += len(positions)
        return not self.is_done

    def report(self) -> DataReport:
        """Return what was found."""
        positions = find_duplicates(self._rows.hashes)
        return self._found.report(
            self._job,
            validation=self._depth,
            duplicates=[self._rows.line_number(position) for position in positions],
            more=self._deep.findings().findings if self._deep else (),
        )

    def _inspect(self, positions: list[int]) -> None:
        try:
            examples = self._source.examples_at(positions).items()
            inspected = [self._inspected(*known) for known in zip(positions, examples, strict=True)]
        except BadRow as error:
            if len(positions) == 1:
                self._found.note_unrenderable(self._rows.line_number(positions[0]), error)
                return
            for position in positions:  # one by one, to tell which it is
                self._inspect([position])
            return
        for row in inspected:
            self._found.note(row)
            if self._deep:
                self._deep.note(row.line, row.conversation)

    def _inspected(self, position: int, known: tuple[int, RowExamples]) -> InspectedRow:
        line, examples = known
        conversation = read_conversation(self._rows.read(position), self._fields)
        whole = examples
        if len(examples) != 1 or examples[0].is_truncated:
            [whole] = self._render_whole([(line, conversation)])
        num_tokens = sum(len(example.token_ids) for example in whole)
        faults = self._profile.faults(conversation)
        odd = self._find_oddities(line, conversation)
        return InspectedRow(
            line,
            conversation,
            examples,
            num_tokens,
            faults,
            odd.hidden,
            odd.quotes_control_tokens,
            has_thoughts(self._profile.transform(conversation, line_number=line)),
        )

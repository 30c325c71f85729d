"""Which stages an ingest has to run: those asked for that the warehouse doesn't hold in this very form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from eigenhouse.ingest import console
from eigenhouse.ingest.fingerprints import fingerprint
from eigenhouse.ingest.sources.prompts import PromptSet
from eigenhouse.ingest.sources.source import Source
from eigenhouse.ingest.stages.declaration import Stage, declared
from eigenhouse.ingest.warehouse import store
from eigenhouse.ingest.warehouse.loads import Entry
from eigenhouse.options import Ingest

FORMAT = 1  # of what is staged: a run goes on from folders of its own format alone


@dataclass(frozen=True)
class Plan:
    """One checkpoint under these options: what each stage's rows would be noted as, and what is due."""

    options: Ingest
    source: Source
    weights: str
    prompts: PromptSet

    @cached_property
    def parameters(self) -> dict[str, str]:
        """What the scopes of stages name."""
        return {"prompt_set": self.prompts.name}

    @cached_property
    def wanted(self) -> list[Stage]:
        """Everything asked for; the gate is under all of it, since no number counts without."""
        switches = {each: getattr(self.options, each) for stage in declared().values() for each in stage.unless}
        return [stage for stage in declared().values() if not any(switches[each] for each in stage.unless)]

    def entry(self, stage: Stage) -> Entry:
        """As the warehouse would note the stage now."""
        values = {name: self._settled(name) for name in stage.options}
        settled = {name: value for name, value in values.items() if value is not None}
        mark = fingerprint(stage.name, stage.version, self.weights, settled)
        return Entry(mark, stage.version, self._beside["prompts" in stage.options])

    def mark(self, stage: Stage) -> str:
        """What its folder's name ends in, while it is staged."""
        entry, before = self.entry(stage), [self.mark(declared()[need]) for need in stage.reads]
        return _sha256([f"{FORMAT} {entry.fingerprint} {entry.config_sha256} {before}".encode()])[:16]

    def _settled(self, option: str) -> object:
        return self.prompts.name if option == "prompts" else self.options.settled(option)

    @cached_property
    def _beside(self) -> dict[bool, str]:
        """Hash of the config and code beside the weights; of the tokenizer too, for what is measured on text."""
        files = [*([self.source.config_file] if self.source.config_file else []), *self.source.quantization_files]
        if self.options.trust_remote_code:
            files += sorted(self.source.folder.glob("*.py"))
        contents = [path.read_bytes() for path in files]
        texts = [path.read_bytes() for path in self.source.tokenizer_files]
        return {False: _sha256(contents), True: _sha256([*contents, *texts])}

    def due(self) -> list[Stage]:
        """Refuses a name that is bound to other weights."""
        options = self.options
        with store.up_to_date(options.warehouse, wait_seconds=options.wait, say=console.say) as con:
            if con is None:
                return self.wanted
            bound = store.stack_ids(con, self.source.model_id)
            for model_id in bound:
                store.check_name(con, model_id, self.weights, options.force)
            held = [store.ingested(con, model_id)[1] for model_id in bound]
        if options.force or not held:
            return self.wanted
        return [stage for stage in self.wanted if self._is_due(stage, held)]

    def _is_due(self, stage: Stage, held: list[dict[str, Entry]]) -> bool:
        there = [entries.get(stage.entry(self.parameters)) for entries in held]
        if older := {entry.version for entry in there if entry and entry.version < stage.version}:
            console.say(
                f"{stage.name} is stale: its rows are of version {min(older)}, this program measures {stage.version}"
            )
        return not all(entry and entry.stands_for(self.entry(stage)) for entry in there)


def _sha256(contents: Iterable[bytes]) -> str:
    digests = (hashlib.sha256(content).digest() for content in contents)
    return hashlib.sha256(b"".join(digests)).hexdigest()

"""Advice and symptoms as text: a table for the terminal, Markdown, or JSON."""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from pytest_rayperf.advising.advice import Advice, Situation, plural, size
from pytest_rayperf.advising.symptoms import Symptom
from pytest_rayperf.reports import safe

Format = Literal["table", "markdown", "json"]
FORMATS: tuple[Format, ...] = ("table", "markdown", "json")

_FOLDER = "perf_tests/"


def render(
    situation: Situation | None,
    advice: Sequence[Advice],
    symptoms: Sequence[Symptom] | None,
    form: Format,
    width: int = 110,
) -> str:
    """All of it as one string that ends in a newline.

    Args:
        situation: what `advice` is on; None where there is no advice.
        advice: may be empty.
        symptoms: of a run; None where no run was given.
        form: how.
        width: columns of the terminal; matters for `table` only.
    """
    if form == "json":
        data = {
            "situation": None if situation is None else asdict(situation),
            "advice": [asdict(item) for item in advice],
            "symptoms": None if symptoms is None else [asdict(symptom) for symptom in symptoms],
        }
        return json.dumps(data, indent=2, allow_nan=False) + "\n"
    parts = []
    if situation is not None:
        lines = describe(situation)
        parts += [f"- {lines}".replace("\n", "\n- ") if form == "markdown" else lines]
        parts += [_advice_table(advice, form, width), _sources(advice)]
    if symptoms is not None:
        parts += [_symptom_table(symptoms, form, width), *_not_seen(symptoms, form)]
    # Markdown needs an empty line around a table; so do eyes.
    return "\n\n".join(part for part in parts if part) + "\n"


def describe(situation: Situation) -> str:
    """What the advice is on, in a line for each of cluster, data and model."""
    gpus = "no GPU"
    if situation.gpus:
        memory = situation.gpu_memory_bytes
        gpus = plural(situation.gpus, "GPU") + (f" of {size(memory)}" if memory else "")
    stored = "" if situation.disk_bytes is None else f", {size(situation.disk_bytes)} stored"
    decoded = "" if situation.row_bytes is None else f", {size(situation.row_bytes)} a row decoded"
    model = "not known" if situation.model_bytes is None else f"{size(situation.model_bytes)} of weights"
    assumed = " (as Ray divides memory by default)" if situation.memory_assumed else ""
    return (
        f"cluster: {plural(situation.cpus, 'CPU')}, {gpus}, "
        f"object store {size(situation.object_store_bytes)}, "
        f"workers' memory {size(situation.memory_bytes)}{assumed}\n"
        f"data: {situation.rows} rows{stored}{decoded}\n"
        f"model: {model}"
    )


def _numbers(advice: Sequence[Advice]) -> dict[str, int]:
    sources = dict.fromkeys(source for item in advice for source in item.sources)
    return {source: number for number, source in enumerate(sources, start=1)}


def _advice_table(advice: Sequence[Advice], form: Format, width: int) -> str:
    numbers = _numbers(advice)
    rows = [
        [item.setting, item.value, item.why, ", ".join(str(numbers[source]) for source in item.sources)]
        for item in advice
    ]
    # The longest setting, a pool, a header (which tabulate pads by 2); the reason gets what is left.
    why = max(30, width - 21 - 27 - 9 - 6)
    return _table(rows, ["setting", "start with", "why", "sources"], form, [21, 27, why, 9])


def _sources(advice: Sequence[Advice]) -> str:
    return "\n".join(
        ["sources of the rules:", *(f"{number}. {source}" for source, number in _numbers(advice).items())]
    )


def _symptom_table(symptoms: Sequence[Symptom], form: Format, width: int) -> str:
    seen = _by_name([s for s in symptoms if s.state == "seen"])
    if not seen:
        return "no symptom seen" if symptoms else "the run measured no benchmark"
    rows = []
    for name, found in seen.items():
        harmless = safe.markdown if form == "markdown" else safe.visible
        measured = [(harmless(_short(s)), harmless(s.measured)) for s in found]
        shown_by = f"shown by {_FOLDER}{found[0].shown_by}"
        if form == "markdown":
            told = "<br>".join(f"{benchmark}: {figures}" for benchmark, figures in measured)
            rows.append([name, told, found[0].cause, f"{found[0].remedy} ({shown_by})"])
        else:
            told = "\n".join(f"{benchmark}:\n{figures}" for benchmark, figures in measured)
            rows.append([name, told, found[0].cause, f"{found[0].remedy}\n{shown_by}"])
    # Longest words whole: a test's name with its variant, and a file of the catalogue.
    widths = [14, 32, max(20, width - 14 - 32 - 38 - 6), 38]
    return _table(rows, ["symptom", "measured", "cause", "remedy"], form, widths)


def _not_seen(symptoms: Sequence[Symptom], form: Format) -> list[str]:
    """The two kinds of other symptoms, kept apart: not seen, and nothing to see them by."""
    harmless = safe.markdown if form == "markdown" else safe.visible
    count = plural(len({(symptom.benchmark, symptom.variant) for symptom in symptoms}), "benchmark")
    healthy = _by_name([s for s in symptoms if s.state == "not seen"])
    unknown = _by_name([s for s in symptoms if s.state == "not measured"])
    lists = {
        "not seen:": [f"- {name} (in {len(found)} of {count})" for name, found in healthy.items()],
        "not measured:": [
            f"- {name} (in {len(found)} of {count}): "
            + "; ".join(dict.fromkeys(harmless(s.measured) for s in found))
            for name, found in unknown.items()
        ],
    }
    return ["\n".join([title, *lines]) for title, lines in lists.items() if lines]


def _by_name(symptoms: Sequence[Symptom]) -> dict[str, list[Symptom]]:
    groups: dict[str, list[Symptom]] = defaultdict(list)
    for symptom in symptoms:
        groups[symptom.symptom].append(symptom)
    return groups


def _short(symptom: Symptom) -> str:
    """The test, with the variant where its parameters do not name it."""
    test, variant = symptom.benchmark.rpartition("::")[2], symptom.variant
    return test if variant is None or variant in test.partition("[")[2] else f"{test} {variant}"


def _table(rows: list[list[str]], headers: list[str], form: Format, widths: list[int]) -> str:
    import tabulate

    if form == "markdown":
        cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return tabulate.tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    # tabulate's own wrapping makes a column wider than asked for where a line breaks at its last character.
    cells = [[_wrap(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return tabulate.tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True)


def _wrap(cell: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in cell.splitlines())

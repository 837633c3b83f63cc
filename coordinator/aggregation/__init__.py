"""How updates become a new version: independent choices, each a small frozen value in a file of its own.

Pure: numbers, arrays and ``now`` come in, values come out; no files, clock, sockets or randomness. `rule`
composes the choices, `presets` names the well-known compositions, `decision` says when, `plan` says how much
each update counts, `merge` moves a range of the model, `whole` does all of it on a model in memory.
``docs/aggregation.md`` has every formula, its source and the combinations that run.
"""

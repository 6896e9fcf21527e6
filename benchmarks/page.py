"""Write docs/performance.md: each section out of the figures of one benchmark, with what one should know about it."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks import (
    control,
    decode,
    embeds,
    faults,
    harmony,
    length,
    load,
    overhead,
    playground,
    precision,
    rendering,
    service,
    soak,
    steering,
    throughput,
    variations,
)
from benchmarks.markdown import table

OPENING = """# Performance

*For whoever asks how fast it is, and with how much memory.*

<!-- Written by `uv run python -m benchmarks.report`: change that, not this page. -->

`uv run python -m benchmarks.report` measures everything on this page and writes it. The last line of each part says
when it was measured, of which commit, and on what; other computers, and busy ones, differ. *tiny* is the bundled model
of 21 million parameters. *small's shape* is a model with random weights that is as large as Stanford's small one (768
wide, 12 blocks, 128 million parameters): it takes as long, though it makes no music."""


def of_service(figures: service.Figures, disk_megabytes: float, cuda_megabytes: float) -> str:
    """Write what a user waits for, and how much of a disk it takes, and of that for CUDA."""
    return f"""## What a user waits for

`benchmarks.service`: the service with tiny, requests of each kind sent one after another. How long a piece takes
depends on how many notes the model writes. The first start after installation takes 10 to 40 seconds more: numba then
compiles the kernels, and keeps them in `__pycache__`. Streams send each note as soon as it is decided, so the first
comes early.

{service.markdown(figures)}

The virtual environment, with the tools for development, takes {disk_megabytes:,.0f} MB of the disk,
{cuda_megabytes:,.0f} MB of it for GPUs."""


def of_throughput(figures: throughput.Figures, load: throughput.Load) -> str:
    """Write what batching gains."""
    return f"""## Many requests at once

`benchmarks.throughput`: the same {load.rounds * load.at_a_time} generates of {load.seconds:g} s, first one after
another, then {load.at_a_time} at a time. Then a generate of 2 s alone, and while five generates of
{load.long_seconds:g} s run: sequences join and leave the batch between events, so a short request does not wait for a
long one.

{throughput.markdown(figures)}"""


def of_playground(figures: playground.Figures) -> str:
    """Write what the page's user waits for."""
    return f"""## The page

`benchmarks.playground`: the page in Chromium, which draws without a GPU here, on the cores that the service has too.

{playground.markdown(figures)}"""


WITHOUT_BROWSER = """## The page

Not measured in this run: it needs Chromium."""


def of_rendering(figures: rendering.Figures) -> str:
    """Write what rendering takes."""
    return f"""## Rendering

`benchmarks.rendering`: generates one after another, alone and while a song is made into sound again and again, in a
process of low priority. A seed gives the same events each time, and is compared with itself: alone before and after.

{rendering.markdown(figures)}"""


WITHOUT_AUDIO = """## Rendering

Not measured in this run: it needs the audio libraries (`uv run --group audio`)."""


def of_load(loads: Sequence[load.Load]) -> str:
    """Write what many users wait for."""
    return f"""## Many users

`benchmarks.load`: generates of 5 s, embeds and streams, mixed 4 : 2 : 1 by locust, which checks every answer, for
{loads[0].seconds:.0f} s: one user after another, then many at a time, then the same with two workers on the same
cores. The last column is the processor time of all of the service for a request.

{load.markdown(loads)}"""


WITHOUT_LOAD = """## Many users

Not measured in this run: it needs locust (`uv run --group load`)."""


def of_overhead(figures: overhead.Figures) -> str:
    """Write what a request costs beside the model."""
    return f"""## What a request costs beside the model

`benchmarks.overhead`: generates of {overhead.LENGTH_SECONDS} s from a service with {overhead.N_WORKERS} workers of a
scripted model that costs nothing and answers with {overhead.N_EVENTS} events. All the rest is real, on the same cores
as the clients. The lower half is the processor time of the parts in the API process, called one by one: that process
is what limits a service whose models cost little.

{overhead.markdown(figures)}"""


def of_decoder(figures: decode.Figures) -> str:
    """Write how the decoder compares to the two yardsticks."""
    return f"""## The decoder

`benchmarks.decode`: the decoder against two yardsticks, on the same weights ({figures.model}), with {figures.threads}
threads. The *plain loop* is the reference's: it forwards the whole context for each of an event's three tokens. The
*cached loop* is what transformers offers: keys and values are kept, but for one sequence, with the whole output
matrix and a full sort. {decode.PIECE_EVENTS} events are about 20 s of music. From nothing the plain loop took
{figures.plain_ms:.0f} ms an event and the cached loop {figures.cached_ms:.1f} ms; past a full window of 341 events,
which the cached loop cannot pass, the plain loop took {figures.plain_ms_past_a_window:.0f} ms.

{decode.markdown(figures)}

*Rows* are sequences that are decoded together. *Of the bandwidth*: the least time in which the weights, keys and
values that a step needs could be read, at the {figures.bytes_per_second / 1e9:.1f} GB/s that a sum over half a
gigabyte reached here, as a share of the time the step took. *Parity*: by how many logits the plain loop at most
prefers its own choice to that of the decoder.

On a CPU float32 matrices are multiplied by PyTorch, and others by kernels of our own; with them a block is one compiled
call, for to call twenty operations takes PyTorch longer than to compute them. bfloat16 weights are computed as float16
there: few CPUs multiply bfloat16.

The decoder tries from time to time whether half or twice as many threads are faster, and keeps what is. Threads of
torch wait for each other by spinning, so where other programs keep a core busy, fewer threads can be several times as
fast."""


def of_peers(model: str, n_events: int, rows: str) -> str:
    """Write what other engines take beside ours; `rows`: their table."""
    return f"""## Other engines

`benchmarks.peers`: {n_events} events of {model}, decoded one after another or several together, by llama.cpp and
CTranslate2 in the same run. They choose each token from the whole vocabulary, the most probable one; constraints and
sampling, which our times hold, are not in theirs.

{rows}"""


WITHOUT_PEERS = """## Other engines

Not measured in this run: it needs llama.cpp and CTranslate2 (`uv run --group peers`), and a CPU."""


def of_length(figures: length.Figures, picture: str | None) -> str:
    """Write what an event costs as music goes on; `picture` is its address as seen from the page."""
    drawn = f"\n\n![Events a second over sequences, milliseconds an event over length]({picture})" if picture else ""
    return f"""## Long music

`benchmarks.length`: one sequence with eight notes a second. Once 341 events are there the window is full: it then
drops a quarter at once and fills its cache again, which is in these figures. So the cost of an event does not grow
without end.

{length.markdown(figures)}{drawn}"""


def of_precision(found: Mapping[str, float], windows: precision.WindowFigures, n_windows: int) -> str:
    """Write what precision and the window cost in quality."""
    return f"""## What precision costs

`benchmarks.precision`: the perplexity of tiny per event, on {n_windows} windows of held-out music a collection, token
by token through the decoder.

{precision.markdown_of_precisions(found)}

On a CPU weights are int8 by default, rounded by output; activations are rounded to 255 steps a row before they are
multiplied. Unless weights are float32, queries, keys and values are rounded to 255 steps a token and head, and what
values are weighted by to 255 for each 64 tokens. Everything else is float32. A sequence is then the same to the bit
whatever else is in the batch and however many threads there are. With float32 weights, and on GPUs, its last digits
may differ, and sometimes a choice with them. `--dtype float32` is exact. What int8 and int4 cost Stanford's models is
not measured.

The same events past a full window, with a window that hops by a quarter, as the service decodes, and with one that
moves by one event, which has to be computed again for each:

{precision.markdown_of_windows(windows)}"""


WITHOUT_CORPUS = """## What precision costs

Not measured in this run: it needs the held-out pieces of the training corpus (`benchmarks.report --corpus`)."""


def of_control(rows: Sequence[control.Row]) -> str:
    """Write what constraints cost."""
    return f"""## What control costs

`benchmarks.control`: a step, which is one event for every row, without constraints, and how many times as long it
takes with them. *Limits*: temperature, top_k, min_p, instruments, balance, pitch ranges, polyphony and density
together. Then each of what steers the music alone, and these four together.

{control.markdown(rows)}"""


def of_steering(groups: Sequence[Sequence[steering.Row]], n_seeds: int) -> str:
    """Write what steering does to the music."""
    tables = "\n\n".join(map(steering.markdown, groups))
    return f"""## What steering does

`benchmarks.steering`: {n_seeds} pieces of tiny for each row, by the same seeds: *free*, without steering; *moved
afterwards*, the same with every onset at the nearest line, and every pitch at the nearest one of the chord or the
scale; *steered*, as the service decodes it. After a prompt means its first five seconds. What a piece is held against
is the same in all rows of a setting.

*Steered by*: how far each choice was led away from the model's own, as the mean Kullback-Leibler divergence of an
event. *By the model alone*: what the notes cost under the model without steering, which is how much they surprise it;
only after a prompt, for music from nothing costs less the more it repeats itself. *Moved by*: milliseconds on the
grid, otherwise semitones. *Merged*: onsets on the grid, otherwise notes, that fell together with another. Medians of
the pieces, or means of what is in nats or percent; where there are three figures, quartiles.

{tables}"""


def of_harmony(rows: Sequence[harmony.Row], n_pieces: int) -> str:
    """Write whether new parts are in tune."""
    return f"""## Whether new parts are in tune

`benchmarks.harmony`: of {n_pieces} held-out pieces one part is given, and the others are written anew for
{harmony.END_SECONDS - harmony.START_SECONDS} s by the service's tasks, with chords that the given part implies, which
is the default, and without. *In tune*: notes whose pitch class the given part sounds at their onset. *In the piece's
chords*: in those that all parts as they were composed imply. *By chance*: the same with the given part, or the chords,
moved in time.

{harmony.markdown(rows)}"""


WITHOUT_HARMONY = """## Whether new parts are in tune

Not measured in this run: it needs the held-out pieces of the training corpus (`benchmarks.report --corpus`)."""


def of_variations(figures: Mapping[float, Sequence[variations.Figures]], n_pieces: int) -> str:
    """Write how alike variations are to their pieces."""
    return f"""## How alike variations are

`benchmarks.variations`: of {n_pieces} held-out pieces spans of 20 s, varied by tiny as task `variation` does, with seed
1. *Kept*: the share of the notes that stays. *Chroma*, *onsets*, *instruments*: how similar those of the span are to
the original's, 1 for the same.

{variations.markdown(figures)}"""


WITHOUT_VARIATIONS = """## How alike variations are

Not measured in this run: it needs the held-out pieces of the training corpus (`benchmarks.report --corpus`)."""


def of_embeds(figures: embeds.Figures) -> str:
    """Write what embedding a folder takes."""
    smallest, largest = figures.kilobytes
    return f"""## Embeddings

`benchmarks.embeds`: {figures.n_files} files of {smallest:.1f} to {largest:.1f} kB with tiny,
{figures.mean_tokens:.0f} tokens each on average. First through the service, then each part of the work alone. Batches
hardly help on a CPU, where one window keeps all cores busy.

{embeds.markdown(figures)}"""


def of_memory(rows: Iterable[tuple[str, int, int]], dtype: str) -> str:
    """Write how much memory one sequence takes: sizes, with bytes with weights of a precision, and of float32."""
    megabytes = ((size, f"{each / 1e6:.1f} MB", f"{exact / 1e6:.1f} MB") for size, each, exact in rows)
    return f"""## Memory of a sequence

Each sequence that is decoded keeps the keys and values of 1,024 tokens. There are as many as run at a time:
`--max-batch`, or what half of the free memory holds.

{table(("size", f"with {dtype} weights", "with float32 weights"), megabytes)}"""


def of_faults(figures: faults.Figures, n_clients: int) -> str:
    """Write what happens when clients and workers fail."""
    return f"""## When things go wrong

`benchmarks.faults`: {n_clients} clients send requests of all tasks; a third is malformed, a tenth goes away half-way,
and the worker process is killed while they do. A 503 is sent again, as its `Retry-After` asks, until there is a 200.

{faults.markdown(figures)}"""


def of_soak(samples: Sequence[soak.Sample], n_clients: int) -> str:
    """Write how memory develops under load."""
    least, most = soak.strayed(samples)
    return f"""## Under full load

`benchmarks.soak`: {n_clients} clients send mixed requests without a pause. Memory stayed within {least:+.1%} and
{most:+.1%} of the first sample.

{soak.markdown(samples)}"""

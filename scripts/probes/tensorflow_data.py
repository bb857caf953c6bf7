# /// probe
# name = "tensorflow-data"
# framework = "tensorflow"
# proves = "A tf.data pipeline delivers every element once, mapped, batched, in a seeded shuffle."
# required = true
# timeout = 60
# ///
"""Run a pipeline of the usual stages and compare all that it delivers with plain Python.

Elements are small integers, so every comparison is exact.
"""

import json
import os
import tempfile
import time

import tensorflow as tf

SEED = 0
THREADS = 2
ELEMENTS, BATCH = 100, 8


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "tensorflow-data", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def bounded(pipeline: tf.data.Dataset) -> tf.data.Dataset:
    """Give a pipeline few threads, whatever the number of cores, and a deterministic order."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = THREADS
    options.deterministic = True
    return pipeline.with_options(options)


def shuffled_squares() -> list[int]:
    """Deliver squares through shuffle, parallel map, cache, batch and prefetch."""
    pipeline = (
        tf.data.Dataset.range(ELEMENTS)
        .shuffle(ELEMENTS, seed=SEED)
        .map(lambda number: number * number, num_parallel_calls=THREADS)
        .cache()
        .batch(BATCH)
        .prefetch(2)
    )
    batches = [batch.numpy().tolist() for batch in bounded(pipeline)]
    sizes = [len(batch) for batch in batches]
    full, rest = divmod(ELEMENTS, BATCH)
    assert sizes == [BATCH] * full + [rest], f"batches of {sizes} elements"
    return [number for batch in batches for number in batch]


def records() -> list[int]:
    """Send numbers through a TFRecord file of serialized examples."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "numbers.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for number in range(ELEMENTS):
                value = tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))
                features = tf.train.Features(feature={"number": value})
                writer.write(tf.train.Example(features=features).SerializeToString())
        wanted = {"number": tf.io.FixedLenFeature([], tf.int64)}
        pipeline = tf.data.TFRecordDataset(path).map(
            lambda record: tf.io.parse_single_example(record, wanted)["number"]
        )
        return [int(number) for number in bounded(pipeline)]


def main() -> None:
    """Run the probe."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    started = time.perf_counter()
    squares = [number * number for number in range(ELEMENTS)]
    first, second = shuffled_squares(), shuffled_squares()
    assert sorted(first) == squares, f"not every square once: {first}"
    assert first != squares, "the shuffle left everything in order"
    assert first == second, f"one seed, two orders: {first} and {second}"
    read = records()
    assert read == list(range(ELEMENTS)), f"wrote 0 to {ELEMENTS - 1}, read {read}"
    report(
        observed={
            "first_elements": first[:BATCH],
            "records": len(read),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()

"""Framed records: what TensorBoard's own writer writes, and the published checksums."""

import io

from hypothesis import given
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import RecordWriter

from ramify.run.tfrecords import crc32c, framed


@given(st.lists(st.binary(min_size=4, max_size=300), max_size=12))
def test_the_bytes_are_those_of_tensorboard(records):
    file = io.BytesIO()
    writer = RecordWriter(file)
    for record in records:
        writer.write(record)
    assert framed(records) == file.getvalue()


def test_the_checksums_are_the_published_ones():
    texts = [bytes(32), b"\xff" * 32, bytes(range(32)), b"123456789"]
    assert [f"{found:08x}" for found in crc32c(texts)] == ["8a9136aa", "62a8ab43", "46dd794e", "e3069283"]

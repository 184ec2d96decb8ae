import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.records import Item, Visit
from chamnet.wire import frames
from chamnet.wire import profiling_pb2 as pb
from chamnet.wire.frames import FrameError, read_frame, write_frame
from chamnet.wire.jobs import Done, FromWorker, Job, Ready


class Dripping(io.BytesIO):
    """A pipe that gives a byte at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1 if size else 0)


@pytest.mark.parametrize("kind", [io.BytesIO, Dripping])
def test_what_is_written_is_read(kind: type[io.BytesIO]) -> None:
    pipe = io.BytesIO()
    job = Job(request_id="a", items=(Item(visit_id="1", model=b"\0" * 999),))
    events: list[FromWorker] = [Ready(), Visit(visit_id="1", status="ok", samples_ns=(1, 2)), Done("a")]
    frames.write_job(pipe, job)
    for event in events:
        frames.write_event(pipe, event)
    ours = kind(pipe.getvalue())
    assert frames.read_job(ours) == job
    assert [frames.read_event(ours) for _ in range(4)] == [*events, None]


@given(st.integers(1, 50))
def test_a_stream_that_ends_inside_a_frame_says_so(cut: int) -> None:
    pipe = io.BytesIO()
    write_frame(pipe, pb.Visit(visit_id="x" * 50))
    with pytest.raises(FrameError, match="ended after"):
        read_frame(io.BytesIO(pipe.getvalue()[:cut]), pb.Visit)


@given(st.binary(min_size=1))
def test_noise_is_a_frame_or_a_frame_error(noise: bytes) -> None:
    with contextlib.suppress(FrameError):
        read_frame(io.BytesIO(noise), pb.Visit)


def test_a_length_over_the_limit_asks_for_no_memory() -> None:
    with pytest.raises(FrameError, match="announces 4294967295 bytes"):
        read_frame(io.BytesIO(b"\xff" * 10), pb.Visit)


def test_a_message_over_the_limit_is_not_written() -> None:
    pipe = io.BytesIO()
    with pytest.raises(ValueError, match="over the limit of 10 bytes"):
        write_frame(pipe, pb.Visit(visit_id="x" * 50), limit=10)
    assert not pipe.getvalue()

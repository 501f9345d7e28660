"""The correction of scheduled files: each is read, corrected and written, but not yet put in its place."""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from camnorm.application.blocks import Block, Blocks, Buffer, read_block, reading
from camnorm.application.fit import Fit, FrameMeans, UnfitFile
from camnorm.application.hotpixels import Expectation, HotPixels, concealing, places_of
from camnorm.application.schedule import Job, Output
from camnorm.application.sums import saturated, sum_corrected, sum_of
from camnorm.application.team import Team
from camnorm.correction.correction import Correction
from camnorm.errors import BusyError, Error, FormatError, raise_shortage
from camnorm.io import (
    AtomicFile,
    Chosen,
    FrameSource,
    FrameWriter,
    Protected,
    ReadOptions,
    create_writer,
    open_frames,
    reason_of,
)
from camnorm.io.base.atomic import LONGEST_NAME
from camnorm.io.base.remarks import Remarks
from camnorm.limits import PER_FILE, at_once
from camnorm.sizes import sizes

# Descriptors that a file takes while it is corrected, at most: its own, its target's (a lock, and one of
# HDF5), and those of the frames and chunks that threads work on.
_PER_JOB = PER_FILE + 5

# Seconds in which another process should be done with a file, and after which it is tried again.
_RETRY_SECONDS = 0.05

_CORRECTED = "is a manifest of corrected frames already"

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class CorrectedFile:
    """A file that only has to be put in its place."""

    writer: FrameWriter | AtomicFile
    frames: int
    bytes: int
    """Of the pixels as they were read."""
    unfit: UnfitFile | None = None
    """What is unlike the frames that the sensor was measured from."""
    hot: HotPixels | None = None
    """Pixels that are hot in this file, if they were looked for."""


class Corrector:
    """Corrects files in threads.

    A system lets only one thread at a time write to a file: each thread has a file of its own, until there
    are fewer files than threads. It reads a few rows of a few frames, which stay in its cache until they
    are written.

    Parameters
    ----------
    jobs : sequence of Job
        What is corrected, and where it goes.
    chosen : Chosen
        Which frames of each file.
    options : ReadOptions
        How the files are read.
    correction : Correction
        Of their frames.
    fit : Fit
        What the sensor says of frames.
    label : str
        What is noted in the files.
    output : Output
        What is written.
    saved : Path, optional
        File of the correction, for manifests to name it: they are written then, and no pixels.
    protected : Protected
        Files that no result may replace.
    threads : int
        Number of threads.
    expected : Expectation, optional
        Of the sums of frames: pixels that exceed it are bad in their file.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        chosen: Chosen,
        options: ReadOptions,
        correction: Correction,
        fit: Fit,
        label: str,
        output: Output,
        saved: Path | None,
        protected: Protected,
        threads: int,
        expected: Expectation | None = None,
    ) -> None:
        self.pixels = 0
        """Number that were corrected, also in files that were then left out."""
        self.clipped = 0
        """Pixels that saturated, but those that the correction given counts."""
        self.remarks = Remarks()
        """What the user should know of the files."""
        self._jobs = jobs
        self._chosen = chosen
        self._options = options
        self._correction = correction
        self._fit = fit
        self._label = label
        self._expected = expected
        self._whole_frames = output.bad_policy == "interpolate"
        self._output = output
        self._saved = saved
        self._protected = protected
        self._ahead = at_once(2 * threads, _PER_JOB)
        self._team = Team(self._ahead, min(threads, self._ahead))

    def results(self) -> Generator[CorrectedFile | FormatError, None, None]:
        """Correct all files: for each in order what is to be put in its place, or why there is nothing.

        Once the generator is closed no thread is left, and nothing of what was not put in its place.
        """
        numbers = iter(range(len(self._jobs)))
        futures: deque[Future[CorrectedFile]] = deque()
        try:
            while True:
                for number in islice(numbers, self._ahead - len(futures)):
                    futures.append(self._team.begin(self._correct_file, number))
                if not futures:
                    return
                try:
                    result: CorrectedFile | FormatError = futures[0].result()
                except FormatError as error:
                    result = error
                yield result
                futures.popleft()
        finally:
            self._team.stop()
            for future in futures:
                if not future.cancelled() and future.exception() is None:
                    future.result().writer.discard()

    def _correct_file(self, number: int) -> CorrectedFile:
        job = self._jobs[number]
        if len(os.fsencode(job.target.name)) > LONGEST_NAME:
            raise FormatError(job.path, f"the name of its result is too long: {job.target.name}")
        with opened(job.path, self._options, self._fit) as source:
            self.remarks.add(job.path, source.remarks)
            frames = self._chosen(job.number, source.count)
            if not frames:
                raise FormatError(job.path, "no frame of it was selected")
            # A file with a frame missing would no longer be the movie that it was: none is written.
            for frame in frames[bisect_left(frames, source.available) :][:1]:
                with reading(job.path, frame):
                    source.view(frame)
            if self._saved is not None:
                source.check_whole()
                make = partial(self._write_manifest, source, frames, job.target, self._saved)
                return self._when_free(make)
            means = FrameMeans(self._fit, job.path, frames)
            blocks = Blocks(source, frames, self._output.dtype)
            threads = math.ceil(self._team.threads / (len(self._jobs) - number))
            correction, hot = self._without_hot(blocks, threads)
            writer = self._when_free(partial(self._create_writer, job.target, source, len(frames), hot))
            try:
                if self._output.sum_frames:
                    self._write_sum(blocks, writer, threads, means, correction)
                else:
                    self._write_frames(blocks, writer, threads, means, correction)
                source.check_whole()
                writer.finish()
            except BaseException:
                writer.discard()
                raise
        pixels = len(frames) * math.prod(source.shape)
        if correction is not self._correction:
            with self._team.changed:
                self.clipped += correction.clipped
        return CorrectedFile(writer, len(frames), pixels * source.dtype.itemsize, means.result(), hot)

    def _without_hot(self, blocks: Blocks, threads: int) -> tuple[Correction, HotPixels | None]:
        """The correction of a file, in which its hot pixels are bad; and these, if they are looked for."""
        if self._expected is None:
            return self._correction, None
        count = len(blocks.frames)
        hot = self._expected.hot(sum_of(blocks, self._team, threads), count) & ~self._correction.bad
        found = HotPixels(blocks.source.path, count, places_of(hot))
        return (concealing(self._correction, hot) if found.places else self._correction), found

    def _when_free(self, make: Callable[[], _Made]) -> _Made:
        """Make a file as soon as no other process writes it: one may be correcting the same movies.

        As both put their files in place in order, one of them always goes on, if the orders agree.
        """
        deadline = time.monotonic() + sizes().busy_seconds
        while True:
            try:
                return make()
            except BusyError:
                if self._team.stopped or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_SECONDS)

    def _create_writer(
        self, target: Path, source: FrameSource, frames: int, hot: HotPixels | None
    ) -> FrameWriter:
        output = self._output
        label = self._label + (f"\ncamnorm_hot_pixels: {len(hot.places)}" if hot and hot.places else "")
        return create_writer(
            target,
            source,
            output.dtype,
            count=1 if output.sum_frames else frames,
            label=label + (f"\nsum of {frames} frames" if output.sum_frames else ""),
            wanted=output.format,
            compression=output.compression,
            overwrite=output.overwrite,
            protected=self._protected,
        )

    def _write_manifest(
        self, source: FrameSource, frames: Sequence[int], target: Path, correction: Path
    ) -> CorrectedFile:
        from camnorm.application.manifests import write_manifest  # which loads h5py

        output = self._output
        if source.format == "camnorm manifest":
            raise FormatError(source.path, _CORRECTED)
        manifest = write_manifest(
            target,
            source,
            frames,
            self._options,
            output.dtype,
            correction,
            self._label,
            output.overwrite,
            self._protected,
        )
        # No pixels are read: only what was rejected before is known.
        return CorrectedFile(manifest, len(frames), 0, FrameMeans(self._fit, source.path, frames).result())

    def _write_frames(
        self, blocks: Blocks, writer: FrameWriter, threads: int, means: FrameMeans, correction: Correction
    ) -> None:
        whole_frames = self._whole_frames or writer.whole_frames

        def correct(block: Block, into: Buffer, out: Buffer) -> None:
            frames = read_block(blocks.source, block, into)
            means.add(frames, block.place)
            count, height = frames.shape[:2]
            rows = height if whole_frames else blocks.rows(count)
            for row in range(0, height, rows):
                piece = frames[:, row : row + rows]
                corrected = out.array(piece.shape, self._output.dtype)
                first_row = block.first_row + row
                correction.apply(piece, out=corrected, threads=1, first_row=first_row)
                writer.write(corrected, block.place, first_row)
            with self._team.changed:
                self.pixels += frames.size

        self._team.share(
            blocks.in_order(whole_frames),
            correct,
            threads,
            # Blocks are begun in order: the thread that all others wait for is at work.
            ready=lambda: writer.waiting < self._team.threads,
        )

    def _write_sum(
        self, blocks: Blocks, writer: FrameWriter, threads: int, means: FrameMeans, correction: Correction
    ) -> None:
        total, beyond = saturated(
            sum_corrected(blocks, correction, self._team, threads, means.add), self._output.dtype
        )
        writer.write(total)
        with self._team.changed:
            self.pixels += total.size
            self.clipped += beyond


def opened(path: Path, options: ReadOptions, fit: Fit) -> FrameSource:
    """Open a file of frames like those of a sensor; FormatError if it is none."""
    try:
        source = open_frames(path, options)
    except (Error, OSError) as error:
        raise_shortage(error)
        raise FormatError(path, reason_of(error)) from error
    misfit = fit.misfit(source.shape, source.dtype)
    if misfit is not None:
        if source.format == "camnorm manifest":
            misfit = _CORRECTED
        source.close()
        raise FormatError(path, misfit)
    return source

"""Many pictures read at a time by one thread: continuous batching over the keys and values of the rows under way.

Requests join and leave between two runs of the decoder, whichever adapters they ask for; adapters take turns. An adapter is
there as soon as somebody asks for it, and gone as soon as nobody has it any more, so that versions change places without a
gap. Scheduling by iteration: G.-I. Yu et al., "Orca", OSDI 2022. Knows nothing of HTTP, files and what answers mean.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from safelight.errors import ManifestInvalid, ModelUnavailable, Overloaded, SafelightError
from serving.reader.adapter import Adapter
from serving.reader.batch import Past, Place, groups, step_of, together
from serving.reader.constraint import Tokens
from serving.reader.graphs import Floats, Graphs
from serving.reader.opening import Opening, open_prompt
from serving.reader.request import Request
from serving.reader.row import Read, Row
from serving.reader.waiting import Waiting

_SMOOTHING = 0.1  # how much the latest answer says about how long one takes
_LONGEST_RETRY_S = 30
_STOPPED = "The reader has left service."


class Engine:
    """graphs, tokens: of one base. rows: how many answers are worked on at a time. queue: how many requests may wait beyond
    those. clock: monotonic seconds. ran: told of each run of the decoder (rows, seconds). queued: told how many wait, when
    that changes.

    `read`, `warm`, `terminate` and `stop` may be called from any thread.
    """

    def __init__(
        self,
        graphs: Graphs,
        tokens: Tokens,
        *,
        rows: int,
        queue: int = 64,
        clock: Callable[[], float],
        ran: Callable[[int, float], None] = lambda rows, seconds: None,
        queued: Callable[[int], None] = lambda waiting: None,
    ) -> None:
        self._graphs, self._tokens, self._rows, self._queue = graphs, tokens, rows, queue
        self._clock, self._ran, self._queued = clock, ran, queued
        self._changed = threading.Condition()
        self._waiting: Waiting[Adapter, Request] = Waiting()
        self._under_way: OrderedDict[Adapter, list[Request]] = OrderedDict()
        self._openings: WeakKeyDictionary[Adapter, Opening] = WeakKeyDictionary()
        self._told, self._working, self._usual_s = 0, 0, 0.0
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, name="safelight-reader", daemon=True)
        self._thread.start()

    def read(self, picture: Floats, adapter: Adapter, *, left_s: Callable[[], float]) -> Read:
        """What an adapter reads from a picture `(3, S, S)` float32 in [-1, 1]. Blocks.

        left_s: the seconds that are left, asked again and again, also from another thread; may raise DeadlineExceeded.
        Raises Overloaded when too many wait already, DeadlineExceeded, ModelUnavailable once stopped or terminated, and what
        went wrong with this picture alone.
        """
        request = Request(picture, adapter, left_s)
        self._enqueue(request, self._rows + self._queue)
        begun = self._clock()
        read = request.wait()
        self._usual_s += _SMOOTHING * (self._clock() - begun - self._usual_s)
        return read

    def warm(self, adapter: Adapter) -> Read:
        """Compute what all answers of an adapter begin with, and read a grey picture; whatever else waits, waits its turn
        beside it. Raises ManifestInvalid when the graphs do not run with it, ModelUnavailable once stopped."""
        side = self._graphs.architecture.image_side
        request = Request(np.zeros((3, side, side), np.float32), adapter, lambda: math.inf)
        self._enqueue(request, None)
        try:
            return request.wait()
        except SafelightError:
            raise
        except Exception:  # ONNX Runtime raises a class of its own for each kind of failure
            raise ManifestInvalid("The graphs do not read a grey picture with this adapter.") from None

    def terminate(self) -> None:
        """End the run under way: its requests get ModelUnavailable; those that come later are read."""
        self._graphs.terminate()

    def stop(self, wait_s: float = 0.0) -> None:
        """End everything, now and for good: all requests get ModelUnavailable. wait_s: how long to wait for the thread to
        end. Idempotent."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._graphs.close()
        if wait_s:
            self._thread.join(wait_s)

    def _enqueue(self, request: Request, most: int | None) -> None:
        with self._changed:
            if self._stopped:
                raise ModelUnavailable(_STOPPED)
            if most is not None and self._working + len(self._waiting) >= most:
                raise Overloaded(retry_after_s=self._retry_after_s())
            self._waiting.put(request.adapter, request)
            self._changed.notify()
            self._tell()

    def _serve(self) -> None:
        while self._more():
            try:
                self._admit()
                self._turn()
            except Exception as error:  # of our own making: those who wait must not wait for ever
                self._end_all(error)
        self._end_all(ModelUnavailable(_STOPPED))

    def _more(self) -> bool:
        """Whether there is work: waits for it. False once stopped."""
        with self._changed:
            self._working = sum(len(requests) for requests in self._under_way.values())
            while not (self._stopped or self._working or len(self._waiting)):
                self._changed.wait()
            return not self._stopped

    def _admit(self) -> None:
        """Give rows that are free to those that wait."""
        with self._changed:
            self._waiting.drop(Request.late)
            taken = self._waiting.take(self._rows - self._working)
            self._working += len(taken)
            self._tell()
        for _, request in taken:
            if not request.late():
                self._apart(self._begin, [request])

    def _begin(self, requests: Sequence[Request]) -> None:
        """Look at the picture of a request. One at a time, since a CPU takes longer for each of a batch (docs/performance.md);
        on this thread, so that tower and decoder do not take the cores from each other."""
        (request,) = requests
        adapter = request.adapter
        if adapter not in self._openings:
            self._openings[adapter] = open_prompt(self._graphs, adapter)
        features = self._graphs.features(request.picture[None], adapter.matrices.vision)
        request.row = self._openings[adapter].row(adapter, self._tokens, features[0])
        if request.row.done:  # there is but one answer that the schema allows
            request.finish()
        else:
            self._under_way.setdefault(adapter, []).append(request)

    def _turn(self) -> None:
        """One step of every row of the next adapter."""
        if not self._under_way:
            return
        adapter, requests = self._under_way.popitem(last=False)
        try:
            self._apart(self._embed, [request for request in requests if not request.late()])
            left = _left(requests)
            for group in groups([_new(request).shape[0] for request in left]):
                self._apart(self._step, [one for one in map(left.__getitem__, group) if not one.late()])
        finally:
            if going := _left(requests):
                self._under_way[adapter] = going

    def _embed(self, requests: Sequence[Request]) -> None:
        """What the rows that have chosen tokens are to be given next."""
        rows = [row for row in map(_row, requests) if row.new is None]
        if not rows:
            return
        embedded = self._graphs.embed(np.array([[token for row in rows for token in row.ids]], np.int64))[0]
        ends = np.cumsum([len(row.ids) for row in rows])[:-1]
        for row, own in zip(rows, np.split(embedded, ends), strict=True):
            row.new = own

    def _step(self, requests: Sequence[Request]) -> None:
        """Run the decoder once for rows of one adapter, and go on with each. Nothing is changed unless the run succeeds."""
        rows = [_row(request) for request in requests]
        past = together([row.place for row in rows])
        step = step_of(past, [_new(request) for request in requests])
        begun = self._clock()
        logits, layers = self._graphs.decode(step, past.layers, requests[0].adapter.matrices.decoder)
        self._ran(len(rows), self._clock() - begun)
        present = Past(layers, step.held)
        for number, (request, row) in enumerate(zip(requests, rows, strict=True)):
            row.place = Place(present, number)
            try:
                row.choose(logits[number])
            except Exception as error:
                request.fail(error)
            else:
                if row.done:
                    request.finish()

    def _apart(self, work: Callable[[Sequence[Request]], None], requests: Sequence[Request]) -> None:
        """Work on requests together; what fails is tried again one by one, so that each fails by itself only."""
        if not requests:
            return
        try:
            if self._stopped:
                raise ModelUnavailable(_STOPPED)
            work(requests)
        except Exception as error:
            if len(requests) == 1 or isinstance(error, ModelUnavailable):  # ended from outside: it would be ended again
                for request in requests:
                    request.fail(error if len(requests) == 1 else ModelUnavailable(str(error)))
            else:
                for request in requests:
                    self._apart(work, [request])

    def _end_all(self, error: Exception) -> None:
        with self._changed:
            waiting = [request for _, request in self._waiting.take(len(self._waiting))]
            self._tell()
        for request in [*waiting, *(request for requests in self._under_way.values() for request in requests)]:
            request.fail(ModelUnavailable(str(error)) if isinstance(error, ModelUnavailable) else error)
        self._under_way.clear()

    def _tell(self) -> None:
        waiting = max(0, self._working + len(self._waiting) - self._rows)
        if waiting != self._told:
            self._told = waiting
            self._queued(waiting)

    def _retry_after_s(self) -> int:
        return max(1, min(_LONGEST_RETRY_S, math.ceil(self._usual_s * (1 + len(self._waiting) / self._rows))))


def _row(request: Request) -> Row:
    assert request.row is not None
    return request.row


def _new(request: Request) -> Floats:
    new = _row(request).new
    assert new is not None
    return new


def _left(requests: Sequence[Request]) -> list[Request]:
    """Those that have not ended."""
    return [request for request in requests if not request.ended]

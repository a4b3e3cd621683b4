# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest's heartbeat tells: whether it runs, how long it stood still, and where it is.

The guest sends a line every 5 ms (guest/heartbeat.c); its own clock stops with it, so the time of a
line is that of its arrival here. At most one reader at a time: QEMU serves one connection.
"""
import os
import socket
import threading
import time
from dataclasses import dataclass

PORT = "org.vmsnap.heartbeat.0"


@dataclass(frozen=True)
class Beat:
    time: float   # of arrival, time.monotonic()
    nonce: str    # another one for each boot
    tick: int     # periods since the boot, sent or not
    seq: int      # last record that the writer has on both disks
    errors: int   # writes that failed
    bad_pages: int  # memory that did not hold what was written
    dirtied: int  # pages that the dirtier has written


def _parse(line, now):
    parts = line.split()
    try:
        return Beat(now, parts[0].decode(), *(int(part) for part in parts[1:]))
    except (IndexError, TypeError, ValueError, UnicodeDecodeError):
        return None


class Heartbeat:
    """Reads from __enter__ to __exit__; everything can be asked meanwhile and afterwards.

    __enter__ returns when the first beat has come (AssertionError after `timeout` seconds without
    one), so that all silence from then to the end is the guest's. timeout=0: does not wait, and
    the silence before the first beat counts too."""

    def __init__(self, path, timeout=20):
        self.path, self.timeout = path, timeout
        self.beats, self.broken = [], 0
        self._stop = threading.Event()
        self._first = threading.Event()
        self._closed = self._begin = self._end = None

    def __enter__(self):
        self._connect()
        self._begin = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if self.timeout and not self._first.wait(self.timeout):
            self.stop()
            raise AssertionError(f"no heartbeat within {self.timeout} s")
        return self

    def _connect(self):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(0.1)
        limit = time.monotonic() + 10
        while True:
            try:
                self._socket.connect(self.path)
                break
            except BlockingIOError:  # others that gave up still stand in the queue
                if time.monotonic() > limit:
                    raise
                time.sleep(0.01)
        self._connected = time.monotonic()

    def __exit__(self, *_):
        self.stop()

    def is_reading(self):
        return self._begin is not None and self._end is None

    def stop(self):
        if self.is_reading():
            self._stop.set()
            self._thread.join()
            self._socket.close()
            self._end = time.monotonic()

    def _read(self):
        try:  # this thread only: another's turn must not look like the guest's silence
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            pass
        rest = None  # the first line may be a part of one
        while not self._stop.is_set():
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                # a reader that left while the guest was paused makes QEMU lose the next one
                if not self.beats and time.monotonic() > self._connected + 2:
                    self._socket.close()
                    self._connect()
                continue
            except OSError:
                data = b""
            now = time.monotonic()
            if not data:
                self._closed = now  # QEMU has ended
                return
            *lines, last = data.split(b"\n")
            first = rest is None
            if not first and lines:
                lines[0] = rest + lines[0]
            rest = last if lines or first else rest + last
            for i, line in enumerate(lines):
                beat = _parse(line, now)
                if beat:
                    self.beats.append(beat)
                    self._first.set()
                elif not (first and i == 0):
                    self.broken += 1

    @property
    def closed(self):
        """When QEMU closed the connection, None while it has not."""
        return self._closed

    @property
    def last(self):
        return self.beats[-1] if self.beats else None

    @property
    def nonce(self):
        return self.last.nonce if self.beats else None

    def next(self, timeout=20):
        """A beat that arrives after this call."""
        now = time.monotonic()
        while not self.beats or self.last.time <= now:
            assert time.monotonic() < now + timeout, f"no heartbeat within {timeout} s"
            time.sleep(0.002)
        return self.last

    def gaps(self, above_ms=0.0, since=None, until=None):
        """[(begin, milliseconds)] of every silence, the one that lasts until now or until the end
        included; times as time.monotonic() gives them."""
        times = [beat.time for beat in self.beats]
        if not self.timeout or not times:
            times.insert(0, self._begin)
        times.append(self._closed or self._end or time.monotonic())
        found = []
        for begin, end in zip(times, times[1:]):
            begin, end = max(begin, since or begin), min(end, until or end)
            if end > begin and (end - begin) * 1000 >= above_ms:
                found.append((begin, (end - begin) * 1000))
        return found

    @property
    def widest_gap(self):
        """Milliseconds."""
        return max((length for _, length in self.gaps()), default=0.0)

    def statistics(self):
        first, last = (self.beats[0], self.beats[-1]) if self.beats else (None, None)
        ticks = [beat.tick for beat in self.beats]
        return {
            "count": len(self.beats),
            "max_gap_ms": round(self.widest_gap, 1),
            "gaps_over_50_ms": len(self.gaps(50)),
            "nonces": sorted({beat.nonce for beat in self.beats}),
            "nonce": self.nonce,
            "first_tick": first and first.tick,
            "last_tick": last and last.tick,
            "lost_ticks": sum(max(b - a - 1, 0) for a, b in zip(ticks, ticks[1:])),
            "first_seq": first and first.seq,
            "seq": last and last.seq,
            "errors": last and last.errors,
            "bad_pages": last and last.bad_pages,
            "broken_lines": self.broken,
        }

#!/usr/bin/env python3
"""Runs a script of the harness on watchpost, and prints below its row what watchpost itself counted
meanwhile: the harness sees requests and packets, not whether a poll was whole or a message judged.

Usage: WATCHPOST_BENCH=FOLDER counted.py SCRIPT [ARGUMENT…]; SCRIPT is one of that folder."""
import os
import re
import runpy
import sys

bench = os.path.abspath(os.environ["WATCHPOST_BENCH"])
# As the harness does, which then finds itself in its network namespace already.
if os.environ.get("BENCH_NS") != "1":
    os.environ["BENCH_NS"] = "1"
    os.execvp("unshare", ["unshare", "-n", sys.executable] + sys.argv)
script = sys.argv.pop(1)
sys.path.insert(0, bench)
import common  # noqa: E402


def counters():
    """All counters of /metrics, those of one name added up."""
    page = common.http("http://127.0.0.1:9465/metrics")
    found = {}
    for name, value in re.findall(r"^(watchpost_\w+_total)(?:\{.*\})? (\d+)$", page, re.M):
        found[name] = found.get(name, 0) + int(value)
    return found


class Meter(common.Meter):
    def start(self):
        self.before = counters()
        return super().start()

    def end(self):
        super().end()
        self.after = counters()
        return self


def row(peer, version, meter, *figures, header=()):
    plain_row(peer, version, meter, *figures, header=header)
    # What was on its way when the harness stopped counting has arrived by now; polls go on.
    last = counters() if script == "w4_mqtt.py" else meter.after
    grown = {name: last[name] - meter.before.get(name, 0) for name in last}
    polls = grown.get("watchpost_polls_total", 0)
    samples = grown.get("watchpost_samples_total", 0)
    print(f"| watchpost's own count | {polls} polls, "
          f"{grown.get('watchpost_poll_failures_total', 0)} failed, "
          f"{grown.get('watchpost_polls_missed_total', 0)} missed; {samples} samples judged"
          + EXTRA.get(script, lambda *_: "")(meter, polls, samples) + " |", flush=True)


# Of an agent: 35 columns come as fields and 5 as tags, of 101 interfaces (w2.toml); `target_up`,
# `target_poll_seconds` and `snmp_missing` come with every poll.
def varbinds(meter, polls, samples):
    read = (samples - 3 * polls) / 35 * 40
    return f"; {read:.0f} varbinds, {1e6 * meter.cpu / max(read, 1):.2f} µs CPU each"


# Two values a message; the broker's poll says from time to time that it is up.
def messages(meter, polls, samples):
    return f"; {samples // 2} messages judged"


EXTRA = {"w2_snmp.py": varbinds, "w4_mqtt.py": messages}
plain_row, common.row, common.Meter = common.row, row, Meter
runpy.run_path(os.path.join(bench, script), run_name="__main__")

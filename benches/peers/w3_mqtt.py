#!/usr/bin/env python3
"""W3 with an answer by MQTT: a value crosses a threshold, a message is published.
Usage: WATCHPOST_BENCH=FOLDER w3_mqtt.py --peer floor|watchpost [--events 200]
t0 = just before PUBLISH, t1 = the answer is read; both clocks are this process'. Every event is
another sensor."""
import json
import os
import random
import sys
import threading
import time

bench = os.path.abspath(os.environ["WATCHPOST_BENCH"])
sys.path.insert(0, bench)
import common as c  # noqa: E402

args = c.setup("w3mqtt", ["floor"], [(("--events",), dict(type=int, default=200))])
got = {}
broker = c.start_mosquitto()
pub = c.Mqtt("bench-pub")


def listen():
    m = c.Mqtt("bench-answers")
    m.subscribe("bench/answer")
    for _, payload in m.messages():
        got.setdefault(payload, time.monotonic())


def fire(name, value):
    pub.publish("bench/sensor", json.dumps({"temp": value, "id": name}))


def floor():
    # What the harness itself costs: a Python subscriber that publishes.
    program = c.write("floor.py", f"""import sys, json
sys.path.insert(0, {bench!r})
import common as c
m = c.Mqtt("floor"); m.subscribe("bench/sensor")
for _, p in m.messages():
    v = json.loads(p)
    if v["temp"] > 80:
        m.publish("bench/answer", v["id"])
""")
    process = c.start([sys.executable, program], "floor.log")
    return "floor: Python subscriber that publishes", sys.version.split()[0], [process.pid]


def watchpost():
    pid = c.start_watchpost(args.binary, args.config)
    return "watchpost", c.out([args.binary, "--version"]), [pid]


name, version, pids = globals()[args.peer]()
threading.Thread(target=listen, daemon=True).start()
time.sleep(args.warmup or 8)
for i in range(5):
    fire(f"cold{i}", 20.0)
    time.sleep(0.2)
meter = c.Meter(pids).start()
gaps, sent = random.Random(1), {}
for i in range(args.events):
    sent[f"ev{i}"] = time.monotonic()
    fire(f"ev{i}", 90.0)
    time.sleep(gaps.uniform(0.1, 0.5))
time.sleep(3)
meter.end()
took = [1000 * (got[e] - t) for e, t in sent.items() if e in got]
figures = [f"{c.pct(took, p):.2f}" for p in (50, 95, 99)] + [f"{max(took):.2f}", f"{min(took):.2f}"] \
    if took else ["-"] * 5
c.row(name, version, meter, *figures, args.events - len(took),
      header=("p50 ms", "p95 ms", "p99 ms", "max ms", "min ms", f"missed of {args.events}"))

#!/usr/bin/env python3
"""W6 with samples pushed: 10,000 series, a sample of each every second, 1,000 threshold rules that
are judged at each of them. The values, the groups and the rules are those of the harness'
w6_rules.py, which Prometheus scrapes; watchpost scrapes nobody, so it is pushed the same as line
protocol. The rate is checked by what watchpost itself counted.
Usage: WATCHPOST_BENCH=FOLDER w6_push.py --peer watchpost --binary FILE [--rules 1000]
Run once with --rules 0 to see what taking in and keeping alone costs."""
import http.client
import os
import re
import sys
import threading
import time

bench = os.path.abspath(os.environ["WATCHPOST_BENCH"])
sys.path.insert(0, bench)
import common as c  # noqa: E402

args = c.setup("w6push", [], [(("--rules",), dict(type=int, default=1000)),
                              (("--series",), dict(type=int, default=10000))])
WARM, SECS = args.warmup or 15, args.secs or 40
per = max(1, args.series // max(args.rules, 1000))


def lines(t):
    """As the page of the harness: values change each time; a fixed 1 % of them are above 95."""
    return "".join(f"sensor,group=g{i // per},id=s{i} "
                   f"value={96 if i % 100 == 0 else (i * 7 + t * 3) % 900 / 10}\n"
                   for i in range(args.series)).encode()


bodies = [lines(t) for t in range(1, 9)]             # built before, as the pages are
refused = []


def push():
    connection, due, turn = http.client.HTTPConnection("127.0.0.1", 9465), time.monotonic(), 0
    while True:
        connection.request("POST", "/api/v2/write?bucket=bench", bodies[turn % 8])
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 204:
            refused.append(said)
            print(f"refused: {answer.status} {said[:200]}", file=sys.stderr)
        turn += 1
        due += 1
        time.sleep(max(0, due - time.monotonic()))


def counted(name):
    """A metric of watchpost's own; those of one name added up."""
    page = c.http("http://127.0.0.1:9465/metrics")
    return sum(float(v) for v in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.M))


rules = "".join(f"[rule.A{k}]\nwhen = 'sensor_value{{group=\"g{k}\"}} > 95'\n"
                for k in range(args.rules))
config = c.write("config.toml", f'state_dir = "{c.RUN}/state"\n[api]\nlisten = "127.0.0.1:9465"\n{rules}')
pid = c.start_watchpost(args.binary, config)
c.wait_port(9465)
threading.Thread(target=push, daemon=True).start()
time.sleep(WARM)
samples, judged = counted("watchpost_samples_total"), counted("watchpost_rule_evaluations_total")
meter = c.Meter([pid]).start()
time.sleep(SECS)
meter.end()
samples = (counted("watchpost_samples_total") - samples) / SECS
judged = (counted("watchpost_rule_evaluations_total") - judged) / SECS
firing = c.http("http://127.0.0.1:9465/api/v1/alerts").count('"state":"firing"')
c.row("watchpost", c.out([args.binary, "--version"]), meter, args.rules, f"{samples:.0f}",
      f"{judged:.0f}", firing, len(refused),
      header=("rules", "samples a second", "rules judged a second", "alerts firing", "pushes refused"))

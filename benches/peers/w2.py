#!/usr/bin/env python3
"""Prints watchpost's configuration for workload W2: N SNMP agents, ifTable and ifXTable of each
every 10 s, agents at 127.2.x.y as the harness has them. Usage: w2.py [N] >config.toml"""
import os, sys

agents = int(sys.argv[1]) if len(sys.argv) > 1 else 200
profile = os.path.join(os.path.dirname(os.path.abspath(__file__)), "w2.toml")
print(f'state_dir = "{os.environ.get("STATE_DIR", "/tmp/watchpost-w2")}"\n\n[defaults]\ninterval = "10s"')
for i in range(agents):
    print(f'\n[snmp.a{i}]\nhost = "127.2.{i // 250}.{i % 250 + 1}"\ncommunity = "public"\nprofiles = ["{profile}"]')

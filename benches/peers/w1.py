"""W1's configuration: N targets on loopback, one echo a second each. Usage: w1.py N"""
import sys

print('state_dir = "/tmp/watchpost-bench"\n[defaults]\ninterval = "1s"\ntimeout = "900ms"')
for i in range(int(sys.argv[1])):
    print(f'[icmp.t{i}]\nhost = "127.1.{i // 250}.{i % 250 + 1}"')

"""W5's configuration: 100 ICMP and 10 HTTP targets every ten seconds, and one rule over all."""
print('state_dir = "/tmp/watchpost-bench"')
for i in range(1, 101):
    print(f'[icmp.i{i}]\nhost = "127.1.0.{i}"')
for i in range(1, 11):
    print(f'[http.h{i}]\nurl = "http://127.0.0.1:{8000 + i}/"')
print('[rule.down]\nwhen = "target_up == 0"\nfor = "30s"')
